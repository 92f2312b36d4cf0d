"""A home's shares sealed for all members in one pass, by the processor's own AES.

Each row is the one of :class:`fedhome.secagg.seals.Seals`, bit for bit: AES-256-GCM under a key for
each member. Through the library a row costs several times as much to ask for, and each key with
what belongs to it lies somewhere else.

**For simulations only**, whose keys protect nobody. Where a processor has no AES or no carry-less
product of x86, or no machine code may be made, there is none of it.

Source: NIST SP 800-38D, sections 6.4 and 7.1; RFC 8452, appendix A (GHASH by POLYVAL); Gueron,
"AES-GCM-SIV implementations", 2016 (reduction in two products).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.learning.fused.compiler import host_tile, machine_code
from fedhome.learning.fused.emit import I32, I64, POINTER, Emitter, Value
from fedhome.simulations.engines.aes_code import (
    BLOCK,
    BLOCK_BYTES,
    I8,
    KEY_BYTES,
    ROUNDS,
    WORDS,
    enciphered,
    expanded,
    instruction,
    key_halves,
)

FEATURES = "aes", "pclmul", "ssse3"
_TAG_BYTES, _NONCE_BYTES, _COUNTER_BYTES, _HALF = 16, 12, 4, 8
_AT_ONCE = 2  # rows whose hashes are worked out side by side: each product waits for the last
_KEYS_BYTES = BLOCK_BYTES * (ROUNDS + 1)
_REDUCTION = 0xC2 << 56  # x^127 + x^126 + x^121 by 2^64
_POLYNOMIAL = (_REDUCTION << 64) | 1
_BITS = 128

_Bytes = NDArray[np.uint8]


class RowKeys(NamedTuple):
    """What keys of rows come to, for as many rows as are sealed side by side.

    Args:
        ciphers: Round keys, uint8 ``[rows, 240]``.
        hashes: Of each what its hash is multiplied by, uint8 ``[rows, 16]``.
    """

    ciphers: _Bytes
    hashes: _Bytes


class RowSeals:
    """The compiled functions for plain texts of one size.

    Args:
        size: Bytes of a plain text: blocks, and half a block.
    """

    def __init__(self, size: int) -> None:
        assert size % BLOCK_BYTES == _HALF
        module, tile = ir.Module("row_seals"), host_tile()
        _write_prepare(Emitter(module, tile, "prepare", [POINTER] * 3 + [I64], exported=True))
        kinds = [POINTER] * 7 + [I64] * 3
        _write_seal(Emitter(module, tile, "seal", kinds, exported=True), size)
        self._engine = machine_code(str(module))  # owns the code
        prepare = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
        seal = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 7, *[ctypes.c_int64] * 3)
        self._prepare = prepare(self._engine.get_function_address("prepare"))
        self._seal = seal(self._engine.get_function_address("seal"))
        self._size = size

    def keys(self, keys: Sequence[bytes]) -> RowKeys:
        """Return what keys of 32 bytes come to."""
        count = _whole(len(keys))
        joined = b"".join(keys).ljust(count * KEY_BYTES, b"\0")
        assert len(joined) == count * KEY_BYTES
        aligned = np.empty(count * _KEYS_BYTES + BLOCK_BYTES, np.uint8)
        begin = -aligned.ctypes.data % BLOCK_BYTES
        ciphers = aligned[begin : begin + count * _KEYS_BYTES].reshape(count, _KEYS_BYTES)
        hashes = np.empty((count, BLOCK_BYTES), np.uint8)
        self._prepare(joined, ciphers.ctypes.data, hashes.ctypes.data, count)
        factors = b"".join([_factor(row.tobytes()) for row in hashes])
        return RowKeys(ciphers, np.frombuffer(factors, np.uint8).reshape(count, BLOCK_BYTES))

    def seal(
        self,
        keys: RowKeys,
        starts: _Bytes,
        names: _Bytes,
        *,
        nonce: bytes,
        bound: bytes,
        plain: bytes,
    ) -> bytes:
        """Return rows, one after the other: each one's start, what is sealed, and its tag.

        Args:
            keys: Of the rows, as :meth:`keys` returned them.
            starts: How each row starts, uint8 ``[rows, bytes]``.
            names: What each row is bound to at the end, uint8 ``[rows, bytes]``.
            nonce: 12 bytes: one for all rows, as each has a key of its own.
            bound: What all rows are bound to before that.
            plain: What is sealed in each row, one after the other.
        """
        count, start = starts.shape
        rows = _whole(count)
        assert (len(keys.ciphers), len(names), len(nonce)) == (rows, count, _NONCE_BYTES)
        assert len(plain) == count * self._size
        size = len(bound) + names.shape[1]
        blocks = -(-size // BLOCK_BYTES)
        told = np.zeros((rows, blocks * BLOCK_BYTES), np.uint8)
        told[:, : len(bound)] = np.frombuffer(bound, np.uint8)
        told[:count, len(bound) : size] = names
        lengths = ((8 * size) << 64 | 8 * self._size).to_bytes(BLOCK_BYTES, "little")
        made = np.empty((rows, start + self._size + _TAG_BYTES), np.uint8)
        made[:count, :start] = starts
        counter = nonce + bytes(_COUNTER_BYTES)
        self._seal(
            keys.ciphers.ctypes.data,
            keys.hashes.ctypes.data,
            counter,
            lengths,
            told.ctypes.data,
            plain + bytes((rows - count) * self._size),
            made.ctypes.data + start,
            rows,
            blocks,
            made.shape[1],
        )
        return made[:count].tobytes()


@cache
def row_seals_if_any(size: int) -> RowSeals | None:
    """Return the compiled functions; None where this processor or system has none.

    Args:
        size: As of `RowSeals`.
    """
    features = binding.get_host_cpu_features()
    has_all = all(map(features.get, FEATURES))
    if "x86_64" not in binding.get_process_triple() or not has_all:
        return None
    try:
        return RowSeals(size)
    except EngineError:
        return None


def _whole(rows: int) -> int:
    return -(-rows // _AT_ONCE) * _AT_ONCE


def _factor(zeros: bytes) -> bytes:
    """Return what a hash is multiplied by, from zeros enciphered: these times x, as POLYVAL's."""
    times = int.from_bytes(zeros, "big") << 1
    if times >> _BITS:
        times ^= 1 << _BITS | _POLYNOMIAL
    return times.to_bytes(BLOCK_BYTES, "little")


