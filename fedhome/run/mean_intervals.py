"""How sure a mean over homes is: intervals, and whether a difference is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST_FOR_A_TEST: Final = 6
"""With five pairs even a clean sweep has a two-sided p-value of 1/16: no test can tell."""

_STUDENT: Final = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 %, by the number of homes
_RESAMPLED: Final = 2000
_DRAWN: Final = 1 << 13  # numbers that are drawn at once


@dataclass(frozen=True, kw_only=True)
class MeanOverHomes:
    """A mean over homes, and how sure it is.

    Args:
        mean: The mean.
        low: Lower end of an interval of 95 %, of :func:`mean_interval`; NaN for a single home.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> MeanOverHomes:
        """Return the mean of one value or more, ``[homes]``."""
        low, high = mean_interval(values)
        return cls(mean=float(values.mean()), low=low, high=high)

    def within(self, least: float, most: float) -> MeanOverHomes:
        """Return the same with ends of what values can be: a share is never above one."""
        low, high = np.clip([self.low, self.high], least, most)  # what is NaN stays so
        return MeanOverHomes(mean=self.mean, low=float(low), high=float(high))


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of an interval of 95 % of a mean over homes, resampled over homes.

    Of fewer than six homes, which resampling takes for more alike than they are, it is Student's;
    of a single one there is none: NaN.

    Source: Efron, "Bootstrap methods", Annals of Statistics 1979; Student, "The probable error of
    a mean", Biometrika 1908.
    """
    if len(values) in _STUDENT:
        reach = _STUDENT[len(values)] * values.std(ddof=1) / np.sqrt(len(values))
        return float(values.mean() - reach), float(values.mean() + reach)
    if len(values) < FEWEST_FOR_A_TEST:
        return np.nan, np.nan
    generator, homes = np.random.default_rng(len(values)), len(values)
    means = np.empty(_RESAMPLED)
    at_once = max(1, _DRAWN // homes)
    for first in range(0, _RESAMPLED, at_once):
        some = means[first : first + at_once]
        some[:] = values[generator.integers(0, homes, (len(some), homes))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def wilcoxon_p(gap: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of homes' differences ``[homes]``; NaN where it can be none.

    Source: Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945.
    """
    if len(gap) < FEWEST_FOR_A_TEST or not np.any(gap):
        return float("nan")
    # A second of importing, which no home and no other command should pay.
    from scipy.stats import wilcoxon  # noqa: PLC0415

    return float(wilcoxon(gap).pvalue)
