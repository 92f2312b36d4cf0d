"""What a fleet gives over the strongest way to be alone, which no home could know beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fedhome.run.compared_models import ALONE
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.results import differences, means_by_home, scores


@dataclass(frozen=True, kw_only=True)
class OverStrongest:
    """The mean over homes of a model's score less that of the strongest way to be alone.

    Args:
        alone: That way, one of :data:`~fedhome.run.compared_models.ALONE`.
        gain: The mean.
        low: Lower end of an interval of 95 % of it, resampled over homes; NaN for a single home.
        high: Upper end.
    """

    alone: str
    gain: float
    low: float
    high: float


def over_strongest(tables: Sequence[pa.Table], model: str = "personalised") -> OverStrongest | None:
    """Return what a model gains over the way to be alone that had the best mean on test rows.

    Each home's own pick is often weaker than that one for all of them, as a night of validation
    rows picks badly: a gain over the picks alone would flatter the fleet.

    Args:
        tables: A table of homes of each run; of several seeds a home counts with its mean.
        model: The model.

    Returns:
        None where nothing was compared, or where what homes pick is the strongest already.
    """
    by_model = means_by_home([scores(table) for table in tables])
    means = {
        name: np.mean(told) for name, by_home in by_model.items() if (told := _numbers(by_home))
    }
    ways = [name for name in ALONE if name in means]
    if not ways or model not in means:
        return None
    alone = max(ways, key=lambda name: means[name])
    if "alone" in means and means["alone"] >= means[alone]:
        return None
    gaps = means_by_home([{model: differences(table, model, alone)} for table in tables])
    every = np.array(list(gaps.get(model, {}).values()))
    if not len(every):
        return None
    low, high = mean_interval(every)
    return OverStrongest(alone=alone, gain=float(every.mean()), low=low, high=high)


def _numbers(by_home: dict[str, float]) -> list[float]:
    return [score for score in by_home.values() if np.isfinite(score)]
