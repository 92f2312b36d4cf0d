"""Updates of many homes rounded and added up in one pass: the sum that an ideal round needs.

It repeats :meth:`fedhome.secagg.FixedPoint.blocks` number by number, so that a simulated sum
is, bit for bit, what the protocol opens; between the operations nothing goes to memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from llvmlite import ir
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.learning.fused.compiler import host_tile, machine_code
from fedhome.learning.fused.emit import F32, I32, I64, POINTER, Emitter, Value
from fedhome.secagg.fixedpoint import FixedPoint

_CTR = modes.CTR(bytes(16))
_DRAWN = 1 << 17  # bytes of keystream at a time: they stay in the second-level cache
_UNIT = float(1 << 24)


class Rounding:
    """Both compiled functions; instances are used by several threads at once."""

    def __init__(self) -> None:
        tile = host_tile()
        module = ir.Module("rounding")
        _write_survey(Emitter(module, tile, "survey", [POINTER] * 3 + [I64] * 2, exported=True))
        _write_add(Emitter(module, tile, "add", [POINTER] * 6 + [I64] * 2, exported=True))
        self._engine = machine_code(str(module))  # owns the code
        self._lanes = tile.lanes
        address, counts = ctypes.c_void_p, [ctypes.c_int64] * 2
        self._survey = ctypes.CFUNCTYPE(None, *[address] * 3, *counts)(
            self._engine.get_function_address("survey")
        )
        self._add = ctypes.CFUNCTYPE(None, *[address] * 6, *counts)(
            self._engine.get_function_address("add")
        )

    def largest(
        self, params: NDArray[np.float32], start: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the greatest change of each home's parameters, float32 ``[homes]``.

        Args:
            params: Contiguous float32 ``[homes, size]``.
            start: What homes started from, float32 ``[size]``.

        Returns:
            Not finite where any change is not.
        """
        homes, size = params.shape
        found = np.zeros((homes, self._lanes + 1), np.uint32)
        self._survey(params.ctypes.data, start.ctypes.data, found.ctypes.data, homes, size)
        bits: NDArray[np.uint32] = found.max(axis=1)
        return bits.view(np.float32)

    def sums(
        self,
        fixed: FixedPoint,
        params: NDArray[np.float32],
        start: NDArray[np.float32],
        weights: NDArray[np.int64],
        keys: Sequence[bytes],
        *,
        largest: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Return the sum over homes of what ``fixed.quantise`` makes of ``params - start``.

        Args:
            fixed: How updates are rounded, with norm "linf".
            params: Contiguous float32 ``[homes, size]``; every change is finite.
            start: What homes started from, float32 ``[size]``.
            weights: Weight of each home, int64 ``[homes]``.
            keys: Key of each home's rounding.
            largest: What `largest` says of these; None: it is asked.

        Returns:
            int64 ``[size]``.
        """
        homes, size = params.shape
        if largest is None:
            largest = self.largest(params, start)
        scale, bound = fixed.scales(weights, largest)
        most = ((1 << 31) - 1) // fixed.most  # homes whose sum fits 32 bits
        rows = max(1, min(homes, _DRAWN // (4 * size), most))
        zeros = memoryview(bytes(4 * size))
        # A cipher may want room for one more block than it writes.
        drawn = np.empty(4 * size * rows + 16, np.uint8)
        total, part = np.zeros(size, np.int64), np.zeros(size, np.int32)
        room, step, held = drawn.data, 4 * size, 0
        base, begin, words, sums, scales, bounds = (
            array.ctypes.data for array in (params, start, drawn, part, scale, bound)
        )
        for first in range(0, homes, rows):
            some = keys[first : first + rows]
            if held + len(some) > most:
                total += part
                part[:], held = 0, 0
            for index, key in enumerate(some):
                stream = Cipher(algorithms.AES256(key), _CTR).encryptor()
                stream.update_into(zeros, room[step * index :])
            of, own = base + step * first, 4 * first
            self._add(of, begin, words, sums, scales + own, bounds + own, len(some), size)
            held += len(some)
        total += part
        return total


@cache
def rounding() -> Rounding:
    """Return the compiled functions, once in the life of the process.

    Raises:
        EngineError: The system lets no process create machine code.
    """
    return Rounding()


def changes_of(
    compiled: Rounding | None, params: NDArray[np.float32], start: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return what homes changed, ``[homes, size]``; of a compiled sum the greatest, ``[homes, 1]``.

    The size of an update and whether it is finite can be told from either.
    """
    if compiled is None:
        with np.errstate(over="ignore"):  # it is left out, as one that is not finite
            return params - start
    return compiled.largest(params, start)[:, None]


def rounding_if_any() -> Rounding | None:
    """Return the compiled way of adding up; None where no machine code may be made."""
    try:
        return rounding()
    except EngineError:
        return None


def _each(e: Emitter, size: Value, body: Callable[[Value, Any, Any], None]) -> None:
    """Write code for all elements: by registers, then one by one.

    Args:
        e: Where to.
        size: How many elements.
        body: Writes the code for one place, given the types of its floats and integers.
    """
    lanes = e.tile.lanes
    rest = e.over(size, lanes)[1]
    whole = e.subtract(size, rest)

    def wide(at: Any, _: list[Value]) -> list[Value]:
        body(at, e.vector, ir.VectorType(I32, lanes))
        return []

    def single(at: Any, _: list[Value]) -> list[Value]:
        body(e.add(whole, at), F32, I32)
        return []

    e.loop(whole, wide, step=lanes)
    e.loop(rest, single)


def _load(e: Emitter, pointer: Value, at: Value, kind: Any) -> Value:
    """Load one number or one register's worth of them."""
    return e.builder.load(e.at(pointer, at), typ=kind, align=4)  # all are four bytes long


def _change(e: Emitter, params: Value, start: Value, at: Value, kind: Any) -> Value:
    return e.builder.fsub(_load(e, params, at, kind), _load(e, start, at, kind))


def _write_survey(e: Emitter) -> None:
    """``survey(params, start, found, homes, size)``: the greatest bits of changes, by lane."""
    b, lanes = e.builder, e.tile.lanes
    params, start, found, homes, size = e.arguments
    rest = e.over(size, lanes)[1]
    whole = e.subtract(size, rest)

    def one_home(home: Any, _: list[Value]) -> list[Value]:
        row = e.at(params, e.times(home, size))
        own = e.at(found, e.times(home, lanes + 1))

        def larger(at: Any, found: Value, floats: Any) -> Value:
            change = b.bitcast(_change(e, row, start, at, floats), found.type)
            bits = b.and_(change, _same(found.type, 0x7FFFFFFF))
            return b.select(b.icmp_unsigned(">", bits, found), bits, found)

        wide = ir.Constant(ir.VectorType(I32, lanes), None)
        (most,) = e.loop(whole, lambda at, f: [larger(at, f[0], e.vector)], [wide], step=lanes)
        b.store(most, own, align=4)
        (most,) = e.loop(
            rest, lambda at, f: [larger(e.add(whole, at), f[0], F32)], [ir.Constant(I32, 0)]
        )
        b.store(most, e.at(own, lanes), align=4)
        return []

    e.loop(homes, one_home)
    b.ret_void()


def _write_add(e: Emitter) -> None:
    """``add(params, start, drawn, sums, scales, bounds, homes, size)``."""
    b = e.builder
    params, start, drawn, sums, scales, bounds, homes, size = e.arguments

    def one_home(home: Any, _: list[Value]) -> list[Value]:
        offset = e.times(home, size)
        row, words = e.at(params, offset), e.at(drawn, offset)
        scale, bound = e.load(scales, home), e.load(bounds, home)
        least = b.fneg(bound)

        def one(at: Value, floats: Any, integers: Any) -> None:
            wide = floats is e.vector
            by, most, low = (e.splat(v) if wide else v for v in (scale, bound, least))
            x = b.fmul(_change(e, row, start, at, floats), by)
            x = b.select(b.fcmp_ordered(">", x, most), most, x)
            x = b.select(b.fcmp_ordered("<", x, low), low, x)
            floor = e.call("llvm.floor", x)
            word = b.lshr(_load(e, words, at, integers), _same(integers, 8))
            part = b.fmul(b.fsub(x, floor), _same(floats, _UNIT))
            up = b.fcmp_ordered(">", part, b.sitofp(word, floats))
            whole = b.add(b.fptosi(floor, integers), b.zext(up, integers))
            address = e.at(sums, at)
            b.store(b.add(b.load(address, typ=integers, align=4), whole), address, align=4)

        _each(e, size, one)
        return []

    e.loop(homes, one_home)
    b.ret_void()


def _same(kind: Any, value: float) -> Value:
    """Return a constant of a type, the same in every lane."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)
    return ir.Constant(kind, value)