def _write_prepare(e: Emitter) -> None:
    """``prepare(keys, round keys, zeros enciphered, count)``."""
    b = e.builder
    keys, round_keys, zeros, count = e.arguments

    def one_key(row: Value, _: list[Value]) -> list[Value]:
        place = e.at(round_keys, e.times(row, _KEYS_BYTES), I8)
        halves = key_halves(e, e.at(keys, e.times(row, KEY_BYTES), I8))
        for number, one in enumerate(expanded(e, *halves)):
            b.store(one, e.at(place, number * BLOCK_BYTES, I8), align=BLOCK_BYTES)
        (made,) = enciphered(e, [ir.Constant(BLOCK, None)], place, 1)
        b.store(made, e.at(zeros, e.times(row, BLOCK_BYTES), I8), align=1)
        return []

    e.loop(count, one_key)
    b.ret_void()


def _write_seal(e: Emitter, size: int) -> None:
    """``seal(round keys, factors, counter, lengths, bound, plain, rows, count, blocks, stride)``.

    Args:
        e: Where to; ``count`` is a multiple of `_AT_ONCE`.
        size: Bytes of a plain text.
    """
    b = e.builder
    round_keys, factors, counter, lengths, told, plain, made, count, blocks, stride = e.arguments
    whole, bytes_told = size // BLOCK_BYTES, e.times(blocks, BLOCK_BYTES)
    begin = b.load(counter, typ=WORDS, align=1)
    counters = [
        b.bitcast(
            b.insert_element(begin, ir.Constant(I32, number << 24), ir.Constant(I32, 3)), BLOCK
        )
        for number in range(1, whole + 3)
    ]
    sizes = b.load(lengths, typ=BLOCK, align=1)

    def block(base: Value, at: Value) -> Value:
        return b.load(e.at(base, at, I8), typ=BLOCK, align=1)

    def some_rows(first: Value, _: list[Value]) -> list[Value]:
        rows = [e.add(first, ahead) for ahead in range(_AT_ONCE)]
        factor = [block(factors, e.times(row, BLOCK_BYTES)) for row in rows]
        masks, written = [], []
        for row in rows:
            stream = enciphered(e, counters, e.at(round_keys, e.times(row, _KEYS_BYTES), I8), 1)
            to, source = e.times(row, stride), e.times(row, size)
            sealed = []
            for number in range(whole):
                at = number * BLOCK_BYTES
                sealed.append(b.xor(stream[number + 1], block(plain, e.add(source, at))))
                b.store(sealed[-1], e.at(made, e.add(to, at), I8), align=1)
            at = whole * BLOCK_BYTES
            last = b.load(e.at(plain, e.add(source, at), I8), typ=I64, align=1)
            end = b.xor(b.extract_element(stream[-1], ir.Constant(I32, 0)), last)
            b.store(end, e.at(made, e.add(to, at), I8), align=1)
            sealed.append(b.insert_element(ir.Constant(BLOCK, None), end, ir.Constant(I32, 0)))
            masks.append(stream[0])
            written.append([_turned(e, one) for one in sealed] + [sizes])

        def next_told(number: Value, sums: list[Value]) -> list[Value]:
            at = e.times(number, BLOCK_BYTES)
            some = [block(told, e.add(e.times(row, bytes_told), at)) for row in rows]
            turned = [_turned(e, one) for one in some]
            return [
                _product(e, b.xor(*pair), one)
                for *pair, one in zip(sums, turned, factor, strict=True)
            ]

        sums = e.loop(blocks, next_told, [ir.Constant(BLOCK, None)] * _AT_ONCE)
        for column in zip(*written, strict=True):
            sums = [
                _product(e, b.xor(*pair), one)
                for *pair, one in zip(sums, column, factor, strict=True)
            ]
        for row, total, mask in zip(rows, sums, masks, strict=True):
            place = e.add(e.times(row, stride), size)
            b.store(b.xor(_turned(e, total), mask), e.at(made, place, I8), align=1)
        return []

    e.loop(count, some_rows, step=_AT_ONCE)
    b.ret_void()


