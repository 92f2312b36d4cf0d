"""Rows split in time into training, validation and test, with gaps between the parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.plan.data_settings import DataSettings
from fedhome.plan.time_steps import DAY_S


def split(
    y: NDArray[np.float64], time_s: NDArray[np.int64], data: DataSettings, *, gap: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of training, validation and test.

    Args:
        y: Targets, ``[rows]``, in the order of time.
        time_s: UTC seconds of the rows, ``[rows]``.
        data: The plan's settings for data.
        gap: Rows left out between the parts.
    """
    rows = np.arange(len(y))
    groups = [rows[y == value] for value in np.unique(y)] if data.split_by == "class" else [rows]
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for group in groups:
        history, test = _cut(group, data.split[0] + data.split[1], gap)
        if data.history_days is not None and len(history):
            edge = time_s[history[-1]] - data.history_days * DAY_S
            history = history[time_s[history] > edge]
        share = data.split[0] / (data.split[0] + data.split[1])
        for part, some in zip(parts, (*_cut(history, share, gap), test), strict=True):
            part.append(some)
    train, validation, test = (
        np.concatenate(part) if part else np.empty(0, np.int64) for part in parts
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
