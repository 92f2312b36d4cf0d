"""Masks: two homes derive one key, and add and subtract the same stream of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from numpy.typing import NDArray

from fedhome.errors import BundleError, ParameterError
from fedhome.keys.derivation import hkdf, hkdf_all
from fedhome.keys.keystream import PIECE_BYTES, ROOM_BYTES, Keystream, aes_keystream

KEY_BYTES = 32
_SEGMENT = 16 * PIECE_BYTES  # below which a thread of its own does not pay
_PAIR, _SELF = b"fedhome/pair/1", b"fedhome/self/1"


class PairSeeds(Protocol):
    """Agrees on keys with other homes."""

    def __call__(
        self,
        sk: X25519PrivateKey,
        own_pk: bytes,
        others: Sequence[bytes],
        salt: bytes,
        before: int = 0,
    ) -> list[bytes]:
        """Do what `pair_seeds` does."""


def one_time_key(key: bytes) -> tuple[X25519PrivateKey, bytes]:
    """Return a home's one-time private key from its 32 bytes, and the public key, 32 bytes."""
    private = X25519PrivateKey.from_private_bytes(key)
    return private, private.public_key().public_bytes_raw()


class Mask(Protocol):
    """Adds and subtracts keystreams."""

    def __call__(
        self,
        vector: NDArray[np.unsignedinteger[Any]],
        plus: Sequence[bytes],
        minus: Sequence[bytes],
        *,
        workers: Executor | None = None,
    ) -> None:
        """Do what `add_masks` does."""


def pair_seeds(
    sk: X25519PrivateKey, own_pk: bytes, others: Sequence[bytes], salt: bytes, before: int = 0
) -> list[bytes]:
    """Return the key that a home shares with each of some others for one manifest.

    Args:
        sk: The home's one-time private key.
        own_pk: Its public key, 32 bytes.
        others: The other homes' public keys.
        salt: SHA-256 of the manifest: homes that were sent different ones share no key.
        before: How many of them stand before the home in the roster, and come first here; it
            changes nothing.

    Returns:
        32 bytes each, the same for both homes, for one vector only.

    Raises:
        BundleError: A key is none, or one of the few with which every home shares the same secret.
    """
    del before
    secrets = [shared_secret(sk, other) for other in others]
    return hkdf_all(secrets, salt, [pair_info(own_pk, other) for other in others])


def shared_secret(sk: X25519PrivateKey, other_pk: bytes) -> bytes:
    """Return the secret that two homes' keys come to, 32 bytes.

    Args:
        sk: One home's one-time private key.
        other_pk: The other home's public key.

    Raises:
        BundleError: As of `pair_seeds`.
    """
    try:
        return sk.exchange(_public(other_pk))
    except ValueError as error:
        raise BundleError("a home's public key cannot be used", reason="public-key") from error


def pair_info(one: bytes, other: bytes) -> bytes:
    """Return what names two homes where their seed is derived, from their public keys."""
    return _PAIR + (one + other if one < other else other + one)


@lru_cache(maxsize=4096)
def _public(key: bytes) -> X25519PublicKey:
    return X25519PublicKey.from_public_bytes(key)


def self_seed(b: bytes, salt: bytes) -> bytes:
    """Return the key of a home's own mask for one manifest, 32 bytes, for one vector only."""
    return hkdf(b, salt, _SELF)


def add_masks(
    vector: NDArray[np.unsignedinteger[Any]],
    plus: Sequence[bytes],
    minus: Sequence[bytes],
    *,
    workers: Executor | None = None,
) -> None:
    """Add and subtract keystreams as wrapping little-endian integers, in place.

    The streams are those of :mod:`fedhome.keys.keystream`: AES-256.

    Args:
        vector: Unsigned ``[words]``, contiguous.
        plus: Keys of 32 bytes whose streams are added.
        minus: Keys of 32 bytes whose streams are subtracted. **Never use a key for two
            vectors**: their difference would show.
        workers: Threads that share the work on a long vector; None: this one does it all.

    Raises:
        ParameterError: Another kind of vector, or a key of another size.
    """
    check_masks(vector, (*plus, *minus))
    if workers is None or vector.nbytes <= _SEGMENT:
        _add(vector, 0, plus, minus)
        return
    size = _SEGMENT // vector.itemsize
    done = [
        workers.submit(
            _add, vector[at : at + size], at * vector.itemsize // PIECE_BYTES, plus, minus
        )
        for at in range(0, vector.size, size)
    ]
    for future in done:
        future.result()


def check_masks(vector: NDArray[Any], keys: Iterable[bytes]) -> None:
    """Refuse what no masks can be added to, or keys that are none.

    Args:
        vector: As of `add_masks`.
        keys: Of all streams.

    Raises:
        ParameterError: As of `add_masks`.
    """
    if vector.ndim != 1 or vector.dtype.kind != "u" or not vector.flags.c_contiguous:
        raise ParameterError(
            "masks are added to one contiguous row of unsigned words", reason="masks"
        )
    if not {KEY_BYTES}.issuperset(map(len, keys)):
        raise ParameterError(f"a key of a mask has not {KEY_BYTES} bytes", reason="masks")


def _add(
    vector: NDArray[np.unsignedinteger[Any]],
    first: int,
    plus: Sequence[bytes],
    minus: Sequence[bytes],
) -> None:
    """Add the streams from their piece ``first`` on."""
    size = min(PIECE_BYTES, vector.nbytes)
    signed: tuple[tuple[np.ufunc, list[Keystream]], ...] = (
        (np.add, [aes_keystream(key, size) for key in plus]),
        (np.subtract, [aes_keystream(key, size) for key in minus]),
    )
    # A piece, the zeros and the part of the vector stay in the second-level cache.
    step = size // vector.itemsize
    zeros = memoryview(bytes(step * vector.itemsize))
    drawn = np.empty(step * vector.itemsize + ROOM_BYTES, np.uint8)
    numbers = drawn[: step * vector.itemsize].view(vector.dtype.newbyteorder("<"))
    for number, start in enumerate(range(0, vector.size, max(step, 1)), first):
        part = vector[start : start + step]
        blank, mask = zeros[: part.nbytes], numbers[: part.size]
        room = drawn.data[: part.nbytes + ROOM_BYTES]
        for add, streams in signed:
            for one in streams:
                one.write(number, blank, room)
                add(part, mask, out=part)
