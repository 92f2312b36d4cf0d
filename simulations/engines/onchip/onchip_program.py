"""The Triton program that trains one home, written out for a network, a loss and an optimiser.

Triton has no lists of tensors, and a network has as many layers as a plan says. So the program's
text is made here, a line a layer; :mod:`.onchip_kernel` compiles it.

What it computes is :meth:`fedhome.learning.local.LocalLearning.step`, over all batches of all
passes. Widths are padded to powers of two, at least 16, with zeros: these stay zeros in every step.
A last layer of one output is a sum by row, not a product: of a product, fifteen columns in sixteen
would be padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fedhome.learning.fused.rule import LABELLED, LossName, Rule

Products = Literal["tf32x3", "ieee", "tf32", "bf16"]
LEAST = 16
"""The least width of a product on a GPU's matrix units."""

# Triton's own "tf32x3" rounds by the instruction that minds infinities, and searches sums for what
# is not a number: a third of all instructions of a step. What diverged is left out of a round as
# it is.
_THREE_PRODUCTS = """\
@triton.jit
def coarse(a):
    return ((a.to(tl.int32, bitcast=True) + 4096) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def product(a, b):
    a_high, b_high = coarse(a), coarse(b)
    total = tl.dot(a - a_high, b_high, input_precision="tf32")
    total = tl.dot(a_high, b - b_high, total, input_precision="tf32")
    return tl.dot(a_high, b_high, total, input_precision="tf32")


"""


def padded(width: int) -> int:
    """Return the power of two that a width is padded to."""
    return max(LEAST, 1 << (width - 1).bit_length())


class _Kept(NamedTuple):
    """A layer's weights or biases: their name, their address, and the mask of what is there."""

    name: str
    place: str
    mask: str  # empty of a single number

    @property
    def load(self) -> str:
        """What reads them."""
        more = f", mask={self.mask}, other=0.0" if self.mask else ""
        return f"tl.load({self.place}{more})"

    @property
    def store(self) -> str:
        """What writes them."""
        more = f", mask={self.mask}" if self.mask else ""
        return f"tl.store({self.place}, {self.name}{more})"

    @property
    def zeros(self) -> str:
        """As many zeros."""
        return f"tl.zeros_like({self.name})" if self.mask else "0.0"

    @property
    def square(self) -> str:
        """The squared norm of their gradient."""
        squares = f"g_{self.name} * g_{self.name}"
        return f"tl.sum({squares})" if self.mask else squares


