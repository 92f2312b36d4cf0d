"""What a series was a day, a week and a year before: forecasts without learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.plan.time_steps import DAY_S, MONTH_S, YEAR_S

if TYPE_CHECKING:  # whoever predicts from numbers alone loads no plan
    from fedhome.data.series.past import Past


class Season(NamedTuple):
    """A season: what it is called, and its length in seconds where steps have that many seconds."""

    called: str
    length_s: Callable[[int], int]

    def steps(self, step_s: int) -> int:
        """Return how many steps it is; 0: no whole number, or there is no such season of them."""
        count, beyond = divmod(self.length_s(step_s), step_s)
        return 0 if beyond else count


def _year(step_s: int) -> int:
    """Return a year of months and quarters, of days and weeks the same weekday, else nothing.

    Of hours it is none: the week says more, and few homes have read for a year.
    """
    if not DAY_S <= step_s < YEAR_S:
        return 0
    return YEAR_S if step_s >= MONTH_S else 364 * DAY_S


SEASONS: Final = (
    Season("one day before", lambda _: DAY_S),
    Season("seven days before", lambda _: 7 * DAY_S),
    Season("a year before", _year),
)
"""All seasons, in the order in which a model counts them, from 1."""


def seasonal(past: Past, rows: NDArray[np.int64], *, timed: bool) -> NDArray[np.float64]:
    """Return what a series was each season before the moment of each horizon.

    It is NaN where nothing was read then, or where that was not known yet at the moment of
    prediction.

    Args:
        past: The rows of a home.
        rows: Those that are predicted.
        timed: Whether they have times: of others nobody knows a season.

    Returns:
        float64 ``[rows, seasons]``; of several horizons ``[rows, seasons, horizons]``; of rows that
        are no series ``[rows, 0]``.
    """
    each = [
        np.column_stack(
            [
                np.empty((len(rows), 0)),
                *(
                    _before(past, rows, season, later, timed=timed)
                    for season in (SEASONS if past.spans.horizon else ())
                ),
            ]
        )
        for later in past.spans.later
    ]
    return each[0] if len(each) == 1 else np.stack(each, axis=2)


def _before(
    past: Past, rows: NDArray[np.int64], season: Season, later: int, *, timed: bool
) -> NDArray[np.float64]:
    count = season.steps(past.step_s) if timed else 0
    steps = count - later
    if not count or steps < past.spans.horizon:
        return np.full(len(rows), np.nan)
    at = past.before(steps, rows)
    return np.where(at >= 0, past.columns[past.target][at], np.nan)
