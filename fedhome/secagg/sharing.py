"""Shares of a bundle's two secrets that can be checked: by members ahead of a sum, and in it.

Beside the polynomials that share a secret the home draws `CHECKS` random ones, of which each
member gets a value too. What the shares are sealed in fixes all values; from its hash follow
random factors, and the home tells the polynomials that are the random ones plus the secret's nine,
each times its factor. They say nothing of the secret. A member's values fit them if they are on
polynomials of the threshold's degree; otherwise they do by chance, 1 in 2^(31 `CHECKS`).

This binds the home. A member, who knows its own random values, could make another share that
fits; so the home also tells a hash of each share, which the member compares as it checks, and the
server as it opens.

Source: Atapoor, Baghery, Cozzo, Pedersen, "VSS from distributed ZK proofs and applications",
ASIACRYPT 2023, with hashes as commitments; here the sealed shares themselves are hashed, as the
key of each is fixed by two public keys.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import cycle
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.secagg.shamir import (
    LIMBS,
    PRIME,
    coefficients_of,
    evaluate,
    limbs_of,
    reduced,
    uniform,
)

CHECKS = 4
SHARE_NUMBERS = LIMBS + CHECKS  # of one secret: a share of it, and what its check takes
SHARE_BYTES = 4 * SHARE_NUMBERS
SECRETS = 2  # the one-time key, and the secret of the home's own mask
_VALUES = SECRETS * CHECKS
VALUE_BYTES = 4 * _VALUES
HASH_BYTES = 16  # of a member's share of one secret
HASHES_BYTES = SECRETS * HASH_BYTES
_FACTORS, _HASH = b"fedhome/factors/1\0", b"fedhome/share-hash/1\0"
Combine = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""Multiplies numbers of shares by the factors of their proof: as `combined`."""
_HASH_OF = tuple(_HASH + bytes([secret]) for secret in range(SECRETS))


def proof_bytes(threshold: int) -> int:
    """Return the size of a proof."""
    return VALUE_BYTES * threshold


class Dealing(NamedTuple):
    """Polynomials that share two secrets; they print as what they are: keep them in memory.

    Args:
        coefficients: int64 ``[threshold, secrets, 13]``: nine of the secret, four of the check.
    """

    coefficients: NDArray[np.int64]

    @classmethod
    def of(
        cls, key: bytes, blind: bytes, threshold: int, random: Callable[[int], bytes] = os.urandom
    ) -> Dealing:
        """Draw polynomials.

        Args:
            key: One secret, 32 bytes.
            blind: The other one.
            threshold: How many shares give them back.
            random: Source of secret random bytes; anything but ``os.urandom`` is for tests.

        Raises:
            ParameterError: A secret of another size.
        """
        limbs = limbs_of([key, blind]).reshape(SECRETS, LIMBS)
        drawn = uniform(SECRETS * CHECKS, random).reshape(SECRETS, CHECKS)
        constants = np.concatenate([limbs, drawn], axis=1).reshape(-1)
        coefficients = coefficients_of(constants, threshold, random)
        return cls(coefficients.reshape(threshold, SECRETS, SHARE_NUMBERS))

    def shares(self, members: int) -> NDArray[np.uint32]:
        """Return each member's shares, uint32 ``[members, secrets, 13]``."""
        flat = self.coefficients.reshape(len(self.coefficients), -1)
        shares = evaluate(flat, members).astype(np.uint32)
        return shares.reshape(members, SECRETS, SHARE_NUMBERS)

    def proof(self, factors: NDArray[np.int64], combine: Combine | None = None) -> bytes:
        """Return what members' shares are checked against, 32 bytes a coefficient.

        Args:
            factors: From :func:`factors_of`.
            combine: As of :func:`values_of`.
        """
        return (combine or combined)(self.coefficients, factors[None]).astype("<u4").tobytes()


