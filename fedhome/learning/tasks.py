"""Tasks: how many outputs a model has, which loss it learns by, and how it is scored.

Scores are computed for many homes at once: the rows of all homes lie one after the other,
and ``starts`` says where each home begins (one home is the case ``[0]``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import PlanError
from fedhome.plan.settings import Plan
from fedhome.spelling import did_you_mean

Floats = NDArray[np.float64]
Loss = Literal["mse", "bce", "cross-entropy"]
_SURE = np.float32(8.0)  # the logit of a forecast that states a class


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Where the homes lie in a long column of rows; homes without rows have NaN scores.

    Args:
        counts: Rows of each home, int64 ``[homes]``.
    """

    counts: NDArray[np.int64]

    def sum(self, values: Floats) -> Floats:
        """Sum a column ``[rows]`` over each home, ``[homes]``."""
        # Not by differences of running sums: one home's NaN would reach all homes after it.
        homes = len(self.counts)
        home = np.repeat(np.arange(homes), self.counts)
        return np.asarray(np.bincount(home, weights=values, minlength=homes), np.float64)

    def mean(self, values: Floats) -> Floats:
        """Mean of a column over each home; NaN where a home has no rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.sum(values) / self.counts, np.float64)

    def spread(self, values: Floats) -> Floats:
        """Give each row its home's value, ``[homes]`` to ``[rows]``."""
        return np.repeat(values, self.counts)


def paired(differences: Floats, segments: Segments) -> tuple[Floats, Floats]:
    """Return the mean of paired differences ``[rows]`` and its standard error, ``[homes]`` each."""
    mean = segments.mean(differences)
    spread = segments.mean((differences - segments.spread(mean)) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return mean, np.sqrt(spread / np.maximum(segments.counts - 1, 1))


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted and how it is scored.

    Args:
        kind: Regression, binary or multi-class.
        outputs: Numbers that the model puts out for a row.
        loss: The loss that it learns by.
        score: The metric by which models are ranked; higher is better.
        metrics: Names of all metrics.
        series: Whether rows follow each other in time, so that persistence is a forecast.
        classes: Names of the classes.
    """

    kind: str
    outputs: int
    loss: Loss
    score: str
    metrics: tuple[str, ...]
    series: bool
    classes: tuple[str, ...] = ()

    def measure(
        self,
        y: NDArray[np.float32] | NDArray[np.int64],
        predicted: NDArray[np.float32],
        naive: NDArray[np.float32],
        segments: Segments,
        units: Floats,
    ) -> dict[str, Floats]:
        """Score predictions for each home.

        Args:
            y: Targets of all rows, float32 ``[rows, 1]`` or int64 ``[rows]``.
            predicted: The model's raw outputs, float32 ``[rows, outputs]``.
            naive: The forecast without learning, ``[rows]``.
            segments: Which rows are whose.
            units: What one unit of ``y`` is in the target's own unit, ``[homes]``.

        Returns:
            Metric name to float64 ``[homes]``; NaN where it is not defined. Errors (``mae``,
            ``rmse``) are in the target's own unit.
        """
        scores = _MEASURES[self.kind](self, y, predicted, naive, segments)
        return {
            name: values * units if name in {"mae", "rmse"} else values
            for name, values in scores.items()
        }

    def naive_output(self, naive: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the forecast without learning ``[rows]`` as outputs ``[rows, outputs]``."""
        if self.kind == "regression":
            return naive[:, None]
        if self.kind == "binary":
            return (naive[:, None] * 2 - 1) * _SURE
        return np.eye(self.outputs, dtype=np.float32)[naive.astype(np.int64)] * _SURE


def task_of(plan: Plan, classes: tuple[str, ...] = ()) -> Task:
    """Return the plan's task.

    Args:
        plan: The plan.
        classes: Class names found in the data, where the plan names none.

    Raises:
        PlanError: Too few classes for the kind, or a score that the kind does not have.
    """
    kind, classes = plan.task.kind, plan.task.classes or classes
    if kind == "multi-class" and len(classes) < 2:  # noqa: PLR2004
        raise PlanError(
            [f"task.kind is multi-class, but the target {plan.data.target!r} names no classes"],
            hint="give task.classes, or use a text column as the target",
        )
    series = plan.data.horizon > 0
    metrics: tuple[str, ...]
    if kind == "regression":
        metrics = ("r2", "mae", "rmse", *(("skill",) if series else ()))
        score = "skill" if series else "r2"
    elif kind == "binary":
        metrics, score = ("balanced_accuracy", "accuracy", "f1", "brier"), "balanced_accuracy"
    else:
        metrics, score = ("accuracy", "macro_f1"), "accuracy"
    if plan.task.score and plan.task.score not in metrics:
        fault = f"task.score {plan.task.score!r} is none of {', '.join(metrics)} of a {kind} task"
        raise PlanError([fault + did_you_mean(plan.task.score, metrics)])
    if plan.task.score in {"mae", "rmse", "brier"}:
        raise PlanError(
            [f"task.score {plan.task.score!r} is an error: a score is higher if better"]
        )
    losses: Mapping[str, Loss] = {
        "regression": "mse",
        "binary": "bce",
        "multi-class": "cross-entropy",
    }
    return Task(
        kind=kind,
        outputs=len(classes) if kind == "multi-class" else 1,
        loss=losses[kind],
        score=plan.task.score or score,
        metrics=metrics,
        series=series,
        classes=classes,
    )


def _regression(
    task: Task,
    y: NDArray[np.float32] | NDArray[np.int64],
    predicted: NDArray[np.float32],
    naive: NDArray[np.float32],
    segments: Segments,
) -> dict[str, Floats]:
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


def _binary(
    task: Task,
    y: NDArray[np.float32] | NDArray[np.int64],
    predicted: NDArray[np.float32],
    naive: NDArray[np.float32],
    segments: Segments,
) -> dict[str, Floats]:
    del task, naive
    truth = np.asarray(y[:, 0], np.float64)
    logit = np.asarray(predicted[:, 0], np.float64)
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


def _multi_class(
    task: Task,
    y: NDArray[np.float32] | NDArray[np.int64],
    predicted: NDArray[np.float32],
    naive: NDArray[np.float32],
    segments: Segments,
) -> dict[str, Floats]:
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


_Measure = Callable[
    [
        Task,
        NDArray[np.float32] | NDArray[np.int64],
        NDArray[np.float32],
        NDArray[np.float32],
        Segments,
    ],
    dict[str, Floats],
]
_MEASURES: Mapping[str, _Measure] = {
    "regression": _regression,
    "binary": _binary,
    "multi-class": _multi_class,
}
