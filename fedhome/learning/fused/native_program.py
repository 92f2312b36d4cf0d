"""Puts the whole of a client's training together: one native function for a run of clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from fedhome.learning.fused.batch import BatchProgram, copy
from fedhome.learning.fused.emit import F32, F64, I64, POINTER, Emitter, Index, Value
from fedhome.learning.fused.memory_map import MemoryMap, ProgramShape
from fedhome.learning.fused.optimiser_code import BETA_1, BETA_2, RATE, SECOND_SCALE
from fedhome.learning.fused.rule import LABELLED

ENTRY = "train"

# params, x, y, order, counts, losses, workspace, shares, total,
# clients, batch size, epochs, learning rate
_ARGUMENTS = [*[POINTER] * 9, I64, I64, I64, F32]


@dataclass(frozen=True)
class NativeProgram:
    """LLVM source of a plan.

    Args:
        source: Text of the module.
        workspace: Floats of zeroed memory that one call needs.
    """

    source: str
    workspace: int


def write_program(plan: ProgramShape) -> NativeProgram:
    """Write the native function that trains a run of clients.

    With shares all clients begin with the one row of params, and what they learn goes to ``total``
    alone, each times its share; where shares is null each client has a row of its own.

    Args:
        plan: What to write it for.

    Returns:
        The LLVM source, whose function is called ``train``, and the memory a call needs.
    """
    module = ir.Module("fused")
    layout = MemoryMap(plan)
    _Training(plan, layout, Emitter(module, plan.tile, ENTRY, _ARGUMENTS, exported=True)).write()
    return NativeProgram(str(module), layout.total)


class _Training:
    """Writes the loops over clients, epochs and batches."""

    def __init__(self, plan: ProgramShape, layout: MemoryMap, e: Emitter) -> None:
        self.plan = plan
        self.layout = layout
        self.e = e
        self.params, x, y, self.order, self.counts, self.losses, workspace = e.arguments[:7]
        self.shares, self.sum = e.arguments[7:9]
        self.clients, self.batch_size, self.epochs, self.rate = e.arguments[9:]
        self.batch = BatchProgram(plan, layout, e, workspace=workspace, x=x, y=y)
        self.parameters = plan.nesting.parameters

    def write(self) -> None:
        e, sums = self.e, self.batch.address(self.layout.sums)
        e.store(self.rate, self.batch.address(self.layout.numbers), RATE)
        added = e.builder.icmp_unsigned("!=", self.shares, ir.Constant(POINTER, None))
        distance = e.builder.select(added, e.index(0), e.index(self.parameters))
        with e.when(added):
            self._each_vector(lambda i: e.store_vector(e.number(0.0), sums, i))
        e.loop(
            self.clients,
            lambda client, carried: self._client(client, carried, added, distance),
            [self.order],
        )
        with e.when(added):
            here = self.batch.address(0)
            self._each_vector(lambda i: e.store_vector(e.load_vector(sums, i), here, i))
            self._copy(self.sum, inwards=False)
        e.builder.ret_void()

    def _client(
        self, client: Index, carried: list[Value], added: Value, distance: Value
    ) -> list[Value]:
        e = self.e
        (order,) = carried
        count = e.load(self.counts, client, I64)
        own = e.at(self.params, e.times(client, distance))
        e.store(ir.Constant(F64, 0.0), self.losses, client, F64)
        # Between the widths too: one whose gradients were not finite may have left NaN there.
        self._copy(own, inwards=True)
        with e.when(e.builder.icmp_signed(">", count, e.index(0))):
            self._fill(self.plan.rule.moments, e.number(0.0))
            if self.plan.rule.proximal_mu:
                self._fill(("start",), None)
            e.store(self._epochs(count, order), self.losses, client, F64)
        with e.builder.if_else(added) as (then, otherwise):
            with then:
                self._add(e.splat(e.load(self.shares, client)))
            with otherwise:
                self._copy(own, inwards=False)
        return [e.at(order, e.times(count, self.epochs), I64)]

    def _add(self, share: Value) -> None:
        """Add a client's parameters, times its share, to the sums."""
        e, here, sums = self.e, self.batch.address(0), self.batch.address(self.layout.sums)

        def add(i: Index) -> None:
            added = e.fma(share, e.load_vector(here, i), e.load_vector(sums, i))
            e.store_vector(added, sums, i)

        self._each_vector(add)

    def _epochs(self, count: Value, order: Value) -> Value:
        """Write a client's epochs; the result is the last one's mean loss."""
        e, b = self.e, self.e.builder
        zero, one = ir.Constant(F64, 0.0), ir.Constant(F64, 1.0)

        def epoch(_: Index, carried: list[Value]) -> list[Value]:
            order, _last, first, second = carried

            def batch(done: Index, carried: list[Value]) -> list[Value]:
                summed, first, second = carried
                rows = e.smaller(e.subtract(count, done), self.batch_size)
                if self.plan.rule.corrected:
                    first, second = self._correct(first, second)
                loss = self.batch.write(e.at(order, done, I64), rows)
                return [b.fadd(summed, b.fpext(loss, F64)), first, second]

            results = e.loop(count, batch, [zero, first, second], step=self.batch_size)
            return [e.at(order, count, I64), *results]

        _, summed, _, _ = e.loop(self.epochs, epoch, [order, zero, one, one])
        numbers = len(self.plan.nesting.paths)
        if not LABELLED[self.plan.loss]:
            numbers *= self.plan.sizes[-1]
        averaged = e.times(count, numbers)
        return b.fdiv(summed, b.sitofp(averaged, F64))

    def _correct(self, first: Value, second: Value) -> tuple[Value, Value]:
        """Correct Adam's averages for the step that follows."""
        e, b = self.e, self.e.builder
        one = ir.Constant(F64, 1.0)
        first = b.fmul(first, ir.Constant(F64, BETA_1))
        second = b.fmul(second, ir.Constant(F64, BETA_2))
        rate = b.fdiv(b.fpext(self.rate, F64), b.fsub(one, first))
        scale = b.fdiv(one, e.call("llvm.sqrt", b.fsub(one, second)))
        numbers = self.batch.address(self.layout.numbers)
        e.store(b.fptrunc(rate, F32), numbers, RATE)
        e.store(b.fptrunc(scale, F32), numbers, SECOND_SCALE)
        return first, second

    def _copy(self, own: Value, *, inwards: bool) -> None:
        """Bring a client's parameters into the padded layout, with zeros in between, or back."""
        linears, first = self.layout.linears, self.layout.first
        if first is not None:
            self.batch.turn(own, first, inwards=inwards)
            own = self.e.at(own, (first.inputs + 1) * first.whole)
            linears = linears[1:]
        for linear in linears:
            weight, bias = self.batch.address(linear.weight), self.batch.address(linear.bias)
            strides = (linear.inputs, linear.stride)
            self._copy_rows((own, weight), strides, linear.outputs, inwards=inwards)
            own = self.e.at(own, linear.inputs * linear.outputs)
            self._copy_rows((own, bias), (linear.outputs, 0), 1, inwards=inwards)
            own = self.e.at(own, linear.outputs)

    def _copy_rows(
        self, bases: tuple[Value, Value], strides: tuple[int, int], rows: int, *, inwards: bool
    ) -> None:
        e = self.e

        def one(row: Index, _: list[Value]) -> list[Value]:
            packed, padded = (
                e.at(base, e.times(row, stride))
                for base, stride in zip(bases, strides, strict=True)
            )
            copy(e, *((packed, padded) if inwards else (padded, packed)), strides[0], pads=inwards)
            return []

        e.loop(rows, one)

    def _fill(self, copies: tuple[str, ...], value: Value | None) -> None:
        """Fill copies of the parameters with a value, or with the parameters where it is None."""
        e, parameters = self.e, self.batch.address(0)

        def one(i: Index) -> None:
            here = e.at(parameters, i)
            vector = e.load_vector(here) if value is None else value
            for name in copies:
                e.store_vector(vector, here, self.batch.step.away(name))

        if copies:
            self._each_vector(one)

    def _each_vector(self, body: Callable[[Index], None]) -> None:
        """Write a loop over the vectors of a copy of the parameters."""

        def one(i: Index, _: list[Value]) -> list[Value]:
            body(i)
            return []

        self.e.loop(self.layout.size, one, step=self.e.tile.lanes)
