"""The few words of LLVM in which the other modules of this package write their code.

Everything is addressed as "pointer plus so many floats", every integer is 64 bits wide, and
a loop is a Python function that is called once to write its body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

F32 = ir.FloatType()
F64 = ir.DoubleType()
I32 = ir.IntType(32)
I64 = ir.IntType(64)
POINTER = ir.PointerType()
VOID = ir.VoidType()
_SUFFIXES = {F32: "f32", F64: "f64"}

# llvmlite has no type information; the alias keeps signatures readable all the same.
Value = Any
Index = Any  # an int known while the code is written, or an i64 Value


@dataclass(frozen=True)
class Tile:
    """Shape of the block of results that a product keeps in registers.

    Args:
        lanes: Floats in one vector register.
        vectors: Registers side by side; a panel of data is ``lanes * vectors`` floats wide.
        rows: Rows of the block at most.
    """

    lanes: int
    vectors: int
    rows: int

    @property
    def panel(self) -> int:
        """Width of a panel in floats."""
        return self.lanes * self.vectors

    def padded(self, width: int) -> int:
        """``width`` rounded up to whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def panels(self, width: int) -> int:
        """How many panels hold ``width`` columns."""
        return -(-width // self.panel)


class Emitter:
    """Writes the body of one LLVM function.

    Args:
        module: The LLVM module that the function belongs to.
        tile: Register block of the processor that the code is for.
        name: Name of the function.
        arguments: LLVM types of its arguments.
        result: LLVM type of its result.
        exported: Whether the function is called from outside the module.
    """

    def __init__(
        self,
        module: Any,
        tile: Tile,
        name: str,
        arguments: Sequence[Any],
        *,
        result: Any = VOID,
        exported: bool = False,
    ) -> None:
        self.module = module
        self.tile = tile
        self.function = ir.Function(module, ir.FunctionType(result, arguments), name)
        if not exported:
            self.function.linkage = "internal"
            self.function.attributes.add("noinline")
        self.arguments = self.function.args
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.vector = ir.VectorType(F32, tile.lanes)

    # Integers and addresses

    def index(self, value: Index) -> Value:
        """``value`` as an i64 operand."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, left: Index, right: Index) -> Index:
        """Sum of two indices, worked out now where both are known."""
        if isinstance(left, int) and isinstance(right, int):
            return left + right
        if isinstance(right, int) and right == 0:
            return left
        return self.builder.add(self.index(left), self.index(right))

    def subtract(self, left: Index, right: Index) -> Index:
        """Difference of two indices, worked out now where both are known."""
        if isinstance(left, int) and isinstance(right, int):
            return left - right
        return self.builder.sub(self.index(left), self.index(right))

    def times(self, left: Index, right: Index) -> Index:
        """Product of two indices, worked out now where both are known."""
        if isinstance(left, int) and isinstance(right, int):
            return left * right
        return self.builder.mul(self.index(left), self.index(right))

    def over(self, left: Index, divisor: int) -> tuple[Index, Index]:
        """Quotient and remainder of an index and a power of two."""
        if isinstance(left, int):
            return divmod(left, divisor)
        shift = divisor.bit_length() - 1
        return (
            self.builder.lshr(left, self.index(shift)),
            self.builder.and_(left, self.index(divisor - 1)),
        )

    def smaller(self, left: Value, right: Value) -> Value:
        """The smaller of two indices."""
        return self.builder.select(self.builder.icmp_signed("<", left, right), left, right)

    def at(self, pointer: Value, offset: Index, unit: Any = F32) -> Value:
        """Address of the element ``offset`` places after ``pointer``."""
        if isinstance(offset, int) and offset == 0:
            return pointer
        return self.builder.gep(pointer, [self.index(offset)], source_etype=unit)

    # Memory

    def load(self, pointer: Value, offset: Index = 0, unit: Any = F32) -> Value:
        """One element."""
        return self.builder.load(self.at(pointer, offset, unit), typ=unit)

    def store(self, value: Value, pointer: Value, offset: Index = 0, unit: Any = F32) -> None:
        """Write one element."""
        self.builder.store(value, self.at(pointer, offset, unit))

    def load_vector(self, pointer: Value, offset: Index = 0) -> Value:
        """One register's worth of floats from anywhere."""
        return self.builder.load(self.at(pointer, offset), typ=self.vector, align=4)

    def store_vector(self, value: Value, pointer: Value, offset: Index = 0) -> None:
        """Write one register's worth of floats to anywhere."""
        self.builder.store(value, self.at(pointer, offset), align=4)

    def load_first(self, pointer: Value, floats: int, rest: Value) -> Value:
        """A vector's first floats from anywhere, and those of another one behind them.

        No float behind them is read: they may be the last of an array.
        """
        vector, lanes = rest, self.tile.lanes
        for start, width in _powers(floats):
            kind = ir.VectorType(F32, width) if width > 1 else F32
            part = self.builder.load(self.at(pointer, start), typ=kind, align=4)
            if width == 1:
                vector = self.builder.insert_element(vector, part, ir.Constant(I32, start))
                continue
            wide = self.shuffle(part, part, [lane % width for lane in range(lanes)])
            picked = [
                lanes + lane - start if 0 <= lane - start < width else lane for lane in range(lanes)
            ]
            vector = self.shuffle(vector, wide, picked)
        return vector

    def store_first(self, vector: Value, pointer: Value, floats: int) -> None:
        """Write a vector's first floats to anywhere, and nothing behind them."""
        for start, width in _powers(floats):
            part = (
                self.builder.extract_element(vector, ir.Constant(I32, start))
                if width == 1
                else self.shuffle(vector, vector, range(start, start + width))
            )
            self.builder.store(part, self.at(pointer, start), align=4)

    # Arithmetic

    def number(self, value: float) -> Value:
        """A vector that holds ``value`` in every lane."""
        return self.numbers([value] * self.tile.lanes)

    def numbers(self, values: Sequence[float]) -> Value:
        """A vector that holds these, one a lane."""
        return ir.Constant(self.vector, [ir.Constant(F32, value) for value in values])

    def iota(self) -> Value:
        """The i32 vector 0, 1, 2, ..."""
        lanes = self.tile.lanes
        return ir.Constant(ir.VectorType(I32, lanes), [ir.Constant(I32, i) for i in range(lanes)])

    def splat(self, scalar: Value) -> Value:
        """A vector that holds ``scalar`` in every lane."""
        lanes = self.tile.lanes
        kind = ir.VectorType(scalar.type, lanes)
        single = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0)
        )
        return self.shuffle(single, single, [0] * lanes)

    def shuffle(self, first: Value, second: Value, lanes: Sequence[int]) -> Value:
        """Lanes picked from two vectors, the second one's counted after the first one's."""
        mask = ir.Constant(
            ir.VectorType(I32, len(lanes)), [ir.Constant(I32, lane) for lane in lanes]
        )
        return self.builder.shuffle_vector(first, second, mask)

    def call(self, name: str, *operands: Value) -> Value:
        """An LLVM intrinsic that is told apart by its first operand's type."""
        kind = operands[0].type
        suffix = f"v{kind.count}f32" if isinstance(kind, ir.VectorType) else _SUFFIXES[kind]
        full = f"{name}.{suffix}"
        function = self.module.globals.get(full)
        if function is None:
            arguments = [operand.type for operand in operands]
            function = ir.Function(self.module, ir.FunctionType(kind, arguments), full)
        return self.builder.call(function, operands)

    def fma(self, left: Value, right: Value, addend: Value) -> Value:
        """``left * right + addend``, fused where the processor can."""
        # llvm.fma would call the C library, lane by lane, on a processor without the instruction.
        return self.call("llvm.fmuladd", left, right, addend)

    def total(self, vector: Value) -> Value:
        """Sum of a vector's lanes, as a tree of fixed shape."""
        width = self.tile.lanes
        while width > 1:
            width //= 2
            low = self.shuffle(vector, vector, range(width))
            high = self.shuffle(vector, vector, range(width, 2 * width))
            vector = self.builder.fadd(low, high)
        return self.builder.extract_element(vector, ir.Constant(I32, 0))

    # Control

    def loop(
        self,
        stop: Index,
        body: Callable[[Any, list[Value]], Sequence[Value]],
        carried: Sequence[Value] = (),
        *,
        step: Index = 1,
    ) -> list[Value]:
        """Repeat ``body`` for 0, step, 2 * step, ... below ``stop``.

        Args:
            stop: Bound of the index.
            body: Writes the code of one round from the index and the carried values and
                returns the values to carry on.
            carried: Values on entry.
            step: Distance between two indices.

        Returns:
            The carried values after the last round.
        """
        if isinstance(stop, int) and isinstance(step, int):
            if stop <= 0:
                return list(carried)
            if stop <= step:
                return list(body(0, list(carried)))
        builder = self.builder
        before = builder.block
        inside, after = (builder.append_basic_block(name) for name in ("loop", "after"))
        if isinstance(stop, int):
            builder.branch(inside)
        else:
            enters = builder.icmp_signed(">", stop, self.index(0))
            builder.cbranch(enters, inside, after)
        builder.position_at_end(inside)
        counter = builder.phi(I64)
        counter.add_incoming(self.index(0), before)
        phis = [builder.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        results = body(counter, list(phis))
        following = builder.add(counter, self.index(step))
        last = builder.block
        counter.add_incoming(following, last)
        for phi, value in zip(phis, results, strict=True):
            phi.add_incoming(value, last)
        repeats = builder.icmp_signed("<", following, self.index(stop))
        builder.cbranch(repeats, inside, after)
        builder.position_at_end(after)
        if isinstance(stop, int):
            return list(results)
        outcomes = [builder.phi(value.type) for value in carried]
        for outcome, value, result in zip(outcomes, carried, results, strict=True):
            outcome.add_incoming(value, before)
            outcome.add_incoming(result, last)
        return list(outcomes)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Write code that runs only where ``condition`` holds."""
        with self.builder.if_then(condition):
            yield


def _powers(floats: int) -> list[tuple[int, int]]:
    """Cut floats into runs of falling powers of two: where each begins, and its length."""
    found, start = [], 0
    while start < floats:
        width = 1 << ((floats - start).bit_length() - 1)
        found.append((start, width))
        start += width
    return found
