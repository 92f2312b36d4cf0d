"""Shamir's secret sharing over the prime field of 2^31 - 1, many secrets at once.

A secret of 32 bytes is nine numbers of 30 bits, each shared by a polynomial of its own. Any
``threshold`` shares give the secrets back; fewer say nothing about them.

Source: Shamir, "How to share a secret", Communications of the ACM 22(11), 1979.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ParameterError

PRIME = (1 << 31) - 1
LIMBS = 9  # numbers of 30 bits a secret
SECRET_BYTES = 32
_LIMB = (1 << 30) - 1
_TOP = (1 << 16) - 1  # eight limbs are 240 bits: the last one holds 16
# A product of 31 and 16 bits, added 64 times, is at most 2^53: exact in float64, whatever the
# order of additions. So the matrix products run in BLAS.
_TERMS = 64
# Up to this many multiplications OpenBLAS computes a product in one thread. Beyond, threads wait
# for each other by spinning: on two busy cores a product took five times the processor time.
_ONE_THREAD = 1 << 18
# Where the four 64-bit words of a secret take their bits: (limb, shift), right if negative.
_WORDS = (
    ((0, 0), (1, 30), (2, 60)),
    ((2, -4), (3, 26), (4, 56)),
    ((4, -8), (5, 22), (6, 52)),
    ((6, -12), (7, 18), (8, 48)),
)


def limbs_of(secrets: Sequence[bytes]) -> NDArray[np.int64]:
    """Return secrets as numbers of 30 bits, lowest first, int64 ``[9 * secrets]``.

    Raises:
        ParameterError: A secret that has not 32 bytes.
    """
    if any(len(secret) != SECRET_BYTES for secret in secrets):
        raise ParameterError("a secret to be shared has not 32 bytes", reason="shares")
    numbers = (int.from_bytes(secret, "little") for secret in secrets)
    return np.array([n >> 30 * limb & _LIMB for n in numbers for limb in range(LIMBS)], np.int64)


def coefficients_of(
    constants: NDArray[np.int64], threshold: int, random: Callable[[int], bytes] = os.urandom
) -> NDArray[np.int64]:
    """Return random polynomials whose values at zero are some numbers.

    Args:
        constants: These, int64 ``[numbers]``, below the prime.
        threshold: How many values of a polynomial give it back: its coefficients.
        random: Source of secret random bytes; anything but ``os.urandom`` is for tests.

    Returns:
        int64 ``[threshold, numbers]``, the constants first.

    Raises:
        ParameterError: A threshold below 1.
    """
    if threshold < 1:
        raise ParameterError(f"a secret cannot be shared by {threshold}", reason="shares")
    coefficients = np.empty((threshold, constants.size), np.int64)
    coefficients[0] = constants
    coefficients[1:] = uniform((threshold - 1) * constants.size, random).reshape(-1, constants.size)
    return coefficients


def evaluate(coefficients: NDArray[np.int64], members: int) -> NDArray[np.int64]:
    """Return the values of polynomials at 1 to ``members``, int64 ``[members, numbers]``.

    Args:
        coefficients: int64 ``[threshold, numbers]``, below the prime, the constants first.
        members: At how many points; row ``i`` is for member ``i + 1``.

    Raises:
        ParameterError: Fewer members than coefficients, or more than the field has points.
    """
    threshold = len(coefficients)
    if not threshold <= members < PRIME:
        raise ParameterError(f"secrets cannot be shared {threshold} of {members}", reason="shares")
    return _product(_powers(members, threshold), coefficients)


def combine(points: NDArray[np.int64], shares: NDArray[np.uint32]) -> list[bytes | None]:
    """Return the secrets that shares belong to.

    A wrong share gives another secret, or none: whoever combines must hold a commitment to
    the secret, and compare.

    Args:
        points: Numbers of the members whose shares these are, int64 ``[r]``, from 1.
        shares: Their shares, uint32 ``[r, 9 * secrets]``, in the same order.

    Returns:
        One secret of 32 bytes each; None where the numbers are not those of a secret.

    Raises:
        ParameterError: A member twice, or shapes that do not belong together.
    """
    if shares.ndim != 2 or shares.shape[0] != len(points) or shares.shape[1] % LIMBS:  # noqa: PLR2004
        raise ParameterError(
            f"shares {list(shares.shape)} are not those of {len(points)} members", reason="shares"
        )
    at_zero = _at_zero(tuple(map(int, points)))
    # A dishonest member may send what is no number of the field: it counts as its remainder.
    limbs = _product(at_zero, reduced(shares.astype(np.int64)))[0].reshape(-1, LIMBS)
    fits = (limbs <= _LIMB).all(axis=1) & (limbs[:, -1] <= _TOP)
    parts = np.where(fits[:, None], limbs, 0).astype(np.uint64)
    words = np.zeros((len(parts), 4), "<u8")
    for number, pieces in enumerate(_WORDS):
        for limb, shift in pieces:
            part = parts[:, limb]
            words[:, number] |= (
                part << np.uint64(shift) if shift >= 0 else part >> np.uint64(-shift)
            )
    joined = words.tobytes()
    return [
        joined[SECRET_BYTES * n : SECRET_BYTES * (n + 1)] if fit else None
        for n, fit in enumerate(fits.tolist())
    ]


def uniform(count: int, random: Callable[[int], bytes] = os.urandom) -> NDArray[np.int64]:
    """Return secret numbers of the field, each as likely as any other, int64 ``[count]``."""
    drawn = _draw(count, random)
    while (outside := drawn == PRIME).any():  # 31 bits, all of them ones: drawn anew
        drawn[outside] = _draw(int(outside.sum()), random)
    return drawn


def _draw(count: int, random: Callable[[int], bytes]) -> NDArray[np.int64]:
    return np.frombuffer(random(4 * count), "<u4").astype(np.int64) & PRIME


def reduced(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers from 0 on modulo 2^31 - 1: as 2^31 counts as 1, high bits are added to low.

    Args:
        numbers: int64, below 2^63.
    """
    numbers = (numbers & PRIME) + (numbers >> 31)
    numbers = (numbers & PRIME) + (numbers >> 31)
    numbers[numbers >= PRIME] -= PRIME
    return numbers


