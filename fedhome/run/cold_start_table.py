"""The table of homes that joined after the rounds: ``cold_start.parquet``, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from fedhome.errors import RunError
from fedhome.run.compared_models import EXPERTS, LAST, MODELS
from fedhome.run.mean_intervals import MeanOverHomes
from fedhome.run.results import described

COLD_START: Final = pa.schema(
    [
        described("home", pa.string(), "name of a home that took no part in the rounds"),
        described("days", pa.float64(), "days of own readings that it was given"),
        described("model", pa.string(), "one of MODELS; a row for each home, days and model"),
        described("score", pa.float64(), "primary score on its test rows"),
        described("examples_train", pa.int32(), "examples"),
        described("examples_validation", pa.int32(), "examples"),
        described("examples_test", pa.int32(), "examples"),
        described("expert", pa.string(), "what weighs most in its mixture"),
    ]
)
"""Columns of ``cold_start.parquet``; each field's metadata says what it means."""


@dataclass(frozen=True, kw_only=True)
class ColdStartPoint:
    """How one model did in homes with some days of readings.

    Args:
        days: Days of own readings.
        model: One of :data:`fedhome.run.compared_models.MODELS`.
        homes: Homes that have as many days.
        mean: Mean score.
        low: Lower end of an interval of 95 % of that mean, over homes; NaN for a single home.
        high: Upper end.
        p10: 10th percentile of the score.
        scores: Score of each home, in one order for all models of as many days.
    """

    days: float
    model: str
    homes: int
    mean: float
    low: float
    high: float
    p10: float
    scores: tuple[float, ...] = ()


def cold_start_table(rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Build the table from one mapping for each home, number of days and model.

    Raises:
        RunError: As `validate_cold_start`.
    """
    every = list(rows)
    columns = {name: [row.get(name) for row in every] for name in COLD_START.names}
    try:
        return validate_cold_start(pa.table(columns))
    except pa.ArrowException as error:
        raise RunError(f"the rows of new homes make no table: {error}") from None


def validate_cold_start(table: pa.Table) -> pa.Table:
    """Return the table with exactly the columns of :data:`COLD_START`.

    Raises:
        RunError: Columns are missing or of another type, or a model or an expert is unknown.
    """
    if missing := [name for name in COLD_START.names if name not in table.column_names]:
        raise RunError(f"the table of new homes has no column {', '.join(missing)}")
    try:
        table = table.select(COLD_START.names).cast(COLD_START)
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"the table of new homes has a column of another type: {error}") from None
    for name, known in (("model", MODELS), ("expert", (*EXPERTS, LAST))):
        if unknown := {str(value) for value in set(table[name].to_pylist()) - set(known)}:
            raise RunError(
                f"the table of new homes names an unknown {name}: {', '.join(sorted(unknown))}",
                hint=f"it is one of {', '.join(known)}",
            )
    return table


def cold_start_points(table: pa.Table) -> list[ColdStartPoint]:
    """Return mean and 10th percentile of each model, by days and then in the order of models.

    Args:
        table: As :data:`COLD_START` says.
    """
    found: dict[tuple[float, str], list[float]] = {}
    columns = (table[name].to_pylist() for name in ("days", "model", "score"))
    for days, model, score in zip(*columns, strict=True):
        found.setdefault((days, model), []).append(score)
    points = []
    for days in sorted({days for days, _ in found}):
        for model in MODELS:
            if (values := found.get((days, model))) is not None:
                mean = MeanOverHomes.of(np.array(values))
                points.append(
                    ColdStartPoint(
                        days=days,
                        model=model,
                        homes=len(values),
                        mean=mean.mean,
                        low=mean.low,
                        high=mean.high,
                        p10=float(np.percentile(values, 10)),
                        scores=tuple(values),
                    )
                )
    return points


def more_than(one: ColdStartPoint | None, other: ColdStartPoint | None) -> MeanOverHomes | None:
    """Return what one model has more than another, home by home; None where one is not known.

    Args:
        one: Of :func:`cold_start_points`.
        other: Another with as many days.
    """
    if one is None or other is None or len(one.scores) != len(other.scores):
        return None
    return MeanOverHomes.of(np.array(one.scores) - np.array(other.scores))


def by_days(points: Iterable[ColdStartPoint]) -> dict[float, dict[str, ColdStartPoint]]:
    """Return points by their number of days, from few to many, and then by model."""
    found: dict[float, dict[str, ColdStartPoint]] = {}
    for point in sorted(points, key=lambda one: one.days):
        found.setdefault(point.days, {})[point.model] = point
    return found


ALONE_HERE: Final = ("seasonal", "linear", "trees", "local")
"""What a home can have that no fleet knows: the network at the fleet's settings is none of it."""


def best_alone(points: Iterable[ColdStartPoint]) -> ColdStartPoint | None:
    """Return the way to be alone with the best mean among points of as many days.

    It is the best **on test rows**, which no home could know beforehand. None where there is none.

    Args:
        points: Points of one number of days.
    """
    alone = [point for point in points if point.model in ALONE_HERE]
    return max(alone, key=lambda point: point.mean, default=None)
