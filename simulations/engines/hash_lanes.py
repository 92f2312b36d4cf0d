"""HKDF of many secrets under one salt: SHA-256 of as many messages as a register has numbers.

Each key is the one of :func:`fedhome.keys.derivation.hkdf`. One by one, most of the time goes into
the calls. **For simulations only**, whose keys protect nobody. Where no machine code may be made
there is none of it.

Source: FIPS 180-4, sections 4.1.2, 4.2.2, 5.3.3 and 6.2.2; RFC 2104; RFC 5869.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.learning.fused.compiler import host_tile, machine_code
from fedhome.learning.fused.emit import I32, I64, POINTER, Emitter, Value

SECRET_BYTES = 32
_BLOCK_BYTES, _ROUNDS = 64, 64
_STATE, _BLOCK = 8, 16  # words
_INNER, _OUTER = np.uint32(0x36363636), np.uint32(0x5C5C5C5C)

_Words = NDArray[np.uint32]


class HashLanes:
    """The compiled function."""

    def __init__(self) -> None:
        tile = host_tile()
        module = ir.Module("hash_lanes")
        kinds = [POINTER, POINTER, POINTER, I64]
        _write_compress(Emitter(module, tile, "compress", kinds, exported=True))
        self._engine = machine_code(str(module))  # owns the code
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
        self._compress = signature(self._engine.get_function_address("compress"))
        self._lanes = tile.lanes

    def hkdf(self, secrets: Sequence[bytes], salt: bytes, infos: Sequence[bytes]) -> list[bytes]:
        """Return what :func:`fedhome.keys.derivation.hkdf_all` does.

        Args:
            secrets: 32 bytes each.
            salt: At most 64 bytes.
            infos: Of each secret what its key is for; all are of one length.
        """
        assert len(salt) <= _BLOCK_BYTES
        assert len(secrets) == len(infos)
        count = len(secrets)
        if not count:
            return []
        many = -(-count // self._lanes) * self._lanes
        secret_words = _across(secrets, SECRET_BYTES, many)
        after = b"\x01" + padding(_BLOCK_BYTES + len(infos[0]) + 1)
        info_words = _across([info + after for info in infos], len(infos[0] + after), many)
        salted = np.frombuffer(salt.ljust(_BLOCK_BYTES, b"\0"), ">u4").astype(np.uint32)
        key = np.repeat(salted[:, None], many, axis=1)
        secret = self._hmac(key, np.vstack([secret_words, _ending(SECRET_BYTES, many)]))
        zeros = np.zeros((_BLOCK - _STATE, many), np.uint32)
        made = self._hmac(np.vstack([secret, zeros]), info_words)
        whole = np.ascontiguousarray(made[:, :count].T).astype(">u4").tobytes()
        return [whole[at : at + SECRET_BYTES] for at in range(0, len(whole), SECRET_BYTES)]

    def _hmac(self, key: _Words, message: _Words) -> _Words:
        """Return HMAC-SHA256 by key, uint32 ``[8, many]``.

        Args:
            key: Of each one, filled up with zeros, uint32 ``[16, many]``.
            message: Of each one, as it is padded behind a block, uint32 ``[words, many]``.
        """
        inner = self._hash(np.vstack([key ^ _INNER, message]))
        ending = _ending(SECRET_BYTES, key.shape[1])
        return self._hash(np.vstack([key ^ _OUTER, inner, ending]))

    def _hash(self, message: _Words) -> _Words:
        """Return SHA-256 of padded messages, uint32 ``[8, many]``.

        Args:
            message: uint32 ``[words, many]``, of whole blocks.
        """
        many = message.shape[1]
        state = np.repeat(BEGIN[:, None], many, axis=1)
        for first in range(0, len(message), _BLOCK):
            block = message[first : first + _BLOCK].ctypes.data
            self._compress(state.ctypes.data, block, CONSTANTS.ctypes.data, many)
        return state


@cache
def hash_lanes_if_any() -> HashLanes | None:
    """Return the compiled function; None where no machine code may be made."""
    try:
        return HashLanes()
    except EngineError:
        return None


def _across(messages: Sequence[bytes], size: int, many: int) -> _Words:
    """Return messages of whole words side by side, uint32 ``[words, many]``; the rest are zeros."""
    assert {len(message) for message in messages} <= {size}
    words = np.zeros((size // 4, many), np.uint32)
    words[:, : len(messages)] = np.frombuffer(b"".join(messages), ">u4").reshape(-1, size // 4).T
    return words


def padding(size: int) -> bytes:
    """Return what is written behind a message of some bytes."""
    zeros = -(size + 9) % _BLOCK_BYTES
    return b"\x80" + bytes(zeros) + (8 * size).to_bytes(8, "big")


def _ending(size: int, many: int) -> _Words:
    """Return the padding of messages of a block and some whole words, uint32 ``[words, many]``."""
    words = np.frombuffer(padding(_BLOCK_BYTES + size), ">u4").astype(np.uint32)
    return np.repeat(words[:, None], many, axis=1)


def _fraction(number: int, power: int) -> int:
    """Return the first 32 bits of the fraction of a number's root."""
    wanted, root = number << (32 * power), 0
    for bit in reversed(range(40)):
        if (root | 1 << bit) ** power <= wanted:
            root |= 1 << bit
    return root & 0xFFFFFFFF