def _product(left: NDArray[np.float64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a matrix product modulo the prime, of ``[m, k]`` and ``[k, n]``."""
    width = right.shape[1]
    halves = np.concatenate([right & 0xFFFF, right >> 16], axis=1).astype(np.float64)
    total = np.zeros((left.shape[0], width), np.int64)
    for start in range(0, left.shape[1], _TERMS):
        terms = slice(start, start + _TERMS)
        both = reduced(_in_one_thread(left[:, terms], halves[terms]).astype(np.int64))
        total = reduced(total + both[:, :width] + (both[:, width:] << 16))
    return total


def _in_one_thread(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix product, of columns so few at a time that BLAS starts no threads for them."""
    columns, count = max(1, _ONE_THREAD // max(1, left.size)), right.shape[1]
    if count <= columns:
        return left @ right
    return np.concatenate(
        [left @ right[:, at : at + columns] for at in range(0, count, columns)], axis=1
    )


@lru_cache(maxsize=16)
def _powers(members: int, threshold: int) -> NDArray[np.float64]:
    """Return the powers 0 to ``threshold - 1`` of 1 to ``members``, ``[members, threshold]``."""
    numbers = np.arange(1, members + 1, dtype=np.int64)
    powers = np.ones((members, threshold), np.int64)
    for power in range(1, threshold):
        powers[:, power] = reduced(powers[:, power - 1] * numbers)
    return powers.astype(np.float64)


@lru_cache(maxsize=64)
def _at_zero(points: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the weight of each point's share in the value at zero (Lagrange), ``[1, r]``."""
    if len(set(points)) < len(points) or not all(0 < point < PRIME for point in points):
        raise ParameterError("a member's share came twice, or of no member", reason="points")
    x = np.array(points, np.int64)
    apart = (x[None, :] - x[:, None]) % PRIME
    np.fill_diagonal(apart, 1)
    # The product of x_j / (x_j - x_i) over all j but i; x_i itself moves below the line.
    below = reduced(_products(apart) * x).tolist()
    above = int(_products(x[None, :])[0])
    weights = [above * pow(number, -1, PRIME) % PRIME for number in below]
    return np.array([weights], np.float64)


def _products(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the product of each row modulo the prime, folding rows in halves."""
    while (width := numbers.shape[1]) > 1:
        half = width // 2
        folded = reduced(numbers[:, :half] * numbers[:, half : 2 * half])
        numbers = np.concatenate([folded, numbers[:, 2 * half :]], axis=1)
    return numbers[:, 0] if numbers.shape[1] else np.ones(len(numbers), np.int64)
