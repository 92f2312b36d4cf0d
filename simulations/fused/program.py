"""Puts the whole of a client's training together: one native function for a run of clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from llvmlite import ir

from simulations.fused import layers, losses
from simulations.fused.emit import F32, F64, I64, POINTER, Emitter, Index, Tile, Value
from simulations.fused.layers import Linear
from simulations.fused.losses import LossName
from simulations.fused.optimisers import (
    BETA_1,
    BETA_2,
    FINISH,
    NUMBERS,
    RATE,
    SECOND_SCALE,
    Rule,
    Step,
)

ENTRY = "train"
_LINE = 16  # floats in a cache line
_SKEW = 128  # a row stride that is a multiple of this would use few sets of the cache

# params, x, y, order, counts, losses, workspace, clients, batch size, epochs, learning rate
_ARGUMENTS = [*[POINTER] * 7, I64, I64, I64, F32]


@dataclass(frozen=True)
class Plan:
    """What a program is written for.

    Args:
        sizes: Widths from the input to the output.
        loss: Name of the loss.
        rule: How parameters follow their gradients.
        capacity: Rows of a batch at most, a multiple of the tile's panel.
        tile: Register block of the processor.
    """

    sizes: tuple[int, ...]
    loss: LossName
    rule: Rule
    capacity: int
    tile: Tile


@dataclass
class _Space:
    """Places in the workspace, each on its own cache line."""

    used: int = 0

    def take(self, floats: int) -> int:
        place = self.used
        self.used += -(-floats // _LINE) * _LINE
        return place


@dataclass(frozen=True)
class Program:
    """LLVM source of a plan.

    Args:
        source: Text of the module.
        workspace: Floats of zeroed memory that one call needs.
    """

    source: str
    workspace: int


@dataclass
class _Writer:
    plan: Plan
    module: Any = field(default_factory=lambda: ir.Module("fused"))
    space: _Space = field(default_factory=_Space)
    functions: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plan, tile = self.plan, self.plan.tile
        self.linears: list[Linear] = []
        size = 0
        for inputs, outputs in pairwise(plan.sizes):
            stride = tile.padded(inputs)
            stride += _LINE if stride % _SKEW == 0 else 0
            bias = size + outputs * stride
            self.linears.append(Linear(inputs, outputs, stride, size, bias))
            size = bias + tile.padded(outputs)
        self.size = -(-size // _LINE) * _LINE
        self.step = Step(plan.rule, self.size)
        for _ in plan.rule.copies:
            self.space.take(self.size)
        self.numbers = self.space.take(NUMBERS)
        capacity = plan.capacity
        self.activations = [self.space.take(tile.padded(w) * capacity) for w in plan.sizes]
        self.transposed = [
            self.space.take(tile.panels(w) * tile.panel * capacity) for w in plan.sizes[:-1]
        ]
        self.targets = self.space.take(tile.padded(plan.sizes[-1]) * capacity)

    def function(
        self,
        name: str,
        arguments: Sequence[Any],
        write: Callable[[Emitter], None],
        *,
        result: Any = ir.VoidType(),
    ) -> Any:
        """The function of this name, written on first use, so that equal layers share it."""
        if name not in self.functions:
            emitter = Emitter(self.module, self.plan.tile, name, arguments, result=result)
            write(emitter)
            self.functions[name] = emitter.function
        return self.functions[name]

    def write(self) -> Program:
        """Write the whole program."""
        e = Emitter(self.module, self.plan.tile, ENTRY, _ARGUMENTS, exported=True)
        _Training(self, e).write()
        return Program(str(self.module), self.space.used)


def write_program(plan: Plan) -> Program:
    """Write the native function that trains a run of clients.

    Args:
        plan: What to write it for.

    Returns:
        The LLVM source, whose function is called ``train``, and the memory a call needs.
    """
    return _Writer(plan).write()


class _Training:
    """Writes the loops over clients, epochs and batches."""

    def __init__(self, writer: _Writer, e: Emitter) -> None:
        self.writer = writer
        self.e = e
        (
            self.params,
            self.x,
            self.y,
            self.order,
            self.counts,
            self.losses,
            self.workspace,
            self.clients,
            self.batch_size,
            self.epochs,
            self.rate,
        ) = e.arguments
        sizes = writer.plan.sizes
        self.floats = sum(i * o + o for i, o in pairwise(sizes))

    def place(self, offset: int) -> Value:
        """An address in the workspace."""
        return self.e.at(self.workspace, offset)

    def write(self) -> None:
        e = self.e
        e.store(self.rate, self.place(self.writer.numbers), RATE)
        e.loop(self.clients, self._client, [self.order])
        e.builder.ret_void()

    def _client(self, client: Index, carried: list[Value]) -> list[Value]:
        e, b = self.e, self.e.builder
        count = e.load(self.counts, client, I64)
        own = e.at(self.params, e.times(client, self.floats))
        e.store(ir.Constant(F64, 0.0), self.losses, client, F64)
        with e.when(b.icmp_signed(">", count, e.index(0))):
            self._copy(own, inwards=True)
            self._reset()
            self._epochs(client, count, carried[0])
            self._copy(own, inwards=False)
        return [e.at(carried[0], e.times(count, self.epochs), I64)]

    def _epochs(self, client: Index, count: Value, order: Value) -> None:
        e, b = self.e, self.e.builder
        zero, one = ir.Constant(F64, 0.0), ir.Constant(F64, 1.0)

        def epoch(_: Index, carried: list[Value]) -> list[Value]:
            order, _, first, second = carried

            def batch(done: Index, carried: list[Value]) -> list[Value]:
                summed, first, second = carried
                rows = e.smaller(e.subtract(count, done), self.batch_size)
                if self.writer.plan.rule.optimiser == "adam":
                    first, second = self._correct(first, second)
                loss = self._step(e.at(order, done, I64), rows)
                return [b.fadd(summed, b.fpext(loss, F64)), first, second]

            results = e.loop(count, batch, [zero, first, second], step=self.batch_size)
            return [e.at(order, count, I64), *results]

        _, summed, _, _ = e.loop(self.epochs, epoch, [order, zero, one, one])
        plan = self.writer.plan
        averaged = count if plan.loss == "cross-entropy" else e.times(count, plan.sizes[-1])
        e.store(b.fdiv(summed, b.sitofp(averaged, F64)), self.losses, client, F64)

    def _correct(self, first: Value, second: Value) -> tuple[Value, Value]:
        """Adam's bias corrections for the step that follows."""
        e, b = self.e, self.e.builder
        one = ir.Constant(F64, 1.0)
        first = b.fmul(first, ir.Constant(F64, BETA_1))
        second = b.fmul(second, ir.Constant(F64, BETA_2))
        rate = b.fdiv(b.fpext(self.rate, F64), b.fsub(one, first))
        scale = b.fdiv(one, e.call("llvm.sqrt", b.fsub(one, second)))
        numbers = self.place(self.writer.numbers)
        e.store(b.fptrunc(rate, F32), numbers, RATE)
        e.store(b.fptrunc(scale, F32), numbers, SECOND_SCALE)
        return first, second

    def _copy(self, own: Value, *, inwards: bool) -> None:
        """Bring a client's parameters into the padded layout, or back."""
        e = self.e
        for linear in self.writer.linears:
            weight = self.place(linear.weight)

            def row(
                r: Index, _: list[Value], linear: Linear = linear, own: Value = own,
                weight: Value = weight,
            ) -> list[Value]:
                packed = e.at(own, e.times(r, linear.inputs))
                padded = e.at(weight, e.times(r, linear.stride))
                copy(e, *((packed, padded) if inwards else (padded, packed)), linear.inputs)
                return []

            e.loop(linear.outputs, row)
            own = e.at(own, linear.inputs * linear.outputs)
            bias = self.place(linear.bias)
            copy(e, *((own, bias) if inwards else (bias, own)), linear.outputs)
            own = e.at(own, linear.outputs)

    def _reset(self) -> None:
        """Begin a client with empty moments and, where it is pulled there, its start."""
        e, writer = self.e, self.writer
        step, parameters = writer.step, self.place(0)

        def one(i: Index, _: list[Value]) -> list[Value]:
            here = e.at(parameters, i)
            for moment in writer.plan.rule.moments:
                e.store_vector(e.number(0.0), here, step.away(moment))
            if "start" in writer.plan.rule.copies:
                e.store_vector(e.load_vector(here), here, step.away("start"))
            return []

        if writer.plan.rule.moments or "start" in writer.plan.rule.copies:
            e.loop(writer.size, one, step=e.tile.lanes)

    def _step(self, order: Value, rows: Value) -> Value:
        """Write one training step; the result is the batch's summed loss."""
        e, writer, plan = self.e, self.writer, self.writer.plan
        b, tile = e.builder, e.tile
        vectors, _ = e.over(e.add(rows, tile.lanes - 1), tile.lanes)
        outputs = plan.sizes[-1]
        numbers = self.place(writer.numbers)
        self._gather(order, rows, vectors)
        for i, linear in enumerate(writer.linears):
            relu = i + 1 < len(writer.linears)
            self._call(
                f"forward_{linear.inputs}_{linear.outputs}_{'relu' if relu else 'linear'}",
                layers.FORWARD,
                lambda f, linear=linear, relu=relu: layers.write_forward(f, linear, relu=relu),
                [
                    self.place(linear.weight),
                    self.place(linear.bias),
                    self.place(writer.activations[i]),
                    self.place(writer.activations[i + 1]),
                    vectors,
                ],
            )
            if relu:
                self._turn(i + 1, vectors)
        output = self.place(writer.activations[-1])
        targets = self.place(writer.targets)
        self._call(
            "gather_targets",
            losses.GATHER,
            lambda f: losses.write_gather_targets(f, outputs, plan.loss),
            [self.y, targets, order, rows],
        )
        loss = b.call(
            writer.function(
                "loss",
                losses.LOSS,
                lambda f: losses.write_loss(f, outputs, plan.loss),
                result=F32,
            ),
            [output, targets, rows],
        )
        for i, linear in reversed(list(enumerate(writer.linears))):
            self._backward(i, linear, rows, vectors, numbers)
        if plan.rule.clip_norm is not None:
            self._call("finish", FINISH, writer.step.write_finish, [self.place(0), numbers])
        return loss

    def _backward(
        self, i: int, linear: Linear, rows: Value, vectors: Value, numbers: Value
    ) -> None:
        writer, step = self.writer, self.writer.step
        shape = f"{linear.inputs}_{linear.outputs}"
        gradient = self.place(writer.activations[i + 1])
        # The layer's input gradient comes first: it needs the weights from before the step.
        if i > 0:
            self._call(
                f"backward_{shape}",
                layers.BACKWARD,
                lambda f: layers.write_backward(f, linear),
                [self.place(linear.weight), gradient, self.place(writer.activations[i]), vectors],
            )
        self._call(
            f"bias_{linear.outputs}",
            [*layers.BIAS_GRADIENT, POINTER],
            lambda f: layers.write_bias_gradient(f, linear, step.sink(f)),
            [self.place(linear.bias), gradient, vectors, numbers],
        )
        self._call(
            f"weight_{shape}",
            [*layers.WEIGHT_GRADIENT, POINTER],
            lambda f: layers.write_weight_gradient(
                f, linear, writer.plan.capacity, step.sink(f)
            ),
            [
                self.place(linear.weight),
                gradient,
                self.place(writer.transposed[i]),
                rows,
                numbers,
            ],
        )

    def _call(
        self,
        name: str,
        arguments: Sequence[Any],
        write: Callable[[Emitter], None],
        operands: Sequence[Value],
    ) -> None:
        self.e.builder.call(self.writer.function(name, arguments, write), operands)

    def _turn(self, i: int, vectors: Value) -> None:
        """Transpose the activations of layer ``i`` for the weights' gradient."""
        e, writer, width = self.e, self.writer, self.writer.plan.sizes[i]
        panel = e.tile.panel
        self._call(
            "transpose",
            layers.TRANSPOSE,
            layers.write_transpose,
            [
                self.place(writer.activations[i]),
                self.place(writer.transposed[i]),
                e.index(e.tile.padded(width) * panel),
                e.index(writer.plan.capacity * panel),
                vectors,
                e.index(e.tile.padded(width) // e.tile.lanes),
            ],
        )

    def _gather(self, order: Value, rows: Value, vectors: Value) -> None:
        """Bring a batch's rows of x into both layouts, with zeros up to a whole vector."""
        e, writer = self.e, self.writer
        width, panel, capacity = writer.plan.sizes[0], e.tile.panel, writer.plan.capacity
        target = self.place(writer.transposed[0])
        padded = e.tile.padded(width)

        def pieces(row: Index) -> list[tuple[Value, int, int]]:
            here = e.at(target, e.times(row, panel))
            starts = range(0, padded, panel)
            return [(e.at(here, start * capacity), start, min(panel, width - start)) for start in starts]

        def one(row: Index, _: list[Value]) -> list[Value]:
            source = e.at(self.x, e.times(e.load(order, row, I64), width))
            for piece, start, floats in pieces(row):
                copy(e, e.at(source, start), piece, floats)
            return []

        e.loop(rows, one)

        def clear(past: Index, _: list[Value]) -> list[Value]:
            for piece, _start, floats in pieces(e.add(rows, past)):
                for lane in range(0, floats, e.tile.lanes):
                    e.store_vector(e.number(0.0), piece, lane)
            return []

        e.loop(e.subtract(e.times(vectors, e.tile.lanes), rows), clear)
        self._call(
            "transpose",
            layers.TRANSPOSE,
            layers.write_transpose,
            [
                target,
                self.place(writer.activations[0]),
                e.index(capacity * panel),
                e.index(padded * panel),
                e.index(padded // e.tile.lanes),
                vectors,
            ],
        )


def copy(e: Emitter, source: Value, target: Value, floats: int) -> None:
    """Copy a known number of floats without touching what follows them."""
    lanes = e.tile.lanes
    whole = floats // lanes * lanes

    def vector(i: Index, _: list[Value]) -> list[Value]:
        e.store_vector(e.load_vector(source, i), target, i)
        return []

    if whole <= 8 * lanes:
        for i in range(0, whole, lanes):
            vector(i, [])
    else:
        e.loop(whole, vector, step=lanes)
    for i in range(whole, floats):
        e.store(e.load(source, i), target, i)
