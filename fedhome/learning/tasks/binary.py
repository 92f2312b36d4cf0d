"""Binary classification: one logit, learnt by binary cross-entropy."""

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
    """Return balanced accuracy, accuracy, F1 and the Brier score."""
    del task, naive
    truth = np.asarray(y[:, 0], np.float64)
    logit = np.asarray(predicted[:, 0], np.float64)
    with np.errstate(invalid="ignore"):  # a model that diverged states no numbers
        probability = np.exp(-np.logaddexp(0.0, -logit))
    said = (logit > 0).astype(np.float64)
    hits, positives = segments.sum(truth * said), segments.sum(truth)
    claims, negatives = segments.sum(said), segments.sum(1.0 - truth)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = hits / positives
        specificity = 1.0 - (claims - hits) / negatives
        f1 = 2.0 * hits / (positives + claims)
    both = np.where(
        np.isnan(sensitivity), specificity, np.where(np.isnan(specificity), sensitivity, np.nan)
    )
    balanced = np.where(np.isnan(both), (sensitivity + specificity) / 2.0, both)
    return {
        "balanced_accuracy": balanced,
        "accuracy": segments.mean((said == truth).astype(np.float64)),
        "f1": np.where((positives + claims == 0) & (segments.counts > 0), 0.0, f1),
        "brier": segments.mean((probability - truth) ** 2),
    }


KIND = TaskKind(
    name="binary",
    targets="binary",
    loss="bce",
    measure=measure,
    metrics=("balanced_accuracy", "accuracy", "f1", "brier"),
    score="balanced_accuracy",
    errors=frozenset({"brier"}),
)
