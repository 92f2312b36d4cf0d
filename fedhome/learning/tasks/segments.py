"""Scores of many homes at once: the rows of all of them lie one after the other.

``counts`` says how many of them are each home's (one home is the case ``[rows]``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Where the homes lie in a long column of rows; homes without rows have NaN scores.

    Args:
        counts: Rows of each home, int64 ``[homes]``.
    """

    counts: NDArray[np.int64]

    def sum(self, values: Floats) -> Floats:
        """Sum a column ``[rows]`` over each home, ``[homes]``."""
        # Not by differences of running sums: one home's NaN would reach all homes after it.
        homes = len(self.counts)
        home = np.repeat(np.arange(homes), self.counts)
        return np.asarray(np.bincount(home, weights=values, minlength=homes), np.float64)

    def mean(self, values: Floats) -> Floats:
        """Mean of a column over each home; NaN where a home has no rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.sum(values) / self.counts, np.float64)

    def spread(self, values: Floats) -> Floats:
        """Give each row its home's value, ``[homes]`` to ``[rows]``."""
        return np.repeat(values, self.counts)