def _turned(e: Emitter, block: Value) -> Value:
    """Return a block whose bytes are in the other order."""
    as_bytes = e.builder.bitcast(block, ir.VectorType(I8, BLOCK_BYTES))
    return e.builder.bitcast(e.shuffle(as_bytes, as_bytes, range(BLOCK_BYTES)[::-1]), BLOCK)


def _product(e: Emitter, left: Value, right: Value) -> Value:
    """Return POLYVAL's product of two elements of the field."""
    b = e.builder
    multiply = instruction(e, "llvm.x86.pclmulqdq", BLOCK, [BLOCK, BLOCK, I8])
    zeros = ir.Constant(BLOCK, None)
    polynomial = ir.Constant(BLOCK, [1, _REDUCTION])

    def halves(one: Value, other: Value, which: int) -> Value:
        return b.call(multiply, [one, other, ir.Constant(I8, which)])

    low, high = halves(left, right, 0x00), halves(left, right, 0x11)
    middle = b.xor(halves(left, right, 0x01), halves(left, right, 0x10))
    low = b.xor(low, e.shuffle(zeros, middle, [0, 2]))
    high = b.xor(high, e.shuffle(middle, zeros, [1, 2]))
    for _ in range(2):
        low = b.xor(halves(low, polynomial, 0x10), e.shuffle(low, low, [1, 0]))
    return b.xor(low, high)
