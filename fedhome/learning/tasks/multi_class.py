"""Classification: one logit a class, learnt by cross-entropy."""

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
    """Return accuracy and macro F1, over the classes that are true or predicted somewhere."""
    del naive
    said = np.argmax(predicted, axis=1)
    classes, homes = task.outputs, len(segments.counts)
    home = np.repeat(np.arange(homes), segments.counts)
    cell = (home * classes + np.asarray(y, np.int64)) * classes + said
    confusion = np.bincount(cell, minlength=homes * classes * classes)
    table = confusion.reshape(homes, classes, classes).astype(np.float64)
    hits = np.diagonal(table, axis1=1, axis2=2)  # [homes, classes]
    support = table.sum(axis=2) + table.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2.0 * hits / support  # NaN where a class is neither true nor predicted
        macro = np.nansum(f1, axis=1) / (support > 0).sum(axis=1)
        accuracy = hits.sum(axis=1) / segments.counts
    return {"accuracy": accuracy, "macro_f1": macro}


KIND = TaskKind(
    name="multi-class",
    targets="multi-class",
    loss="cross-entropy",
    measure=measure,
    metrics=("accuracy", "macro_f1"),
    score="accuracy",
)
