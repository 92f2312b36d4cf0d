"""Keys that sign: Ed25519, for messages that anybody may check."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedhome.errors import StateError

Verify = Callable[[bytes, bytes, bytes], bool]
"""Returns whether a signature is valid: ``(public key, signature, message)``."""


def signature_holds(key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether an Ed25519 signature is valid; under a malformed key none is.

    Args:
        key: Public key, 32 bytes.
        signature: 64 bytes.
        message: What was signed.
    """
    try:
        _public(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public(key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key)


class Signer:
    """An Ed25519 private key that neither prints nor compares."""

    def __init__(self, private: bytes | None = None) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(private or os.urandom(32))
        self.public = self._private.public_key().public_bytes_raw()

    @classmethod
    def create(cls) -> Self:
        """Return a new key from the operating system's randomness."""
        return cls()

    def sign(self, message: bytes) -> bytes:
        """Return a signature, 64 bytes."""
        return self._private.sign(message)

    def to_bytes(self) -> bytes:
        """Return the private key, 32 bytes; **store it encrypted**."""
        return self._private.private_bytes_raw()

    @classmethod
    def from_bytes(cls, private: bytes) -> Self:
        """Return the key that `to_bytes` wrote.

        Raises:
            StateError: Another number of bytes.
        """
        if len(private) != 32:  # noqa: PLR2004
            raise StateError("a signing key has not 32 bytes", reason="key")
        return cls(private)


class ServerKeys(Signer):
    """The server's key: it signs manifests."""
