"""The step: from gradients to new parameters, with PyTorch's arithmetic.

The order is FedProx's pull towards the start, clipping, weight decay, then SGD or Adam. Without
clipping a block of gradients is used as soon as it is finished and never stored; clipping needs
the norm of all of them first, and a sum over several networks all of its parts.

Source: FedProx is Li et al., "Federated Optimization in Heterogeneous Networks" (2020), eq. 2;
Adam is Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llvmlite import ir

from fedhome.learning.fused.emit import F32, POINTER, Emitter, Index, Value
from fedhome.learning.fused.rule import OptimiserName, Rule

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8
_CLIP_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_ divides by the norm plus this

# Places of a step's numbers; the last of them is found only once all gradients are there.
RATE, SECOND_SCALE, CLIP_SCALE, NUMBERS = range(4)

FINISH = [POINTER, POINTER]


@dataclass(frozen=True)
class OptimiserStep:
    """Writes the step for parameters whose copies lie ``size`` floats apart."""

    rule: Rule
    size: int

    def away(self, copy: str) -> int:
        """Floats from a parameter to its place in another copy."""
        return self.rule.copies.index(copy) * self.size

    def sink(self, e: Emitter, *, adds: bool = False) -> _Sink:
        """What takes finished gradients; the function's last argument holds the numbers.

        Args:
            e: Where the code goes.
            adds: Whether these are added to gradients that are stored already.
        """
        return _Sink(self, e, adds)

    def write_finish(self, e: Emitter) -> None:
        """Clip the stored gradients by their norm where a step is clipped, then apply them.

        The function's arguments: parameters, numbers.
        """
        parameters, numbers = e.arguments
        b, lanes, clipped = e.builder, e.tile.lanes, self.rule.clip_norm is not None
        if clipped:
            self._scale(e, e.at(parameters, self.away("gradient")), numbers)

        def apply(i: Index, _: list[Value]) -> list[Value]:
            here = e.at(parameters, i)
            numbers_here = _splats(self, e, numbers)
            gradient = e.load_vector(here, self.away("gradient"))
            if clipped:
                gradient = b.fmul(gradient, e.splat(e.load(numbers, CLIP_SCALE)))
            self.apply(e, numbers_here, here, gradient)
            return []

        e.loop(self.size, apply, step=lanes)
        b.ret_void()

    def _scale(self, e: Emitter, gradients: Value, numbers: Value) -> None:
        """Find by how much the stored gradients are made smaller."""
        b, lanes = e.builder, e.tile.lanes

        def square(i: Index, sums: list[Value]) -> list[Value]:
            vectors = [e.load_vector(gradients, e.add(i, j * lanes)) for j in range(len(sums))]
            return [e.fma(g, g, total) for g, total in zip(vectors, sums, strict=True)]

        ways = _ways(self.size, lanes)
        sums = e.loop(self.size, square, [e.number(0.0)] * ways, step=ways * lanes)
        while len(sums) > 1:
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [b.fadd(left, right) for left, right in pairs]
        norm = e.call("llvm.sqrt", e.total(sums[0]))
        limit = ir.Constant(F32, self.rule.clip_norm)
        scale = b.fdiv(limit, b.fadd(norm, ir.Constant(F32, _CLIP_EPSILON)))
        one = ir.Constant(F32, 1.0)
        e.store(b.select(b.fcmp_ordered(">", scale, one), one, scale), numbers, CLIP_SCALE)

    def pull(self, e: Emitter, here: Value, gradient: Value) -> Value:
        """The gradient with FedProx's term."""
        if not self.rule.proximal_mu:
            return gradient
        moved = e.builder.fsub(e.load_vector(here), e.load_vector(here, self.away("start")))
        return e.fma(moved, e.number(self.rule.proximal_mu), gradient)

    def apply(self, e: Emitter, numbers: list[Value], here: Value, gradient: Value) -> None:
        """Move a vector of parameters along its gradient."""
        rule = self.rule
        if rule.weight_decay:
            gradient = e.fma(e.load_vector(here), e.number(rule.weight_decay), gradient)
        _MOVES[rule.optimiser](self, e, numbers, here, gradient)


def _descend(
    step: OptimiserStep, e: Emitter, numbers: list[Value], here: Value, gradient: Value
) -> None:
    """Move by SGD, with momentum or without."""
    b, rule, rate = e.builder, step.rule, numbers[RATE]
    parameter = e.load_vector(here)
    if rule.momentum:
        buffer = e.load_vector(here, step.away("first"))
        gradient = e.fma(buffer, e.number(rule.momentum), gradient)
        e.store_vector(gradient, here, step.away("first"))
    e.store_vector(e.fma(b.fneg(rate), gradient, parameter), here)


def _adapt(
    step: OptimiserStep, e: Emitter, numbers: list[Value], here: Value, gradient: Value
) -> None:
    """Move by Adam."""
    b, rate = e.builder, numbers[RATE]
    parameter = e.load_vector(here)
    first = e.load_vector(here, step.away("first"))
    second = e.load_vector(here, step.away("second"))
    first = e.fma(b.fsub(gradient, first), e.number(1.0 - BETA_1), first)
    squared = b.fmul(b.fmul(gradient, gradient), e.number(1.0 - BETA_2))
    second = e.fma(second, e.number(BETA_2), squared)
    e.store_vector(first, here, step.away("first"))
    e.store_vector(second, here, step.away("second"))
    root = e.fma(e.call("llvm.sqrt", second), numbers[SECOND_SCALE], e.number(EPSILON))
    moved = b.fdiv(b.fmul(rate, first), root)
    e.store_vector(b.fsub(parameter, moved), here)


_MOVES: Mapping[OptimiserName, Callable[[OptimiserStep, Emitter, list[Value], Value, Value], None]]
_MOVES = {"sgd": _descend, "adam": _adapt}


@dataclass(frozen=True)
class _Sink:
    """Takes finished gradients: uses them, or stores them where there is more to come first."""

    step: OptimiserStep
    e: Emitter
    adds: bool

    def __call__(self, base: Value, stride: int, gradients: list[list[Value]]) -> None:
        e, step = self.e, self.step
        later = step.rule.kept
        numbers = [] if later else _splats(step, e, e.arguments[-1])
        for r, row in enumerate(gradients):
            for j, gradient in enumerate(row):
                here = e.at(base, r * stride + j * e.tile.lanes)
                if self.adds:  # the pull is in what is there
                    known = e.load_vector(here, step.away("gradient"))
                    total = e.builder.fadd(known, gradient)
                else:
                    total = step.pull(e, here, gradient)
                if later:
                    e.store_vector(total, here, step.away("gradient"))
                else:
                    step.apply(e, numbers, here, total)


def _splats(step: OptimiserStep, e: Emitter, numbers: Value) -> list[Value]:
    used = [RATE, SECOND_SCALE] if step.rule.corrected else [RATE]
    return [e.splat(e.load(numbers, offset)) for offset in used]


def _ways(size: int, lanes: int) -> int:
    """Sums in flight: as many as divide the parameters evenly, at most four."""
    return next(ways for ways in (4, 2, 1) if size % (ways * lanes) == 0)
