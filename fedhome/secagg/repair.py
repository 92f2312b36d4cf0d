"""Finding the secret among shares of which some are wrong, and naming those.

Source: Welch and Berlekamp, US patent 4 633 470 (1986); Gemmell and Sudan, "Highly resilient
correctors for polynomials", Information Processing Letters 43(4), 1992: of ``n`` values of a
polynomial with ``r`` coefficients, ``(n - r) / 2`` may be wrong. A commitment to the secret
then finds it among more wrong shares, where they are few enough to be searched.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from fedhome.secagg.shamir import LIMBS, PRIME, combine

_MOST_TRIES = 2000


@dataclass(frozen=True)
class RepairedSecret:
    """A secret, and the shares that do not belong to it.

    Args:
        secret: The secret.
        wrong: Rows of shares that are not on the polynomial on which it was found.
        certain: Whether these rows are the wrong ones, if no more are. Where more shares are
            wrong than half of the spare ones, liars may agree on errors that cancel and make
            the shares of honest members look wrong; the secret is right all the same.
    """

    secret: bytes = field(repr=False)
    wrong: tuple[int, ...]
    certain: bool


def repair(
    points: NDArray[np.int64],
    shares: NDArray[np.uint32],
    threshold: int,
    accept: Callable[[bytes], bool],
) -> RepairedSecret | None:
    """Return the secret that ``accept`` recognises, or None if it is not found.

    Args:
        points: Numbers of the members, int64 ``[members]``.
        shares: Their shares of one secret, below the prime, uint32 ``[members, 9]``.
        threshold: How many shares make the secret.
        accept: Whether a secret is the one that was committed to.
    """
    for rows in _candidates(points, shares, threshold):
        chosen = rows[:threshold]
        secret = combine(points[chosen], shares[chosen])[0]
        if secret is not None and accept(secret):
            wrong = _wrong_rows(points, shares, chosen)
            # Two polynomials that agree at zero, too, share fewer than threshold - 1 points.
            certain = 2 * len(wrong) <= len(points) - threshold + 1
            return RepairedSecret(secret, wrong, certain)
    return None


def _candidates(
    points: NDArray[np.int64], shares: NDArray[np.uint32], threshold: int
) -> Iterator[list[int]]:
    """Yield sets of rows that may all be right, the likeliest first."""
    count = len(points)
    if count < threshold:
        return
    yield from _decode(points, shares, threshold)
    left_out = (
        rows for size in range(count - threshold + 1) for rows in combinations(range(count), size)
    )
    for rows in islice(left_out, _MOST_TRIES):
        yield [row for row in range(count) if row not in rows]


def _decode(
    points: NDArray[np.int64], shares: NDArray[np.uint32], threshold: int
) -> Iterator[list[int]]:
    """Yield the rows that a decoder finds right, if at most half of the spare ones are wrong.

    A polynomial ``E`` of degree ``errors`` is zero at every wrong share; ``Q = E * P`` has no
    more unknowns than there are shares, so both are solved for.
    """
    errors = (len(points) - threshold) // 2
    if errors == 0:
        return
    # A member may spoil any of the nine numbers: a random sum of them is spoilt with them.
    mix = [secrets.randbelow(PRIME) for _ in range(LIMBS)]
    values = np.zeros(len(points), np.int64)
    for limb, factor in enumerate(mix):
        values = (values + shares[:, limb].astype(np.int64) * factor) % PRIME
    powers = np.ones((len(points), threshold + errors), np.int64)
    for power in range(1, threshold + errors):
        powers[:, power] = powers[:, power - 1] * points % PRIME
    # Q(x) - y * (E(x) - x^errors) = y * x^errors, with E's leading coefficient one.
    system = np.concatenate(
        [powers, -powers[:, :errors] * values[:, None] % PRIME], axis=1, dtype=np.int64
    )
    solution = _solve(system, values * powers[:, errors] % PRIME)
    if solution is None:
        return
    located = powers[:, errors].copy()
    for power in range(errors):
        located = (located + powers[:, power] * solution[threshold + errors + power]) % PRIME
    yield [int(row) for row in np.flatnonzero(located)]


def _solve(matrix: NDArray[np.int64], right: NDArray[np.int64]) -> list[int] | None:
    """Return a solution of a linear system modulo the prime, or None if there is none."""
    system = np.concatenate([matrix, right[:, None]], axis=1) % PRIME
    rows, columns = matrix.shape
    pivots: list[int] = []
    for column in range(columns):
        top = len(pivots)
        candidates = np.flatnonzero(system[top:, column])
        if top == rows or not len(candidates):
            continue
        pivot = top + int(candidates[0])
        system[[top, pivot]] = system[[pivot, top]]
        system[top] = system[top] * pow(int(system[top, column]), -1, PRIME) % PRIME
        factors = system[:, column].copy()
        factors[top] = 0
        system = (system - factors[:, None] * system[top] % PRIME) % PRIME
        pivots.append(column)
    if system[len(pivots) :, -1].any():
        return None
    solution = [0] * columns
    for row, column in enumerate(pivots):
        solution[column] = int(system[row, -1])
    return solution


def _wrong_rows(
    points: NDArray[np.int64], shares: NDArray[np.uint32], chosen: list[int]
) -> tuple[int, ...]:
    """Return the rows that do not lie on the polynomials through the chosen ones."""
    xs = points[chosen].tolist()
    wrong = []
    for row in set(range(len(points))) - set(chosen):
        x0 = int(points[row])
        value = np.zeros(LIMBS, np.int64)
        for x, share in zip(xs, shares[chosen].astype(np.int64), strict=True):
            above = below = 1
            for other in xs:
                if other != x:
                    above = above * (x0 - other) % PRIME
                    below = below * (x - other) % PRIME
            value = (value + share * (above * pow(below, -1, PRIME) % PRIME)) % PRIME
        if not np.array_equal(value, shares[row]):
            wrong.append(row)
    return tuple(sorted(wrong))
