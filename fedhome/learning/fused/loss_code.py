"""The losses: from outputs and targets to the batch's loss and the outputs' gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llvmlite import ir

from fedhome.learning.fused.elementary import exp, log, log1p
from fedhome.learning.fused.emit import F32, I32, I64, POINTER, Emitter, Index, Value
from fedhome.learning.fused.rule import LABELLED, LossName

# Argument types of the functions below, in their order.
GATHER = [POINTER, POINTER, POINTER, I64]
LOSS = [POINTER, POINTER, I64]

# From one output and its target to the loss and its gradient, both before the mean.
Pointwise = Callable[[Emitter, Value, Value], tuple[Value, Value]]


def write_gather_targets(e: Emitter, outputs: int, loss: LossName) -> None:
    """Bring a batch's targets into the layout of the outputs; class numbers become int32.

    The function's arguments: targets of all rows, batch targets, row numbers, rows in the batch.
    """
    source, target, order, batch = e.arguments
    panel_width = e.tile.panel

    def one(row: Index, _: list[Value]) -> list[Value]:
        chosen = e.load(order, row, I64)
        if LABELLED[loss]:
            number = e.builder.trunc(e.load(source, chosen, I64), I32)
            e.store(number, target, row, I32)
            return []
        part, inside = e.over(row, panel_width)
        base = e.add(e.times(part, e.tile.padded(outputs) * panel_width), inside)
        values = e.at(source, e.times(chosen, outputs))

        def output(o: Index, _: list[Value]) -> list[Value]:
            e.store(e.load(values, o), target, e.add(base, e.times(o, panel_width)))
            return []

        e.loop(outputs, output)
        return []

    e.loop(batch, one)
    e.builder.ret_void()


def write_loss(e: Emitter, outputs: int, loss: LossName) -> None:
    """Sum of a batch's loss over rows; the gradient of its mean is written over the outputs.

    The function's arguments: outputs, batch targets, rows in the batch. Lanes after the last row
    get a gradient of zero. Its result is a float; but for cross-entropy it is summed over outputs.
    """
    values, targets, batch = e.arguments
    b, lanes = e.builder, e.tile.lanes
    averaged = batch if LABELLED[loss] else e.times(batch, outputs)
    scale = e.splat(b.fdiv(ir.Constant(F32, 1.0), b.sitofp(averaged, F32)))
    last = e.splat(b.trunc(batch, I32))
    vectors, _ = e.over(e.add(batch, lanes - 1), lanes)

    def one(vector: Index, carried: list[Value]) -> list[Value]:
        rows = b.add(e.splat(b.trunc(e.times(vector, lanes), I32)), e.iota())
        inside = b.icmp_signed("<", rows, last)
        part, within = e.over(vector, e.tile.vectors)
        offset = e.add(e.times(part, e.tile.padded(outputs) * e.tile.panel), e.times(within, lanes))
        lane = _Lane(e, outputs, e.at(values, offset), scale, inside)
        if LABELLED[loss]:
            classes = b.load(
                e.at(targets, e.times(vector, lanes), I32),
                typ=ir.VectorType(I32, lanes),
                align=4,
            )
            summed = _OF_CLASSES[loss](lane, classes)
        else:
            summed = _each_output(lane, _POINTWISE[loss], e.at(targets, offset))
        kept = b.select(inside, summed, e.number(0.0))
        return [b.fadd(carried[0], kept)]

    (result,) = e.loop(vectors, one, [e.number(0.0)])
    b.ret(e.total(result))


@dataclass(frozen=True)
class _Lane:
    """A vector of rows: its outputs, the factor of its gradients, and which rows there are."""

    e: Emitter
    outputs: int
    values: Value
    scale: Value
    inside: Value

    def store_gradient(self, gradient: Value, offset: Index) -> None:
        """Write the gradient of the mean, and zero for rows that there are not."""
        scaled = self.e.builder.fmul(gradient, self.scale)
        kept = self.e.builder.select(self.inside, scaled, self.e.number(0.0))
        self.e.store_vector(kept, self.values, offset)


def _each_output(lane: _Lane, pointwise: Pointwise, targets: Value) -> Value:
    e = lane.e

    def one(o: Index, carried: list[Value]) -> list[Value]:
        offset = e.times(o, e.tile.panel)
        value, target = e.load_vector(lane.values, offset), e.load_vector(targets, offset)
        loss, gradient = pointwise(e, value, target)
        lane.store_gradient(gradient, offset)
        return [e.builder.fadd(carried[0], loss)]

    (summed,) = e.loop(lane.outputs, one, [e.number(0.0)])
    return summed


def _squared_error(e: Emitter, value: Value, target: Value) -> tuple[Value, Value]:
    difference = e.builder.fsub(value, target)
    return e.builder.fmul(difference, difference), e.builder.fadd(difference, difference)


def _huber(e: Emitter, value: Value, target: Value) -> tuple[Value, Value]:
    b, one = e.builder, e.number(1.0)
    difference = b.fsub(value, target)
    far = e.call("llvm.fabs", difference)
    near = b.select(b.fcmp_ordered(">=", far, one), one, far)
    loss = b.fmul(near, b.fsub(b.fadd(far, far), near))
    slope = b.fadd(near, near)
    positive = b.fcmp_ordered(">=", difference, e.number(0.0))
    return loss, b.select(positive, slope, b.fneg(slope))


def _binary_cross_entropy(e: Emitter, value: Value, target: Value) -> tuple[Value, Value]:
    b, one, zero = e.builder, e.number(1.0), e.number(0.0)
    # exp of a number that is never positive cannot overflow.
    decayed = exp(e, b.fneg(e.call("llvm.fabs", value)))
    positive = b.fcmp_ordered(">=", value, zero)
    probability = b.fdiv(b.select(positive, one, decayed), b.fadd(one, decayed))
    linear = b.fsub(b.select(positive, value, zero), b.fmul(value, target))
    return b.fadd(linear, log1p(e, decayed)), b.fsub(probability, target)


def _cross_entropy(lane: _Lane, classes: Value) -> Value:
    e, values, outputs = lane.e, lane.values, lane.outputs
    b, zero, one = e.builder, e.number(0.0), e.number(1.0)

    def is_class(o: Index) -> Value:
        return b.icmp_signed("==", classes, e.splat(b.trunc(e.index(o), I32)))

    def largest(o: Index, carried: list[Value]) -> list[Value]:
        value = e.load_vector(values, e.times(o, e.tile.panel))
        top, chosen = carried
        return [
            b.select(b.fcmp_ordered(">", value, top), value, top),
            b.select(is_class(o), value, chosen),
        ]

    top, chosen = e.loop(outputs, largest, [e.load_vector(values), zero])

    def grown(o: Index, carried: list[Value]) -> list[Value]:
        offset = e.times(o, e.tile.panel)
        value = exp(e, b.fsub(e.load_vector(values, offset), top))
        e.store_vector(value, values, offset)
        return [b.fadd(carried[0], value)]

    (total,) = e.loop(outputs, grown, [zero])
    inverse = b.fdiv(one, total)

    def gradient(o: Index, _: list[Value]) -> list[Value]:
        offset = e.times(o, e.tile.panel)
        probability = b.fmul(e.load_vector(values, offset), inverse)
        difference = b.fsub(probability, b.select(is_class(o), one, zero))
        lane.store_gradient(difference, offset)
        return []

    e.loop(outputs, gradient)
    return b.fsub(log(e, total), b.fsub(chosen, top))


_POINTWISE: Mapping[LossName, Pointwise] = {
    "mse": _squared_error,
    "huber": _huber,
    "bce": _binary_cross_entropy,
}
_OF_CLASSES: Mapping[LossName, Callable[[_Lane, Value], Value]] = {"cross-entropy": _cross_entropy}
