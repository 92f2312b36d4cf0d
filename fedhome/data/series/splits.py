"""Rows split in time into training, validation and test, with gaps between the parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome.plan.data_settings import DataSettings
from fedhome.plan.time_steps import DAY_S

Parts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def split(
    y: NDArray[np.float64], time_s: NDArray[np.int64], data: DataSettings, *, gap: int
) -> Parts:
    """Return the rows of training, validation and test.

    Args:
        y: Targets, ``[rows]``, in the order of time.
        time_s: UTC seconds of the rows, ``[rows]``.
        data: The plan's settings for data.
        gap: Rows left out between the parts.
    """
    parts = []
    for group in _groups(np.arange(len(y)), y, data):
        history, test = _cut(group, data.split[0] + data.split[1], gap)
        history = _newest(history, time_s, data.history_days)
        parts.append((*_halves(history, data, gap), test))
    return _joined(parts)


def rehearsal(
    y: NDArray[np.float64],
    time_s: NDArray[np.int64],
    data: DataSettings,
    *,
    gap: int,
    days: float,
) -> Parts:
    """Return training, validation and test as if the home were new, none of them its test rows.

    It has the last days of its training rows alone, and its validation rows stand for its test.

    Args:
        y: Targets, ``[rows]``, in the order of time.
        time_s: UTC seconds of the rows, ``[rows]``.
        data: The plan's settings for data.
        gap: Rows left out between the parts.
        days: How many days a new home has.
    """
    train, validation, _ = split(y, time_s, data, gap=gap)
    parts = []
    for group in _groups(train, y, data):
        nothing = np.empty(0, np.int64)
        parts.append((*_halves(_newest(group, time_s, days), data, gap), nothing))
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
    history: NDArray[np.int64], data: DataSettings, gap: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return _cut(history, data.split[0] / (data.split[0] + data.split[1]), gap)


def _joined(groups: Sequence[Parts]) -> Parts:
    train, validation, test = (
        np.concatenate(part) if part else np.empty(0, np.int64)
        for part in zip(*groups, strict=True)
    )
    return train, validation, test


def _cut(
    rows: NDArray[np.int64], share: float, gap: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut rows in two, with a gap cut from the end of the first part.

    A gap never eats more than a tenth of a small group.
    """
    at = round(len(rows) * share)
    return rows[: max(at - min(gap, len(rows) // 10), 0)], rows[at:]
