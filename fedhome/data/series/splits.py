"""Rows split in time into training, validation and test, with gaps between the parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.plan.data_settings import DataSettings
from fedhome.plan.time_steps import DAY_S

Parts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class AsNew(NamedTuple):
    """Which of its training rows a home has that rehearses as if it were new.

    Args:
        days: Those of its last days; infinity: of all.
        share: Of these the newest share, though no less than a day: that is a whole rhythm.
    """

    days: float
    share: float = 1.0


def split(
    y: NDArray[np.float64],
    time_s: NDArray[np.int64],
    data: DataSettings,
    *,
    gap: int,
    reach: int = 0,
) -> Parts:
    """Return the rows of training, validation and test.

    Args:
        y: Targets, ``[rows]``, in the order of time; of several horizons ``[rows, horizons]``.
        time_s: UTC seconds of the rows, ``[rows]``.
        data: The plan's settings for data.
        gap: Rows left out between the parts.
        reach: Steps from a row's nearest target to its furthest: as many more are left out.
    """
    parts, apart = [], _Apart(gap, reach)
    for group in _groups(np.arange(len(y)), y, data):
        history, test = _cut(group, data.split[0] + data.split[1], apart)
        history = _newest(history, time_s, data.history_days)
        parts.append((*_halves(history, data, apart), test))
    return _joined(parts)


def rehearsal(
    y: NDArray[np.float64],
    time_s: NDArray[np.int64],
    data: DataSettings,
    *,
    gap: int,
    reach: int = 0,
    as_new: AsNew,
) -> Parts:
    """Return training, validation and test as if the home were new, none of them its test rows.

    It has some of its training rows alone, and its validation rows stand for its test.

    Args:
        y: Targets, ``[rows]``, in the order of time; of several horizons ``[rows, horizons]``.
        time_s: UTC seconds of the rows, ``[rows]``.
        data: The plan's settings for data.
        gap: Rows left out between the parts.
        reach: Steps from a row's nearest target to its furthest: as many more are left out.
        as_new: Which of its training rows it has.
    """
    train, validation, _ = split(y, time_s, data, gap=gap, reach=reach)
    parts, apart = [], _Apart(gap, reach)
    for group in _groups(train, y, data):
        nothing = np.empty(0, np.int64)
        newest = _newest(group, time_s, as_new.days)
        count = max(round(as_new.share * len(newest)), len(_newest(newest, time_s, 1.0)))
        parts.append((*_halves(newest[len(newest) - count :], data, apart), nothing))
    before = _joined(parts)
    return before[0], before[1], validation


def _groups(
    rows: NDArray[np.int64], y: NDArray[np.float64], data: DataSettings
) -> list[NDArray[np.int64]]:
    """Return the rows that are split together: all, or those of each class."""
    own = y[rows]
    return [rows[own == value] for value in np.unique(own)] if data.split_by == "class" else [rows]


def _newest(
    rows: NDArray[np.int64], time_s: NDArray[np.int64], days: float | None
) -> NDArray[np.int64]:
    """Return the rows of the last days before the last of them; None: all."""
    if days is None or not len(rows):
        return rows
    newest = time_s[rows] > time_s[rows[-1]] - days * DAY_S
    return np.asarray(rows[newest], np.int64)


def _halves(
    history: NDArray[np.int64], data: DataSettings, apart: _Apart
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return _cut(history, data.split[0] / (data.split[0] + data.split[1]), apart)


def _joined(groups: Sequence[Parts]) -> Parts:
    train, validation, test = (
        np.concatenate(part) if part else np.empty(0, np.int64)
        for part in zip(*groups, strict=True)
    )
    return train, validation, test


def _cut(
    rows: NDArray[np.int64], share: float, apart: _Apart
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut rows in two, with a gap cut from the end of the first part."""
    at = round(len(rows) * share)
    return rows[: max(at - apart.out_of(len(rows)), 0)], rows[at:]


class _Apart(NamedTuple):
    """How many rows are left out between two parts.

    A gap never eats more than a tenth of a small group; what a row's targets reach over is left out
    of any, or targets of a later part would be among those of an earlier one.
    """

    gap: int
    reach: int

    def out_of(self, rows: int) -> int:
        """Return how many are left out between the parts of this many rows."""
        return min(self.gap, rows // 10) + self.reach
