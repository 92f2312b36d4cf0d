"""What a task is: a row of the table of kinds, and what a plan and its data make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.errors import PluginError
from fedhome.learning.tasks.segments import Floats, Segments
from fedhome.run.compared_models import AT

if TYPE_CHECKING:  # a plan's names are checked where torch is not needed
    from fedhome.learning.losses import Loss
    from fedhome.plan.data_settings import Span

_SURE = np.float32(8.0)  # the logit of a forecast that states a class

Measure = Callable[
    [
        "Task",
        NDArray[np.float32] | NDArray[np.int64],
        NDArray[np.float32],
        NDArray[np.float32],
        Segments,
    ],
    dict[str, Floats],
]


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """A kind of task: one row of the table, and one function that scores it.

    Args:
        name: Its name in a plan.
        targets: How a home's targets are encoded.
        loss: The loss that it is learnt by: a name, or a loss of your own.
        measure: From the task, the targets ``[rows, 1]`` or ``[rows]``, the model's raw outputs
            ``[rows, outputs]``, the forecast without learning ``[rows]`` and whose rows they are:
            each metric, ``[homes]``.
        metrics: Names of all metrics.
        score: The metric by which models are ranked; higher is better.
        series_metrics: Further metrics where rows follow each other in time.
        series_score: The score there; empty: the same.
        series_loss: The loss there; empty: the same.
        errors: Metrics of which lower is better: they are no score.
        in_units: Metrics that are given in the target's own unit.
        outputs: Numbers that the model puts out for a row; of a multi-class target there is
            one for each class.
        least: The least value of metrics whose least value is not 0.

    Raises:
        PluginError: No such encoding, or a score that is no metric.
    """

    name: str
    targets: Targets
    loss: str | Loss
    measure: Measure
    metrics: tuple[str, ...]
    score: str
    series_metrics: tuple[str, ...] = ()
    series_score: str = ""
    series_loss: str | Loss = ""
    errors: frozenset[str] = frozenset()
    in_units: frozenset[str] = frozenset()
    outputs: int = 1
    least: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.targets not in get_args(Targets):
            raise PluginError(
                f"targets of the task {self.name!r} are encoded as {self.targets!r}",
                hint=f"known are: {', '.join(get_args(Targets))}",
            )
        for series in (False, True):
            if self.score_of(series=series) not in self.metrics_of(series=series):
                raise PluginError(
                    f"the task {self.name!r} has no metric {self.score_of(series=series)!r}, "
                    "which is to be its score",
                    hint=f"it has: {', '.join(self.metrics_of(series=series))}",
                )

    def worst(self, metric: str) -> float:
        """Return what a metric counts as that is not finite: the least that it can be."""
        return self.least.get(metric, 0.0)

    def metrics_of(self, *, series: bool) -> tuple[str, ...]:
        """Return the metrics, of rows that follow each other in time or do not."""
        return (*self.metrics, *(self.series_metrics if series else ()))

    def score_of(self, *, series: bool) -> str:
        """Return the score, of rows that follow each other in time or do not."""
        return (self.series_score if series else "") or self.score


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted and how it is scored.

    Args:
        kind: Its row of the table.
        outputs: Numbers that the model puts out for a row.
        loss: The loss that it learns by.
        score: The metric by which models are ranked; higher is better.
        metrics: Names of all metrics.
        series: Whether rows follow each other in time, so that persistence is a forecast.
        classes: Names of the classes.
        horizons: Names of the horizons, one for each output, where there are several; else empty.
            A metric is then the mean over them, and ``NAME@HORIZON`` is that of one.
        ahead: How far ahead the furthest of them is, or the only one, as the plan writes it; 0:
            rows do not follow each other in time.
    """

    kind: TaskKind
    outputs: int
    loss: str | Loss
    score: str
    metrics: tuple[str, ...]
    series: bool
    classes: tuple[str, ...] = ()
    horizons: tuple[str, ...] = ()
    ahead: Span = 0

    @property
    def targets(self) -> int:
        """Numbers that a row's target has, where it is no class."""
        return max(len(self.horizons), 1)

    def is_error(self, metric: str) -> bool:
        """Whether a metric is lower where a model is better."""
        return metric.partition(AT)[0] in self.kind.errors

    def worst(self, metric: str) -> float:
        """Return what a metric counts as that is not finite: the least that it can be."""
        return self.kind.worst(metric.partition(AT)[0])

    def measure(
        self,
        y: NDArray[np.float32] | NDArray[np.int64],
        predicted: NDArray[np.float32],
        naive: NDArray[np.float32],
        segments: Segments,
        units: Floats,
        *,
        anchors: Floats | None = None,
    ) -> dict[str, Floats]:
        """Score predictions for each home.

        Args:
            y: Targets of all rows, float32 ``[rows, targets]`` or int64 ``[rows]``.
            predicted: The model's raw outputs, float32 ``[rows, outputs]``.
            naive: The forecast without learning, ``[rows]``.
            segments: Which rows are whose.
            units: What one unit of ``y`` is in the target's own unit, ``[homes]``.
            anchors: What all of these are changes from, in the unit of ``y``, ``[rows]``; None:
                they are none. Metrics are of levels.

        Returns:
            Metric name to float64 ``[homes]``; NaN where it is not defined. Errors (``mae``,
            ``rmse``) are in the target's own unit.
        """
        if anchors is not None:
            above: Any = anchors  # doubles: a counter's level leaves no digits to its changes
            y, predicted = y + above[:, None], predicted + above[:, None]
            naive = naive + above
        if not self.horizons:
            return self._measured(y, predicted, naive, segments, units)
        each = [
            self._measured(y[:, [at]], predicted[:, [at]], naive, segments, units)
            for at in range(len(self.horizons))
        ]
        means = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
        return means | {
            at_horizon(name, horizon): values
            for horizon, one in zip(self.horizons, each, strict=True)
            for name, values in one.items()
        }

    def _measured(
        self,
        y: NDArray[np.float32] | NDArray[np.int64],
        predicted: NDArray[np.float32],
        naive: NDArray[np.float32],
        segments: Segments,
        units: Floats,
    ) -> dict[str, Floats]:
        scores = self.kind.measure(self, y, predicted, naive, segments)
        return {
            name: values * units if name in self.kind.in_units else values
            for name, values in scores.items()
        }

    def naive_output(self, naive: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the forecast without learning ``[rows]`` as outputs ``[rows, outputs]``."""
        return _STATED[self.kind.targets](naive, self.outputs)


def at_horizon(metric: str, horizon: str) -> str:
    """Return what a metric at one of several horizons is called.

    >>> at_horizon("skill", "6h")
    'skill@6h'
    """
    return f"{metric}{AT}{horizon}"


def _number(naive: NDArray[np.float32], outputs: int) -> NDArray[np.float32]:
    return np.repeat(naive[:, None], outputs, axis=1)


def _flag(naive: NDArray[np.float32], outputs: int) -> NDArray[np.float32]:
    return _number((naive * 2 - 1) * _SURE, outputs)


def _class(naive: NDArray[np.float32], outputs: int) -> NDArray[np.float32]:
    return np.eye(outputs, dtype=np.float32)[naive.astype(np.int64)] * _SURE


_STATED: Mapping[Targets, Callable[[NDArray[np.float32], int], NDArray[np.float32]]] = {
    "continuous": _number,
    "binary": _flag,
    "multi-class": _class,
}