_PRIMES = [one for one in range(2, 312) if all(one % other for other in range(2, one))]
BEGIN = np.array([_fraction(prime, 2) for prime in _PRIMES[:_STATE]], np.uint32)
CONSTANTS = np.array([_fraction(prime, 3) for prime in _PRIMES], np.uint32)


def _write_compress(e: Emitter) -> None:
    """``compress(states, blocks, constants, many)``.

    These are uint32 ``[8, many]``, ``[16, many]`` and ``[64]``.

    Args:
        e: Where to; ``many`` is a multiple of its lanes.
    """
    b, lanes = e.builder, e.tile.lanes
    states, blocks, constants, many = e.arguments
    kind = ir.VectorType(I32, lanes)
    schedule = b.alloca(kind, _ROUNDS)

    def same(number: int) -> Value:
        return ir.Constant(kind, [number] * lanes)

    def turned(word: Value, by: int) -> Value:
        return b.or_(b.lshr(word, same(by)), b.shl(word, same(32 - by)))

    def mixed(word: Value, one: int, other: int, third: Value) -> Value:
        return b.xor(b.xor(turned(word, one), turned(word, other)), third)

    def across(base: Value, row: int, at: Value) -> Value:
        return e.at(base, e.add(e.times(many, row), at), I32)

    def word(number: Value) -> Value:
        return b.load(e.at(schedule, e.times(number, lanes), I32), typ=kind)

    def extended(number: Any, _: list[Value]) -> list[Value]:
        early, late = word(e.add(number, 1)), word(e.add(number, 14))
        least = mixed(early, 7, 18, b.lshr(early, same(3)))
        most = mixed(late, 17, 19, b.lshr(late, same(10)))
        later = b.add(b.add(word(number), least), b.add(word(e.add(number, 9)), most))
        b.store(later, e.at(schedule, e.times(e.add(number, _BLOCK), lanes), I32))
        return []

    def eight_rounds(number: Any, state: list[Value]) -> list[Value]:
        for step in range(8):
            one, two, three, four, five, six, seven, eight = state
            at = e.add(number, step)
            constant = e.load(constants, at, I32)
            spread = e.shuffle(
                b.insert_element(same(0), constant, ir.Constant(I32, 0)), same(0), [0] * lanes
            )
            chosen = b.xor(seven, b.and_(five, b.xor(six, seven)))
            first = b.add(b.add(eight, mixed(five, 6, 11, turned(five, 25))), chosen)
            first = b.add(first, b.add(word(at), spread))
            majority = b.or_(b.and_(one, two), b.and_(three, b.or_(one, two)))
            second = b.add(mixed(one, 2, 13, turned(one, 22)), majority)
            state = [b.add(first, second), one, two, three, b.add(four, first), five, six, seven]
        return state

    def some_lanes(at: Any, _: list[Value]) -> list[Value]:
        for row in range(_BLOCK):
            told = b.load(across(blocks, row, at), typ=kind, align=4)
            b.store(told, e.at(schedule, row * lanes, I32))
        e.loop(_ROUNDS - _BLOCK, extended)
        before = [b.load(across(states, row, at), typ=kind, align=4) for row in range(_STATE)]
        after = e.loop(_ROUNDS, eight_rounds, before, step=8)
        for row, (old, new) in enumerate(zip(before, after, strict=True)):
            b.store(b.add(old, new), across(states, row, at), align=4)
        return []

    e.loop(many, some_lanes, step=lanes)
    b.ret_void()
