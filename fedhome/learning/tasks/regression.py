"""Regression: a number, learnt by its squared error.

Of a series it is learnt by Huber's loss, and scored against persistence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats, Segments
from fedhome.learning.tasks.task import Task, TaskKind


def measure(
    task: Task,
    y: NDArray[np.float32] | NDArray[np.int64],
    predicted: NDArray[np.float32],
    naive: NDArray[np.float32],
    segments: Segments,
) -> dict[str, Floats]:
    """Return R², mean absolute and root mean squared error, and the skill of a series."""
    truth = np.asarray(y[:, 0], np.float64)
    error = truth - np.asarray(predicted[:, 0], np.float64)
    mse = segments.mean(error**2)
    around = truth - segments.spread(segments.mean(truth))
    scores = {
        "r2": _gain(mse, segments.mean(around**2)),
        "mae": segments.mean(np.abs(error)),
        "rmse": np.sqrt(mse),
    }
    if task.series:
        scores["skill"] = _gain(mse, segments.mean((truth - naive) ** 2))
    return scores


def _gain(mse: Floats, reference: Floats) -> Floats:
    """One minus a ratio of errors, cut off at -1: near-constant homes would swamp the mean."""
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = 1.0 - mse / reference
    gain = np.where((reference == 0) & (mse == 0), 1.0, gain)
    gain = np.where((reference == 0) & (mse > 0), -1.0, gain)
    return np.where(np.isnan(mse), np.nan, np.clip(gain, -1.0, 1.0))


KIND = TaskKind(
    name="regression",
    targets="continuous",
    loss="mse",
    measure=measure,
    metrics=("r2", "mae", "rmse"),
    score="r2",
    series_metrics=("skill",),
    series_score="skill",
    series_loss="huber",
    errors=frozenset({"mae", "rmse"}),
    in_units=frozenset({"mae", "rmse"}),
    least={"r2": -1.0, "skill": -1.0},
)
