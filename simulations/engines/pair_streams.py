"""Masks of many pairs of homes added to their rows in one pass, by the processor's own AES.

It makes the streams of :mod:`fedhome.keys.keystream`, bit for bit, adds each to one row and
subtracts it from another before it leaves the registers. Through the library a stream of some KB
costs as much again to set up, and both rows are fetched anew for each.

**For simulations only**, whose keys protect nobody. Where a processor has no AES of x86, or no
machine code may be made, there is none of it, and streams come from the library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.keys.keystream import PIECE_BYTES
from fedhome.learning.fused.compiler import host_tile, machine_code
from fedhome.learning.fused.emit import I32, I64, POINTER, Emitter, Value
from fedhome.simulations.engines.aes_code import (
    BLOCK_BYTES,
    I8,
    KEY_BYTES,
    ROUNDS,
    enciphered,
    expanded,
    key_halves,
)

FEATURES = ("aes",)
"""What the processor must have, as LLVM names it; likewise in the modules beside this one."""
_GROUP_BYTES = 256  # that are made at once, or half of them: a row has whole groups
_TILE_BYTES = 1 << 18  # of all rows at a time: they stay in the second-level cache
_BLOCKS_AT_ONCE = 8  # registers that go through the rounds together: one waits for the others

_Words = NDArray[np.unsignedinteger[Any]]


class PairStreams:
    """The compiled function for words of one size.

    Args:
        size: Bytes of a word.
        wide: Whether a register holds two blocks (VAES) instead of one.
    """

    def __init__(self, size: int, *, wide: bool) -> None:
        module = ir.Module("pair_streams")
        kinds = [POINTER] * 4 + [I64] * 4
        emitter = Emitter(module, host_tile(), "add", kinds, exported=True)
        _write_add(emitter, 8 * size, 2 if wide else 1)
        self._engine = machine_code(str(module))  # owns the code
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 4)
        self._add = signature(self._engine.get_function_address("add"))
        self._size = size

    def whole(self, words: int) -> int:
        """Return how many words a row must have for these to lie in it."""
        return -(-words * self._size // _GROUP_BYTES) * _GROUP_BYTES // self._size

    def add_all(
        self,
        rows: _Words,
        plus: NDArray[np.int64],
        minus: NDArray[np.int64],
        seeds: Sequence[bytes],
    ) -> None:
        """Add streams to one row each and subtract them from another, in place.

        Args:
            rows: Unsigned ``[rows, words]``, contiguous, of as many words as `whole` says: those
                beyond what was asked for are changed too.
            plus: Of each stream the row that adds it, int64 ``[streams]``: one after the other.
            minus: The row that subtracts it, likewise.
            seeds: Its key of 32 bytes.
        """
        count, row_bytes, keys = len(rows), rows[0].nbytes, b"".join(seeds)
        plus, minus = (np.ascontiguousarray(one, np.int64) for one in (plus, minus))
        assert len(plus) == len(minus) == len(seeds)
        assert len(keys) == KEY_BYTES * len(seeds)
        assert rows.flags.c_contiguous
        assert (rows.itemsize, row_bytes % _GROUP_BYTES) == (self._size, 0)
        for one in (plus, minus):
            assert not len(one) or 0 <= one.min() <= one.max() < count
        groups, step = row_bytes // _GROUP_BYTES, max(1, _TILE_BYTES // count // _GROUP_BYTES)
        places = rows.ctypes.data, plus.ctypes.data, minus.ctypes.data
        for first in range(0, groups, step):
            end = min(groups, first + step)
            part = first * _GROUP_BYTES, end * _GROUP_BYTES
            self._add(keys, *places, len(seeds), row_bytes, *part)


@cache
def pair_streams_if_any(size: int) -> PairStreams | None:
    """Return the compiled function; None where this processor or system has none.

    Args:
        size: Bytes of a word.
    """
    features = binding.get_host_cpu_features()
    if "x86_64" not in binding.get_process_triple() or not all(map(features.get, FEATURES)):
        return None
    try:
        return PairStreams(size, wide=bool(features.get("vaes") and features.get("avx2")))
    except EngineError:
        return None


def _write_add(e: Emitter, bits: int, wide: int) -> None:
    """``add(keys, rows, plus, minus, streams, row bytes, first byte, end)``.

    Args:
        e: Where to.
        bits: Of a word.
        wide: How many blocks a register holds.
    """
    b = e.builder
    keys, rows, plus, minus, streams, row_bytes, first, end = e.arguments
    register = ir.VectorType(I64, 2 * wide)
    numbers = ir.VectorType(ir.IntType(bits), 128 * wide // bits)
    size = BLOCK_BYTES * wide
    round_keys = b.alloca(register, ROUNDS + 1)
    steps = range(0, size * _BLOCKS_AT_ONCE, size)

    def one_stream(stream: Any, _: list[Value]) -> list[Value]:
        key = e.at(keys, e.times(stream, KEY_BYTES), I8)
        for number, one in enumerate(expanded(e, *key_halves(e, key))):
            spread = e.shuffle(one, one, [0, 1] * wide)
            b.store(spread, e.at(round_keys, number * size, I8), align=BLOCK_BYTES)
        own, other = (
            e.at(rows, e.times(e.load(places, stream, I64), row_bytes), I8)
            for places in (plus, minus)
        )

        def some_blocks(at: Any, _: list[Value]) -> list[Value]:
            at = e.add(first, at)
            made = enciphered(e, _counters(e, at, wide), round_keys, wide)
            for step, stream_part in zip(steps, made, strict=True):
                part = b.bitcast(stream_part, numbers)
                for row, operation in ((own, b.add), (other, b.sub)):
                    place = e.at(row, e.add(at, step), I8)
                    before = b.load(place, typ=numbers, align=2)
                    b.store(operation(before, part), place, align=2)
            return []

        e.loop(e.subtract(end, first), some_blocks, step=size * _BLOCKS_AT_ONCE)
        return []

    e.loop(streams, one_stream)
    b.ret_void()


def _counters(e: Emitter, at: Value, wide: int) -> list[Value]:
    """Return what blocks of a stream are made of: number of the piece, and of the block in it.

    Args:
        e: Where to.
        at: Their first byte's place in the stream, which divides a piece.
        wide: As of `_write_add`.
    """
    b = e.builder
    kind = ir.VectorType(I32, 4 * wide)
    shift = (PIECE_BYTES - 1).bit_length()
    piece = b.trunc(b.lshr(at, e.index(shift)), I32)
    within = b.lshr(b.and_(at, e.index(PIECE_BYTES - 1)), e.index(4))
    block = b.add(b.trunc(within, I32), ir.Constant(I32, 2))
    begin = ir.Constant(kind, [0] * kind.count)
    for lane in range(wide):
        begin = b.insert_element(begin, piece, ir.Constant(I32, 4 * lane + 2))
        begin = b.insert_element(begin, block, ir.Constant(I32, 4 * lane + 3))
    swap = e.module.globals.get(f"llvm.bswap.v{kind.count}i32") or ir.Function(
        e.module, ir.FunctionType(kind, [kind]), f"llvm.bswap.v{kind.count}i32"
    )
    made = []
    for number in range(_BLOCKS_AT_ONCE):
        ahead = [[0, 0, 0, number * wide + lane] for lane in range(wide)]
        later = b.add(begin, ir.Constant(kind, [one for four in ahead for one in four]))
        made.append(b.bitcast(b.call(swap, [later]), ir.VectorType(I64, 2 * wide)))
    return made
