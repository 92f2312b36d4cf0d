"""What a fleet gives over the strongest way to be alone, which no home could know beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.run.compared_models import ALONE
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.results import differences, means_by_home

_ROUNDING = 1e-12  # of the same scores, added up in another way


@dataclass(frozen=True, kw_only=True)
class OverStrongest:
    """The mean over homes of a model's score minus that of the strongest way to be alone.

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
        tables: A table of homes of each run; of several seeds a home counts with its mean. A way is
            held against the model over the homes and seeds that have scores of both.
        model: The model.

    Returns:
        None where nothing was compared, or where what homes pick is the strongest already.
    """
    # Over the rows that both have: a way that only some homes or seeds know may have had it easier.
    gaps = {name: gap for name in ALONE if len(gap := _gaps(tables, model, name))}
    if not gaps:
        return None
    alone = min(gaps, key=lambda name: gaps[name].mean())
    gain = float(gaps[alone].mean())
    picks = _gaps(tables, model, "alone")
    if len(picks) and picks.mean() <= gain + _ROUNDING:
        return None
    low, high = mean_interval(gaps[alone])
    return OverStrongest(alone=alone, gain=gain, low=low, high=high)


def _gaps(tables: Sequence[pa.Table], model: str, against: str) -> NDArray[np.float64]:
    """Return each home's mean over runs of a model's score minus another's, where it has both."""
    found = means_by_home([{model: differences(table, model, against)} for table in tables])
    return np.array(list(found.get(model, {}).values()))
