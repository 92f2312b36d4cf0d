"""A few numbers of each home (its weight, losses, counts), summed exactly beside the update.

Each is a whole number, sent as digits that fit an element: sums of digits are sums of numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ParameterError
from fedhome.secagg.bounds import check_numbers

_MOST_BITS = 32


@dataclass(frozen=True)
class Scalar:
    """One number that every home sends.

    Args:
        name: Its name in what is decoded.
        low: Least value; below it counts as this.
        high: Greatest value; above it counts as this, and so does a value that is no number
            (a loss that exploded is the worst there is).
        weighted: Decoded as the mean over homes by weight; otherwise as the sum over homes.
        bits: Bits of its grid, 1 to 32: between low and high lie ``2^bits - 1`` steps. A flag
            needs one.

    Raises:
        ParameterError: The range is empty or not finite, or the name is, or the grid.
    """

    name: str
    low: float
    high: float
    weighted: bool
    bits: int = _MOST_BITS

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= _MOST_BITS:
            raise ParameterError(
                f"scalar {self.name!r} has a grid of {self.bits} bits", reason="encoding"
            )
        if not (self.name and math.isfinite(self.high - self.low) and self.low < self.high):
            raise ParameterError(
                f"scalar {self.name!r} from {self.low} to {self.high} has no name or no range",
                reason="encoding",
            )

    @property
    def steps(self) -> int:
        """Steps of the grid between low and high."""
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class Scalars:
    """The numbers that homes send, and how they lie in elements: first the weight, always.

    Args:
        scalars: The numbers after the weight.
        bits: Bits of an element with its sign: a digit has one less.
        weight_cap: Greatest weight of a home.

    Raises:
        ParameterError: Two numbers of one name.
    """

    scalars: tuple[Scalar, ...]
    bits: int
    weight_cap: int

    def __post_init__(self) -> None:
        if len({scalar.name for scalar in self.scalars}) < len(self.scalars):
            raise ParameterError("two scalars have the same name", reason="encoding")

    @cached_property
    def digits(self) -> tuple[int, ...]:
        """How many digits the weight and each number take."""
        most = (
            self.weight_cap,
            *(s.steps * (self.weight_cap if s.weighted else 1) for s in self.scalars),
        )
        return tuple(-(-number.bit_length() // (self.bits - 1)) for number in most)

    @cached_property
    def _columns(self) -> tuple[NDArray[np.float64], ...]:
        rows = [(s.low, s.high, s.steps, s.weighted) for s in self.scalars]
        return tuple(np.array(rows, dtype=np.float64).T)

    @property
    def elements(self) -> int:
        """How many elements they take in all."""
        return sum(self.digits)

    def encode(self, values: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return each home's numbers as digits, lowest first.

        Args:
            values: float64 ``[homes, scalars]``.
            weights: int64 ``[homes]``, from 0 to ``weight_cap``.

        Returns:
            int32 ``[homes, elements]``, within ``0 .. 2^(bits-1) - 1``.

        Raises:
            ParameterError: Shapes that do not belong together, or a weight out of range.
        """
        if values.shape != (len(weights), len(self.scalars)):
            raise ParameterError(
                f"values {list(values.shape)} are not {len(self.scalars)} for {len(weights)} homes",
                reason="shapes",
            )
        if len(weights) and not 0 <= weights.min() <= weights.max() <= self.weight_cap:
            raise ParameterError("a weight is outside 0 .. weight_cap", reason="weight")
        whole = np.empty((len(weights), 1 + len(self.scalars)), np.int64)
        whole[:, 0] = weights
        if self.scalars:
            low, high, steps, weighted = self._columns
            clipped = np.clip(np.where(np.isnan(values), high, values), low, high)
            whole[:, 1:] = np.rint((clipped - low) / (high - low) * steps)
            # weight_cap is below 2^31: the product stays below 2^63.
            whole[:, 1:] *= np.where(weighted > 0, weights[:, None], 1)
        size = self.bits - 1
        shifts = np.concatenate([np.arange(count) * size for count in self.digits])
        spread = np.repeat(whole, self.digits, axis=1)
        digits: NDArray[np.int64] = (spread >> shifts) & ((1 << size) - 1)
        return digits.astype(np.int32)

    def decode(
        self, sums: NDArray[np.int64], homes: int, *, slack: float = 0.0
    ) -> tuple[int, dict[str, float]]:
        """Return the sum of weights, and each number's weighted mean or sum by name.

        Args:
            sums: Sums of digits over homes, int64 ``[elements]``.
            homes: How many homes were summed.
            slack: How far noise may take a number beyond what homes have; a weight has none.

        Returns:
            The weight; the numbers, correctly rounded from the exact sums. A weighted mean
            over no weight is not a number.

        Raises:
            ParameterError: Another number of digits.
            SumError: ``beyond``: homes within their ranges cannot have added this up.
        """
        if sums.shape != (self.elements,):
            raise ParameterError(
                f"{list(sums.shape)} digits came for {self.elements}", reason="shapes"
            )
        starts = np.cumsum((0, *self.digits))[:-1].tolist()
        weight, *totals = (
            sum(digit << (self.bits - 1) * position for position, digit in enumerate(part))
            for part in (
                sums[start : start + count].tolist()
                for start, count in zip(starts, self.digits, strict=True)
            )
        )
        bounds = [("weight", weight, homes * self.weight_cap, 0.0)]
        bounds += [
            (scalar.name, total, scalar.steps * (weight if scalar.weighted else homes), slack)
            for scalar, total in zip(self.scalars, totals, strict=True)
        ]
        check_numbers(bounds, homes=homes)
        values: dict[str, float] = {}
        for scalar, total in zip(self.scalars, totals, strict=True):
            low, high = Fraction(scalar.low), Fraction(scalar.high)
            above = Fraction(total, scalar.steps) * (high - low)
            if not scalar.weighted:
                values[scalar.name] = float(homes * low + above)
            else:
                values[scalar.name] = float(low + above / weight) if weight else math.nan
        return weight, values
