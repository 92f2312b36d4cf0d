"""The band around a home's predictions, as its newest readings have moved it.

What a run's end says of the band was true of that run's validation rows. A home that predicts goes
on, and its newest rows say better how far to reach: each moves the band a little
(:mod:`fedhome.learning.adaptive_bands`). Nothing of it is kept: it follows from the model and the
readings, so that a reading that is mended or left out is so for the band as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.series.clocks import usual_gap
from fedhome.learning.adaptive_bands import follow
from fedhome.personal.horizons import Predictions
from fedhome.personal.model import PersonalModel
from fedhome.personal.newest_rows import moments
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.time_steps import step_seconds


class FollowedBand(NamedTuple):
    """Predictions with a band that follows, and what it did on the rows that moved it.

    Args:
        table: As of :meth:`.PersonalModel.predict`, ``low`` and ``high`` as they are by now.
        rows: How many rows moved it.
        held: What share of these it held, each by what was known when it was predicted.
        held_before: What share the band of the run's end held; both NaN of no rows.
    """

    table: pa.Table
    rows: int
    held: float
    held_before: float


def followed(model: PersonalModel, predicted: Predictions) -> FollowedBand:
    """Return predictions of numbers with a band that follows the rows that the model has not seen.

    Args:
        model: The model; it predicts numbers.
        predicted: What it says of the home's readings, and what came.
    """
    table, data = predicted.table, model.plan.data
    if model.ahead is not None:
        data = data.model_copy(update={"horizon": model.ahead})
    value, low, high = (table[name].to_numpy() for name in ("value", "low", "high"))
    at = moments(predicted)
    errors = predicted.known - value
    counts = np.isfinite(errors) & (at > model.fitted_until)
    band = follow(
        errors,
        low - value,
        high - value,
        counts=counts,
        known_before=known_before(data, at, timeless="time" not in table.column_names),
    )
    for name, ends in (("low", band.low), ("high", band.high)):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(value + ends))
    return FollowedBand(
        table=table,
        rows=int(counts.sum()),
        held=_held(errors[counts], band.low[counts], band.high[counts]),
        held_before=_held(errors[counts], (low - value)[counts], (high - value)[counts]),
    )


def known_before(data: DataSettings, at: NDArray[np.int64], *, timeless: bool) -> NDArray[np.int64]:
    """Return of how many rows, from the first on, the truth had come when each was predicted.

    Args:
        data: The plan's settings for data, which say how far ahead rows are predicted: of several
            horizons the nearest.
        at: UTC seconds of the rows, or their numbers where they have no times; rising ``[rows]``.
        timeless: Whether they have none.
    """
    before = np.arange(len(at))
    ahead = 1 if data.nearest is None else data.nearest
    if not data.series or len(at) < 2:  # noqa: PLR2004 - no gap between fewer
        return before
    if isinstance(ahead, str):
        ahead_s = step_seconds(ahead, "data.horizon")
    else:
        ahead_s = ahead * (1 if timeless else usual_gap(at))
    known = np.searchsorted(at, at - ahead_s, side="right")
    return np.asarray(np.minimum(known, before), np.int64)


def _held(
    errors: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> float:
    return float(np.mean((low <= errors) & (errors <= high))) if len(errors) else np.nan
