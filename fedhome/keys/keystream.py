"""Keystreams: bytes that follow from a key, and look like noise to whoever does not have it.

A stream is made in pieces of 128 KiB, so that any piece can be had without those before it. Piece
``n`` is what AES-256-GCM makes of as many zeros under the nonce ``n``, without the tag: AES-256 in
counter mode from the block on that holds ``n`` in its first twelve bytes and two in its last four.
Either way gives the same bytes. Many processors are faster by GCM, of which OpenSSL computes
several blocks at a time, and a key is set up in a fifth of the time. On others the counter mode is
faster once a stream is long: which one is taken goes by how much of a piece is wanted.

Source: NIST SP 800-38D, section 7.1 (GCM's counters); SP 800-38A, section 6.5 (counter mode).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIECE_BYTES = 1 << 17
ROOM_BYTES = 16
"""How much longer than a piece the place must be that it is written to."""
_NONCE_BYTES = 12
_FROM_TWO = (2).to_bytes(4, "big")
_TRIALS = 3
_LEAST_TRIED = 1 << 8  # bytes: below, the key's set-up is nearly all


class Keystream(Protocol):
    """The stream of one key; **use a key for one vector only**."""

    def write(self, number: int, zeros: memoryview, room: memoryview) -> None:
        """Write the beginning of a piece.

        Args:
            number: Which piece, from 0 on.
            zeros: As many as bytes are wanted, at most `PIECE_BYTES`.
            room: Where they go, `ROOM_BYTES` longer than ``zeros``; what follows them there is
                not of the stream.
        """


def aes_keystream(key: bytes, size: int = PIECE_BYTES) -> Keystream:
    """Return the stream of a key, by AES-256.

    Args:
        key: 32 bytes.
        size: How many bytes of a piece are wanted, about: it changes none of them.
    """
    return _fastest_for(size)(key)


def write_first(keys: Sequence[bytes], zeros: memoryview, rooms: Sequence[memoryview]) -> None:
    """Write what `Keystream.write` does of the first piece of several streams.

    Args:
        keys: One for each stream, 32 bytes.
        zeros: As of `Keystream.write`.
        rooms: Where they go, at least one for each, `ROOM_BYTES` longer than ``zeros``.
    """
    _fastest_for(len(zeros)).write_first(keys, zeros, rooms)


class _ByGcm:
    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def write(self, number: int, zeros: memoryview, room: memoryview) -> None:
        self._cipher.encrypt_into(number.to_bytes(_NONCE_BYTES, "big"), zeros, None, room)

    @staticmethod
    def write_first(keys: Sequence[bytes], zeros: memoryview, rooms: Sequence[memoryview]) -> None:
        nonce = bytes(_NONCE_BYTES)
        for key, room in zip(keys, rooms, strict=False):
            AESGCM(key).encrypt_into(nonce, zeros, None, room)


class _ByCounter:
    def __init__(self, key: bytes) -> None:
        self._key = algorithms.AES256(key)

    def write(self, number: int, zeros: memoryview, room: memoryview) -> None:
        counter = modes.CTR(number.to_bytes(_NONCE_BYTES, "big") + _FROM_TWO)
        Cipher(self._key, counter).encryptor().update_into(zeros, room)

    @staticmethod
    def write_first(keys: Sequence[bytes], zeros: memoryview, rooms: Sequence[memoryview]) -> None:
        for key, room in zip(keys, rooms, strict=False):
            _ByCounter(key).write(0, zeros, room)


def _fastest_for(size: int) -> type[_ByGcm | _ByCounter]:
    """Return what is the faster way to some bytes of a piece, the key's set-up included."""
    return _fastest(1 << (min(max(size, _LEAST_TRIED), PIECE_BYTES) - 1).bit_length())


@cache
def _fastest(size: int) -> type[_ByGcm | _ByCounter]:
    """Return the way that is the faster one on this processor; the bytes are the same."""
    zeros, room = memoryview(bytes(size)), memoryview(bytearray(size + ROOM_BYTES))
    ways: tuple[type[_ByGcm | _ByCounter], ...] = (_ByGcm, _ByCounter)
    spent: list[float] = []
    for way in ways:
        times = []
        for _ in range(_TRIALS):
            begin = time.perf_counter()
            way(bytes(32)).write(0, zeros, room)
            times.append(time.perf_counter() - begin)
        spent.append(min(times))
    return ways[spent.index(min(spent))]
