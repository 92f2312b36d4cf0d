"""One key from another."""

from __future__ import annotations

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


@lru_cache(maxsize=4)  # homes agree on a hundred keys under one salt
def _begun(salt: bytes) -> tuple[_Hash, _Hash]:
    """Return both hashes of HMAC with a salt as its key, to be copied before they go on."""
    if len(salt) > _BLOCK_BYTES:
        salt = sha256(salt).digest()
    number = int.from_bytes(salt.ljust(_BLOCK_BYTES, b"\0"), "big")
    pads = (int.from_bytes(pad * _BLOCK_BYTES, "big") for pad in (_INNER, _OUTER))
    inner, outer = (sha256((number ^ pad).to_bytes(_BLOCK_BYTES, "big")) for pad in pads)
    return inner, outer