@dataclass(frozen=True, kw_only=True)
class OnChipProgram:
    """What is to be written out.

    Args:
        widths: Widths of the network from its input to its output.
        batch_size: Rows of a batch.
        loss: What is made smaller.
        rule: How parameters follow their gradients.
        precision: Of products: three products of TF32 for one of float32 (error about 2e-7),
            float32 itself, which matrix units do not have, TF32 (ten bits and a leading one) or
            BF16 (seven). Parameters and sums are float32.
    """

    widths: tuple[int, ...]
    batch_size: int
    loss: LossName
    rule: Rule
    precision: Products = "tf32x3"

    @property
    def layers(self) -> range:
        """Numbers of the layers."""
        return range(len(self.widths) - 1)

    @property
    def numbers(self) -> int:
        """Padded numbers on the chip: parameters, gradients and the optimiser's memory."""
        pads = [padded(width) for width in self.widths]
        if self._one_output:
            pads[-1] = 1
        parameters = sum(pads[at] * pads[at + 1] + pads[at + 1] for at in self.layers)
        return parameters * (2 + len(self.rule.moments))

    @property
    def _one_output(self) -> bool:
        return self.widths[-1] == 1 and not LABELLED[self.loss]

    def text(self) -> str:
        """Return the program."""
        before = _THREE_PRODUCTS if self.precision == "tf32x3" else ""
        lines = [*self._head(), *self._load(), *self._loop(), *self._store(), ""]
        return before + "\n".join(lines)

    def _head(self) -> Iterator[str]:
        yield "@triton.jit"
        yield "def train_home(params, anchor, anchor_step, x, y, orders, counts, losses,"
        yield "               homes, width, passes, rate):"
        yield "    home = tl.program_id(0)"
        yield f"    own = params + home.to(tl.int64) * {self._offsets()[-1]}"
        yield "    pull = anchor + home.to(tl.int64) * anchor_step"
        yield "    count = tl.load(counts + home)"
        yield f"    row = tl.arange(0, {padded(self.batch_size)})"
        for at, width in enumerate(self.widths):
            yield f"    i{at} = tl.arange(0, {padded(width)})"
        for at in self.layers:
            inputs, outputs = self.widths[at], self.widths[at + 1]
            yield f"    in{at} = (i{at + 1}[:, None] < {outputs}) & (i{at}[None, :] < {inputs})"

    def _offsets(self) -> list[int]:
        """Return where layers' weights and biases begin, in turn, and where they end."""
        offsets = [0]
        for at in self.layers:
            outputs = self.widths[at + 1]
            offsets += [offsets[-1] + self.widths[at] * outputs]
            offsets += [offsets[-1] + outputs]
        return offsets

    def _places(self, base: str) -> Iterator[_Kept]:
        """Yield each layer's weights and biases."""
        offsets = self._offsets()
        for at in self.layers:
            weights, bias = (f"{base} + {offset}" for offset in offsets[2 * at : 2 * at + 2])
            inputs, outputs = self.widths[at : at + 2]
            if self._one_output and at == self.layers[-1]:
                yield _Kept(f"w{at}", f"{weights} + i{at}", f"i{at} < {inputs}")
                yield _Kept(f"b{at}", bias, "")
                return
            step = f"i{at + 1}[:, None] * {inputs} + i{at}[None, :]"
            yield _Kept(f"w{at}", f"{weights} + {step}", f"in{at}")
            yield _Kept(f"b{at}", f"{bias} + i{at + 1}", f"i{at + 1} < {outputs}")

    def _load(self) -> Iterator[str]:
        for kept in self._places("own"):
            yield f"    {kept.name} = {kept.load}"
            for moment in self.rule.moments:
                yield f"    {moment}_{kept.name} = {kept.zeros}"
        if self.rule.corrected:
            yield "    power1 = 1.0"
            yield "    power2 = 1.0"
        yield "    total = 0.0"

    def _loop(self) -> Iterator[str]:
        yield "    for number in range(passes):"
        yield "        total = 0.0"
        yield "        order = orders + (number * homes + home).to(tl.int64) * width"
        yield f"        for first in range(0, count, {self.batch_size}):"
        for line in self._step():
            yield f"            {line}"

    def _step(self) -> Iterator[str]:
        size, features = self.batch_size, self.widths[0]
        yield f"inside = (row < {size}) & (first + row < count)"
        yield f"n = tl.minimum(count - first, {size}).to(tl.float32)"
        yield "at = tl.load(order + first + row, mask=inside, other=0)"
        yield f"h0 = tl.load(x + at[:, None] * {features} + i0[None, :],"
        yield f"             mask=inside[:, None] & (i0[None, :] < {features}), other=0.0)"
        last = self.layers[-1]
        for at in self.layers[:-1]:
            yield f"z{at} = {self._dot(f'h{at}', f'tl.trans(w{at})')} + b{at}[None, :]"
            yield f"h{at + 1} = tl.maximum(z{at}, 0.0)"
        yield from self._one_end(last) if self._one_output else self._wide_end(last)
        for at in reversed(self.layers[:-1]):
            yield f"d{at} = tl.where(z{at} > 0.0, back, 0.0)"
            yield f"g_w{at} = {self._dot(f'tl.trans(d{at})', f'h{at}')}"
            yield f"g_b{at} = tl.sum(d{at}, 0)"
            if at:
                yield f"back = {self._dot(f'd{at}', f'w{at}')}"
        yield from self._follow()

    def _wide_end(self, last: int) -> Iterator[str]:
        """Yield the last layer, the loss, and ``back``, what comes back to the layer before."""
        yield f"z{last} = {self._dot(f'h{last}', f'tl.trans(w{last})')} + b{last}[None, :]"
        yield from self._loss(f"z{last}")
        yield "total += tl.sum(tl.where(inside, lost, 0.0))"
        yield f"seen = inside[:, None] & (i{last + 1}[None, :] < {self.widths[-1]})"
        yield f"d{last} = tl.where(seen, slope / n, 0.0)"
        yield f"g_w{last} = {self._dot(f'tl.trans(d{last})', f'h{last}')}"
        yield f"g_b{last} = tl.sum(d{last}, 0)"
        if last:
            yield f"back = {self._dot(f'd{last}', f'w{last}')}"

    def _one_end(self, last: int) -> Iterator[str]:
        """Yield the same of a single output, which is a number a row."""
        yield f"z{last} = tl.sum(h{last} * w{last}[None, :], 1) + b{last}"
        yield "goal = tl.load(y + at, mask=inside, other=0.0)"
        yield from self._each(f"z{last}")
        yield "total += tl.sum(tl.where(inside, each, 0.0))"
        yield f"d{last} = tl.where(inside, way / n, 0.0)"
        yield f"g_w{last} = tl.sum(h{last} * d{last}[:, None], 0)"
        yield f"g_b{last} = tl.sum(d{last}, 0)"
        if last:
            yield f"back = d{last}[:, None] * w{last}[None, :]"

    def _dot(self, one: str, other: str) -> str:
        if self.precision == "tf32x3":
            return f"product({one}, {other})"
        if self.precision == "bf16":
            return f"tl.dot(({one}).to(tl.bfloat16), ({other}).to(tl.bfloat16))"
        return f'tl.dot({one}, {other}, input_precision="{self.precision}")'

    def _loss(self, out: str) -> Iterator[str]:
        """Yield each row's loss, ``lost [rows]``, and its slope ``[rows, outputs]``."""
        outputs, column = self.widths[-1], f"i{self.layers[-1] + 1}[None, :]"
        if LABELLED[self.loss]:
            yield "label = tl.load(y + at, mask=inside, other=0)"
            yield f"shown = tl.where({column} < {outputs}, {out}, float('-inf'))"
            yield "top = tl.max(shown, 1)"
            yield "above = tl.exp(shown - top[:, None])"
            yield "whole = tl.sum(above, 1)"
            yield f"is_own = {column} == label[:, None]"
            yield f"lost = tl.log(whole) + top - tl.sum(tl.where(is_own, {out}, 0.0), 1)"
            yield "slope = above / whole[:, None] - tl.where(is_own, 1.0, 0.0)"
            return
        yield f"goal = tl.load(y + at[:, None] * {outputs} + {column},"
        yield f"               mask=inside[:, None] & ({column} < {outputs}), other=0.0)"
        yield from self._each(out)
        yield f"lost = tl.sum(tl.where({column} < {outputs}, each, 0.0), 1) / {outputs}"
        yield f"slope = way / {outputs}"

    def _each(self, out: str) -> Iterator[str]:
        """Yield the loss of each number of an output, ``each``, and its slope, ``way``."""
        yield f"off = {out} - goal"
        if self.loss == "mse":
            yield "each, way = off * off, 2.0 * off"
        elif self.loss == "huber":
            yield "far = tl.abs(off)"
            yield "near = tl.minimum(far, 1.0)"
            yield "each, way = near * (2.0 * far - near), 2.0 * tl.where(off > 0.0, near, -near)"
        else:
            yield f"small = tl.exp(-tl.abs({out}))"
            yield f"each = tl.maximum({out}, 0.0) + tl.log(1.0 + small) - {out} * goal"
            yield f"way = tl.where({out} > 0.0, 1.0, small) / (1.0 + small) - goal"

    def _follow(self) -> Iterator[str]:
        """Yield the optimiser's step: pull, clipping, decay, direction, in this order."""
        rule = self.rule
        places = list(self._places("pull"))
        if rule.proximal_mu:
            for kept in places:
                yield f"g_{kept.name} += {rule.proximal_mu} * ({kept.name} - {kept.load})"
        if rule.clip_norm is not None:
            squares = " + ".join(kept.square for kept in places)
            yield f"norm = tl.sqrt({squares})"
            yield f"scale = tl.minimum({rule.clip_norm} / (norm + 1e-6), 1.0)"
        if rule.corrected:
            yield "power1 *= 0.9"
            yield "power2 *= 0.999"
            yield "pace = rate / (1.0 - power1)"
            yield "grown = 1.0 / tl.sqrt(1.0 - power2)"
        for name in (kept.name for kept in places):
            if rule.clip_norm is not None:
                yield f"g_{name} *= scale"
            if rule.weight_decay:
                yield f"g_{name} += {rule.weight_decay} * {name}"
            if rule.optimiser == "adam":
                yield f"first_{name} = 0.9 * first_{name} + 0.1 * g_{name}"
                yield f"second_{name} = 0.999 * second_{name} + 0.001 * g_{name} * g_{name}"
                yield f"{name} -= pace * first_{name} / (tl.sqrt(second_{name}) * grown + 1e-8)"
            elif rule.momentum:
                yield f"first_{name} = {rule.momentum} * first_{name} + g_{name}"
                yield f"{name} -= rate * first_{name}"
            else:
                yield f"{name} -= rate * g_{name}"

    def _store(self) -> Iterator[str]:
        for kept in self._places("own"):
            yield f"    {kept.store}"
        yield "    tl.store(losses + home, total / tl.maximum(count, 1).to(tl.float32))"
