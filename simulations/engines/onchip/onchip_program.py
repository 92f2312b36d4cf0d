"""The Triton program that trains one home, written out for a network, a loss and an optimiser.

Triton has no lists of tensors, and a network has as many layers as a plan says. So the program's
text is made here, a line a layer; :mod:`.onchip_kernel` compiles it.

What it computes is :meth:`fedhome.learning.local.LocalLearning.step`, over all batches of all
passes. Widths are padded to powers of two, at least 16, with zeros: these stay zeros in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fedhome.learning.fused.rule import LABELLED, LossName, Rule

Products = Literal["tf32x3", "ieee", "tf32", "bf16"]
LEAST = 16
"""The least width of a product on a GPU's matrix units."""


def padded(width: int) -> int:
    """Return the power of two that a width is padded to."""
    return max(LEAST, 1 << (width - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class OnChipProgram:
    """What is to be written out.

    Args:
        widths: Widths of the network from its input to its output.
        batch_size: Rows of a batch.
        loss: What is made smaller.
        rule: How parameters follow their gradients.
        precision: Of products: three products of TF32 for one of float32 (error about 1e-7),
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
        parameters = sum(pads[at] * pads[at + 1] + pads[at + 1] for at in self.layers)
        return parameters * (2 + len(self.rule.moments))

    def text(self) -> str:
        """Return the program."""
        return "\n".join([*self._head(), *self._load(), *self._loop(), *self._store(), ""])

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

    def _places(self, base: str) -> Iterator[tuple[str, str, str]]:
        """Yield name, address and mask of each layer's weights and biases."""
        offsets = self._offsets()
        for at in self.layers:
            step = f"i{at + 1}[:, None] * {self.widths[at]} + i{at}[None, :]"
            yield f"w{at}", f"{base} + {offsets[2 * at]} + {step}", f"in{at}"
            bias = f"{base} + {offsets[2 * at + 1]} + i{at + 1}"
            yield f"b{at}", bias, f"i{at + 1} < {self.widths[at + 1]}"

    def _load(self) -> Iterator[str]:
        for name, place, mask in self._places("own"):
            yield f"    {name} = tl.load({place}, mask={mask}, other=0.0)"
            for moment in self.rule.moments:
                yield f"    {moment}_{name} = tl.zeros_like({name})"
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
        for at in self.layers:
            product = self._dot(f"h{at}", f"tl.trans(w{at})")
            yield f"z{at} = {product} + b{at}[None, :]"
            if at < last:
                yield f"h{at + 1} = tl.maximum(z{at}, 0.0)"
        yield from self._loss(f"z{last}")
        yield "total += tl.sum(tl.where(inside, lost, 0.0))"
        yield f"seen = inside[:, None] & (i{last + 1}[None, :] < {self.widths[-1]})"
        yield f"d{last} = tl.where(seen, slope / n, 0.0)"
        for at in reversed(self.layers):
            yield f"g_w{at} = {self._dot(f'tl.trans(d{at})', f'h{at}')}"
            yield f"g_b{at} = tl.sum(d{at}, 0)"
            if at:
                back = self._dot(f"d{at}", f"w{at}")
                yield f"d{at - 1} = tl.where(z{at - 1} > 0.0, {back}, 0.0)"
        yield from self._follow()

    def _dot(self, one: str, other: str) -> str:
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
        yield f"lost = tl.sum(tl.where({column} < {outputs}, each, 0.0), 1) / {outputs}"
        yield f"slope = way / {outputs}"

    def _follow(self) -> Iterator[str]:
        """Yield the optimiser's step: pull, clipping, decay, direction, in this order."""
        rule = self.rule
        places = list(self._places("pull"))
        if rule.proximal_mu:
            for name, place, mask in places:
                start = f"tl.load({place}, mask={mask}, other=0.0)"
                yield f"g_{name} += {rule.proximal_mu} * ({name} - {start})"
        if rule.clip_norm is not None:
            squares = " + ".join(f"tl.sum(g_{name} * g_{name})" for name, _, _ in places)
            yield f"norm = tl.sqrt({squares})"
            yield f"scale = tl.minimum({rule.clip_norm} / (norm + 1e-6), 1.0)"
        if rule.corrected:
            yield "power1 *= 0.9"
            yield "power2 *= 0.999"
        for name, _, _ in places:
            if rule.clip_norm is not None:
                yield f"g_{name} *= scale"
            if rule.weight_decay:
                yield f"g_{name} += {rule.weight_decay} * {name}"
            if rule.optimiser == "adam":
                yield f"first_{name} = 0.9 * first_{name} + 0.1 * g_{name}"
                yield f"second_{name} = 0.999 * second_{name} + 0.001 * g_{name} * g_{name}"
                below = f"tl.sqrt(second_{name}) / tl.sqrt(1.0 - power2) + 1e-8"
                yield f"{name} -= rate * (first_{name} / (1.0 - power1)) / ({below})"
            elif rule.momentum:
                yield f"first_{name} = {rule.momentum} * first_{name} + g_{name}"
                yield f"{name} -= rate * first_{name}"
            else:
                yield f"{name} -= rate * g_{name}"

    def _store(self) -> Iterator[str]:
        for name, place, mask in self._places("own"):
            yield f"    tl.store({place}, {name}, mask={mask})"
        yield "    tl.store(losses + home, total / tl.maximum(count, 1).to(tl.float32))"
