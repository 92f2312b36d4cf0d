"""What an opened sum may amount to: no more than homes that keep to the protocol can add up.

A home may write any word into its vector. One sum cannot tell which home did; but a lane beyond
what all homes together can reach tells that one did, and such a sum is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import SumError
from fedhome.secagg.fixedpoint import FixedPoint

TAIL = 20.0
"""Standard deviations that no honest noise reaches: a chance of 2^-290."""
_ROUNDING = 1e-6  # of float32, in which homes scale
_HINT = "the sum is not used; with aggregation.groups above 1 only its group is lost"


def check_elements(
    fixed: FixedPoint, sums: NDArray[np.int64], *, weight: int, homes: int, slack: float
) -> None:
    """Refuse an update that homes of a weight cannot have added up.

    A home of weight w adds at most ``clip * w / step`` to an element, and at most one more by
    rounding; by an L2 clip the length of the whole is bounded alike. Noise adds its own.

    Args:
        fixed: How elements became integers.
        sums: Sums of what homes sent, int64 ``[elements]``.
        weight: Sum of their weights.
        homes: How many they are.
        slack: How far their noise may take an element.

    Raises:
        SumError: ``beyond``.
    """
    if not sums.size:
        return
    most = fixed.clip * weight / fixed.step + homes + slack
    size, what = float(np.abs(sums).max()), "a number"
    if size <= most and fixed.norm == "l2":
        size, what = float(np.linalg.norm(sums.astype(np.float64))), "the length"
        most += (homes + slack) * (math.sqrt(sums.size) - 1)
    if size > most * (1 + _ROUNDING):
        raise SumError(
            f"{what} of an opened sum is {size / max(most, 1e-99):.3g} times what {homes} homes "
            "that keep to the protocol can add: one of them does not",
            reason="beyond",
            hint=_HINT,
        )


def check_numbers(numbers: Iterable[tuple[str, int, int, float]], *, homes: int) -> None:
    """Refuse sums of numbers that homes within their ranges cannot have added up.

    Args:
        numbers: Of each its name, its sum, the most that it can be, and how far noise may take it
            beyond.
        homes: How many homes there are.

    Raises:
        SumError: ``beyond``.
    """
    for name, total, most, slack in numbers:
        if not -slack <= total <= most + slack:
            raise SumError(
                f"{name!r} of an opened sum is not between 0 and what {homes} homes that keep to "
                "the protocol can add: one of them does not",
                reason="beyond",
                hint=_HINT,
            )
