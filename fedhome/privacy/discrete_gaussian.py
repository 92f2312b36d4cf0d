"""Whole numbers with a discrete Gaussian law, drawn from a key: the same key, the same numbers.

The law: ``P(x)`` is proportional to ``exp(-x^2 / (2 sigma^2))`` over all whole numbers; Canonne,
Kamath, Steinke, "The discrete Gaussian for differential privacy", NeurIPS 2020.

A small sigma is drawn from one table (Walker's alias method, with 128 bits of a probability). A
large one is a sum ``x + k y`` of smaller ones with ``sigma^2 = sigma_x^2 + k^2 sigma_y^2``.
Completing the square shows how exact that is: the chance of each sum is its chance under the law
itself, times a sum over the integers of a Gaussian of deviation ``s = sigma_x sigma_y / sigma``,
which by Poisson's summation is constant up to ``2 exp(-2 pi^2 s^2)`` in proportion. Here ``s`` is
above 2.5. All is integer arithmetic, so every machine draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedhome.errors import ParameterError

DISTANCE = 2.0**-108
"""Greatest total variation distance of one drawn number from the law, given random keys.

A table rounds each of at most 4096 probabilities to 2^-128 and cuts tails of less than 2^-131; at
most eight tables are added, each joint with a proportional error below 2^-180.
"""

LEAST_SIGMA, MOST_SIGMA = 0.5, float(1 << 40)
_MASS_BITS = 128
_MOST_COLUMN_BITS = 12
_TAIL = 13.6  # deviations: 2 exp(-13.6^2 / 2) is below 2^-131
_ONE_TABLE = 150.0  # 13.6 of them fit 4096 columns
_FINE = 3  # deviation of the finer number, in units of k: s = 3 sqrt(1 - (3 k / sigma)^2) > 2.5
_MOST_FACTOR = 48
_BLOCK = 1 << 14  # numbers at a time: temporaries that stay in the cache
_DIGITS = Context(prec=60)


class _Table(NamedTuple):
    """An alias table: column ``j`` stands for itself below its threshold, else for its alias."""

    column_bits: int
    high: NDArray[np.uint64]  # the threshold's upper 64 - column_bits bits
    low: NDArray[np.uint64]  # and its lower 64
    own: NDArray[np.int64]
    alias: NDArray[np.int64]


class DiscreteGaussian:
    """Draws of one law; `of` keeps the tables of recent ones.

    Args:
        sigma: Its parameter: from 2 on, the standard deviation but for a share of 2^-100.

    Raises:
        ParameterError: A sigma outside `LEAST_SIGMA` to `MOST_SIGMA`.
    """

    def __init__(self, sigma: float) -> None:
        if not LEAST_SIGMA <= sigma <= MOST_SIGMA:
            raise ParameterError(
                f"noise of {sigma!r} steps is outside {LEAST_SIGMA} to {MOST_SIGMA:.0f}",
                reason="noise",
                hint="choose other bits: a step is the clip divided by 2^(bits - 1) - 1",
            )
        self.sigma = sigma
        self._tables: list[tuple[int, _Table]] = []
        factor, variance = 1, Fraction(sigma) ** 2
        while variance > _ONE_TABLE**2:
            k = min(_MOST_FACTOR, math.isqrt(int(variance)) // (2 * _FINE))
            fine = Fraction((_FINE * k) ** 2)
            self._tables.append((factor, _table(fine)))
            factor, variance = factor * k, (variance - fine) / k**2
        self._tables.append((factor, _table(variance)))

    @classmethod
    def of(cls, sigma: float) -> DiscreteGaussian:
        """Return the draws of a law; arguments and errors as of the class."""
        return _law(sigma)

    def draw(self, key: bytes, count: int) -> NDArray[np.int64]:
        """Return the numbers that a key stands for in a vector of this length, int64 ``[count]``.

        Args:
            key: 32 bytes. **Whoever knows it can take the noise off**; used for one vector alone.
            count: How many.
        """
        drawn = np.zeros(count, np.int64)
        self.add(drawn, key)
        return drawn

    def sum(self, keys: Sequence[bytes], count: int) -> NDArray[np.int64]:
        """Return the sum over keys of what `draw` gives, int64 ``[count]``."""
        drawn = np.zeros(count, np.int64)
        for key in keys:
            self.add(drawn, key)
        return drawn

    def add(self, numbers: NDArray[np.int64], key: bytes) -> None:
        """Add what `draw` gives for a key, in place.

        Args:
            numbers: int64 ``[count]``.
            key: As for `draw`.
        """
        stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        for start in range(0, len(numbers), _BLOCK):
            part = numbers[start : start + _BLOCK]
            for level, (factor, table) in enumerate(self._tables):
                words = np.frombuffer(stream.update(bytes(8 * len(part))), "<u8")
                drawn = _looked_up(table, words, key, start * len(self._tables) + level)
                if factor != 1:
                    drawn *= factor
                part += drawn


@lru_cache(maxsize=32)
def _law(sigma: float) -> DiscreteGaussian:
    return DiscreteGaussian(sigma)


def _looked_up(
    table: _Table, words: NDArray[np.uint64], key: bytes, first: int
) -> NDArray[np.int64]:
    """Return one number for each random word.

    Args:
        table: The table.
        words: Random, uint64 ``[count]``.
        key: For more random bits, where a word's are not enough to decide.
        first: With the place in ``words``, tells apart where these more bits are taken from.
    """
    shift = np.uint64(64 - table.column_bits)
    columns = (words >> shift).astype(np.intp)
    fraction = words & ((np.uint64(1) << shift) - np.uint64(1))
    limits = table.high[columns]
    below = fraction < limits
    for place in np.flatnonzero(fraction == limits).tolist():  # once in 2^52 draws
        below[place] = _more_bits(key, (first << 40) + place) < int(table.low[columns[place]])
    return np.where(below, table.own[columns], table.alias[columns])


def _more_bits(key: bytes, place: int) -> int:
    """Return 64 random bits from the far half of a key's stream."""
    counter = ((1 << 127) + place).to_bytes(16, "big")
    stream = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
    return int.from_bytes(stream.update(bytes(8)), "little")


