"""The noise that each home adds to what it sends, as a sum's form names it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedhome.errors import ParameterError
from fedhome.privacy.discrete_gaussian import LEAST_SIGMA, MOST_SIGMA

ROOM = 12.0
"""Deviations of a sum's noise for which it has room: more come once in 2^103 numbers, and wrap."""
_ROUNDING = 1 + 1e-6  # float32 scales a clipped update to a little more than the clip


def update_norm(most: int, elements: int) -> float:
    """Return the greatest L2 norm, in steps, of a clipped update once it is rounded.

    Rounding moves each element by less than a step, whichever way chance decides: so this holds for
    every outcome of it, not on average.

    Args:
        most: Steps of the clip.
        elements: Elements of the update.
    """
    return most * _ROUNDING + math.sqrt(elements) if elements else 0.0


@dataclass(frozen=True)
class Noise:
    """Discrete Gaussian noise of one home, on every number of a vector but the weight.

    Args:
        sigma: Of each home's noise, in steps of the form.
        homes: Fewest homes in the sum: with fewer it would be too little noise.

    Raises:
        ParameterError: A sigma that cannot be drawn, or no homes.
    """

    sigma: float
    homes: int

    def __post_init__(self) -> None:
        if not (LEAST_SIGMA <= self.sigma <= MOST_SIGMA and self.homes >= 1):
            raise ParameterError(
                f"noise of {self.sigma!r} steps from {self.homes} homes cannot be",
                reason="noise",
                hint="choose other bits: a step is the clip divided by 2^(bits - 1) - 1",
            )

    def bits(self, most: int) -> int:
        """Return the bits, with the sign, of a number up to ``most`` with its share of the noise.

        Noise grows with the root of the number of homes, so the share is greatest in the smallest
        sum. One home's own noise may be larger: it wraps, and sums unwrap it.
        """
        return (most + math.ceil(ROOM * self.sigma / math.sqrt(self.homes))).bit_length() + 1