def share_hashes(secrets: Iterable[int], shares: bytes) -> bytes:
    """Return the hashes by which homes fix members' shares of one secret each, 16 bytes each.

    The proof binds the home: its own check numbers let a member make another share that fits it.
    The hash binds the member. It hides the share, which is 279 random bits.

    Args:
        secrets: Of each share 0 for the one-time key, 1 for the secret of the home's own mask.
        shares: One after the other, 52 bytes each.
    """
    starts = range(0, len(shares), SHARE_BYTES)
    return b"".join(
        [
            hashlib.sha256(_HASH_OF[secret] + shares[at : at + SHARE_BYTES]).digest()[:HASH_BYTES]
            for secret, at in zip(secrets, starts, strict=False)
        ]
    )


def same_rows(told: bytes, expected: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which rows are as they should be, bool ``[rows]``.

    Args:
        told: The rows, one after the other.
        expected: What they should be, uint8 ``[rows, bytes]``.
    """
    if told == expected.tobytes():  # most often; row by row takes several times as long
        return np.ones(len(expected), np.bool_)
    rows = np.frombuffer(told, np.uint8).reshape(expected.shape)
    return np.asarray((rows == expected).all(axis=1))


def hashes_of(shares: NDArray[np.uint32]) -> bytes:
    """Return the hashes of shares of both secrets, 32 bytes a member.

    Args:
        shares: Of one member or of several, uint32 ``[..., secrets, 13]``.
    """
    return share_hashes(cycle(range(SECRETS)), shares.astype("<u4").tobytes())


@lru_cache(maxsize=1024)  # who checks shares needs those of a bundle more than once
def factors_of(statement: bytes) -> NDArray[np.int64]:
    """Return the random factors that follow from what a home has fixed.

    Args:
        statement: All that says whose shares these are, and a hash of how they are sealed.

    Returns:
        int64 ``[secrets, CHECKS, 9]``, below the prime; read-only.
    """
    count = SECRETS * CHECKS * LIMBS
    drawn = hashlib.shake_256(_FACTORS + statement).digest(8 * count)
    numbers = (np.frombuffer(drawn, "<u8") % PRIME).astype(np.int64)
    numbers.flags.writeable = False
    return numbers.reshape(SECRETS, CHECKS, LIMBS)


def combined(numbers: NDArray[np.int64], factors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the check's number plus the nine others times their factors, modulo the prime.

    Args:
        numbers: int64 ``[..., 13]``, below the prime: nine of a secret, four of its check.
        factors: int64 ``[..., CHECKS, 9]``, likewise.

    Returns:
        int64 ``[..., CHECKS]``, below the prime.
    """
    limbs, checks = numbers[..., :LIMBS], numbers[..., LIMBS:]
    products = limbs[..., None, :] * factors  # below 2^62
    halved = (products & PRIME) + (products >> 31)  # the same modulo the prime, below 2^32
    # A row of nine is short: numpy's sum takes three times as long over it.
    return reduced(checks + np.einsum("...l->...", halved))


def values_of(
    shares: NDArray[np.uint32], factors: NDArray[np.int64], combine: Combine = combined
) -> NDArray[np.int64]:
    """Return what a member's shares come to in the check, int64 ``[homes, secrets, CHECKS]``.

    Args:
        shares: Of some homes, uint32 ``[homes, secrets, 13]``; of one secret alone, if the factors
            are too.
        factors: Of the same homes, int64 ``[homes, secrets, CHECKS, 9]``.
        combine: How both are multiplied; another function is for simulations only.
    """
    return combine(shares.astype(np.int64), factors)


def expected_of(proofs: Sequence[bytes], members: int) -> NDArray[np.int64]:
    """Return what each member's values must be, int64 ``[members, homes, secrets, CHECKS]``.

    Args:
        proofs: Of each home one, of :func:`proof_bytes`.
        members: How many members there are.
    """
    homes = len(proofs)
    told = np.frombuffer(b"".join(proofs), "<u4").reshape(homes, -1, SECRETS, CHECKS)
    coefficients = np.moveaxis(told.astype(np.int64), 1, 0)
    values = evaluate(coefficients.reshape(len(coefficients), -1) % PRIME, members)
    return values.reshape(members, *coefficients.shape[1:])
