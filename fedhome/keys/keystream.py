"""Keystreams: bytes that follow from a key, and look like noise to whoever does not have it.

AES-256 in counter mode, from counter zero on. Many processors make the same bytes twice as fast as
a part of GCM, of which OpenSSL computes several blocks at a time: with a nonce of zeros that begins
at counter two. What GCM authenticates besides is not asked for.

Source: NIST SP 800-38A, section 6.5 (counter mode); SP 800-38D, section 7.1 (GCM's counters).
"""

from __future__ import annotations

import time
from functools import cache
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

_BLOCK = 16
_SKIPPED = 2 * _BLOCK  # of the stream, which GCM keeps for itself
_FIRST_COUNTERS = bytes(_BLOCK) + (1).to_bytes(_BLOCK, "big")
_BLOCKS = modes.ECB()  # noqa: S305 - for two blocks that are never the same
_FROM_TWO = modes.GCM(bytes(12))
_WORTH_IT = 1 << 16  # bytes of a stream, from which on two ciphers of one key pay
_TRIED, _TRIALS = 1 << 17, 3  # bytes by which both ways are compared, and how often


class Keystream(Protocol):
    """A stream that goes on from where it was."""

    def update_into(self, data: memoryview, buf: memoryview) -> int:
        """Write the next bytes, as many as there are zeros in ``data``; return how many.

        Args:
            data: Zeros.
            buf: Where they go, with room for 16 bytes more.
        """


def aes_keystream(key: bytes, offset: int, size: int) -> Keystream:
    """Return AES-256-CTR from a byte on.

    Args:
        key: 32 bytes, for one stream only.
        offset: Where it begins, a multiple of 16.
        size: How many bytes are wanted, at least; the first piece, if the stream is long, is of 64
            bytes at least.
    """
    if offset == 0 and size >= _WORTH_IT and _gcm_is_faster():
        return _FromGcm(key)
    return _ctr(key, offset)


def chacha20_keystream(key: bytes, offset: int, size: int) -> Keystream:
    """Return ChaCha20 from a byte on, a multiple of 64; arguments as of `aes_keystream`."""
    del size
    counter = (offset // 64).to_bytes(16, "little")
    return Cipher(algorithms.ChaCha20(key, counter), None).encryptor()


class _FromGcm:
    """AES-256-CTR from counter zero on, of which GCM makes all but the two first blocks."""

    def __init__(self, key: bytes) -> None:
        aes = algorithms.AES256(key)
        self._first = Cipher(aes, _BLOCKS).encryptor().update(_FIRST_COUNTERS)
        self._rest = Cipher(aes, _FROM_TWO).encryptor()

    def update_into(self, data: memoryview, buf: memoryview) -> int:
        """Write the next bytes; see `Keystream`."""
        if not self._first:
            return self._rest.update_into(data, buf)
        buf[:_SKIPPED], self._first = self._first, b""
        return _SKIPPED + self._rest.update_into(data[_SKIPPED:], buf[_SKIPPED:])


def _ctr(key: bytes, offset: int) -> CipherContext:
    counter = (offset // _BLOCK).to_bytes(_BLOCK, "big")
    return Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()


@cache
def _gcm_is_faster() -> bool:
    """Whether GCM is faster on this processor; the bytes are the same in either case."""
    zeros, room = memoryview(bytes(_TRIED)), memoryview(bytearray(_TRIED + _BLOCK))
    spent: list[float] = []
    for stream in (_ctr(bytes(32), 0), _FromGcm(bytes(32))):
        times = []
        for _ in range(_TRIALS):
            begin = time.perf_counter()
            stream.update_into(zeros, room)
            times.append(time.perf_counter() - begin)
        spent.append(min(times))
    return spent[1] < spent[0]
