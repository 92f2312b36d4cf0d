"""One key from another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK_BYTES, _DIGEST_BYTES = 64, 32
_REST = _BLOCK_BYTES - _DIGEST_BYTES
_INNER, _OUTER = b"\x36", b"\x5c"
_INNER_REST, _OUTER_REST = _INNER * _REST, _OUTER * _REST
_INNER_NUMBER, _OUTER_NUMBER = (
    int.from_bytes(pad * _DIGEST_BYTES, "big") for pad in (_INNER, _OUTER)
)


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes of HKDF-SHA256 (RFC 5869): one block, so two calls of HMAC.

    HMAC is made of SHA-256 by its definition (RFC 2104). OpenSSL's, called from Python, takes 1.4
    times as long: it looks SHA-256 up each time. A key is combined with the pads as a number, and
    no table is read at places that follow from it.

    Args:
        secret: What is known to few.
        salt: **No secret**: the last ones are remembered.
        info: What the key is for.
    """
    salted_inner, salted_outer = _begun(salt)
    inner, outer = salted_inner.copy(), salted_outer.copy()
    inner.update(secret)
    outer.update(inner.digest())
    key = int.from_bytes(outer.digest(), "big")
    block = (key ^ _INNER_NUMBER).to_bytes(_DIGEST_BYTES, "big") + _INNER_REST
    within = sha256(block + info + b"\x01").digest()
    block = (key ^ _OUTER_NUMBER).to_bytes(_DIGEST_BYTES, "big") + _OUTER_REST
    return sha256(block + within).digest()


def hkdf_all(secrets: Sequence[bytes], salt: bytes, infos: Sequence[bytes]) -> list[bytes]:
    """Return what `hkdf` does of several secrets under one salt, all keys combined at once.

    Args:
        secrets: As of `hkdf`.
        salt: As of `hkdf`.
        infos: Of each secret what its key is for.
    """
    salted_inner, salted_outer = _begun(salt)
    begin_inner, begin_outer = salted_inner.copy, salted_outer.copy
    keys = []
    for secret in secrets:
        inner, outer = begin_inner(), begin_outer()
        inner.update(secret)
        outer.update(inner.digest())
        keys.append(outer.digest())
    size = _DIGEST_BYTES * len(keys)
    number = int.from_bytes(b"".join(keys), "big")
    within = (number ^ int.from_bytes(_INNER * size, "big")).to_bytes(size, "big")
    around = (number ^ int.from_bytes(_OUTER * size, "big")).to_bytes(size, "big")
    hashes = [
        sha256(within[at : at + _DIGEST_BYTES] + _INNER_REST + info + b"\x01").digest()
        for at, info in zip(range(0, size, _DIGEST_BYTES), infos, strict=True)
    ]
    return [
        sha256(around[at : at + _DIGEST_BYTES] + _OUTER_REST + one).digest()
        for at, one in zip(range(0, size, _DIGEST_BYTES), hashes, strict=True)
    ]


@lru_cache(maxsize=4)  # homes agree on a hundred keys under one salt
def _begun(salt: bytes) -> tuple[_Hash, _Hash]:
    """Return both hashes of HMAC with a salt as its key, to be copied before they go on."""
    if len(salt) > _BLOCK_BYTES:
        salt = sha256(salt).digest()
    number = int.from_bytes(salt.ljust(_BLOCK_BYTES, b"\0"), "big")
    pads = (int.from_bytes(pad * _BLOCK_BYTES, "big") for pad in (_INNER, _OUTER))
    inner, outer = (sha256((number ^ pad).to_bytes(_BLOCK_BYTES, "big")) for pad in pads)
    return inner, outer