@lru_cache(maxsize=64)
def _table(variance: Fraction) -> _Table:
    """Return the alias table of a law, exact to 2^-128 in each probability."""
    reach = math.ceil(_TAIL * math.sqrt(variance))
    column_bits = (2 * reach).bit_length()
    assert column_bits <= _MOST_COLUMN_BITS, "a law for one table is narrow"
    columns = 1 << column_bits
    masses = _masses(variance, reach)
    masses += [0] * (columns - len(masses))
    capacity = 1 << (_MASS_BITS - column_bits)
    limits, aliases = [0] * columns, list(range(columns))
    small = [column for column, mass in enumerate(masses) if mass < capacity]
    large = [column for column, mass in enumerate(masses) if mass >= capacity]
    while small and large:
        column, donor = small.pop(), large[-1]
        limits[column], aliases[column] = masses[column], donor
        masses[donor] -= capacity - masses[column]
        if masses[donor] < capacity:
            small.append(large.pop())
    # What is left is full to the last unit, as the masses add up exactly: its own alias.
    values = np.arange(columns, dtype=np.int64) - reach
    low = (1 << 64) - 1
    return _Table(
        column_bits=column_bits,
        high=np.array([limit >> 64 for limit in limits], np.uint64),
        low=np.array([limit & low for limit in limits], np.uint64),
        own=values,
        alias=values[np.array(aliases)],
    )


def _masses(variance: Fraction, reach: int) -> list[int]:
    """Return the probabilities of ``-reach .. reach`` in units of 2^-128, which add up to 1."""
    digits = _DIGITS
    scale = digits.divide(Decimal(variance.denominator), Decimal(2 * variance.numerator))
    unit = Decimal(1 << 180)
    half = [
        int(digits.multiply(digits.exp(digits.multiply(Decimal(-x * x), scale)), unit))
        for x in range(reach + 1)
    ]
    weights = half[:0:-1] + half
    total = sum(weights)
    masses = [(weight << _MASS_BITS) // total for weight in weights]
    masses[reach] += (1 << _MASS_BITS) - sum(masses)
    return masses
