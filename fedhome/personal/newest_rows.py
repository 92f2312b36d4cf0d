"""How well a home's own model does on the home's newest rows, of which it is known what came."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats
from fedhome.personal.horizons import Predictions
from fedhome.personal.model import PersonalModel
from fedhome.plan.time_steps import DAY_S

NEWEST_DAYS: Final = 7
NEWEST_ROWS: Final = 100
"""A model is checked on the last 7 days of rows, or on the last 100 where those are more."""
FEWEST_ROWS: Final = 20
"""From fewer rows than these nothing is concluded."""


class Trial(NamedTuple):
    """How wrong a model is on rows.

    Args:
        rows: How many rows.
        error: Of numbers the mean absolute error in the target's unit, of classes the Brier score
            (the squared errors of all probabilities, summed over classes); lower is better.
        wrong: Of numbers the root mean squared error, which their score is of; of classes the
            share of rows with another class.
        without_learning: The same of the forecast without learning.
    """

    rows: int
    error: float
    wrong: float
    without_learning: float

    @property
    def worse(self) -> bool:
        """Whether it is worse than the forecast without learning, as far as rows can tell."""
        return self.rows >= FEWEST_ROWS and not self.wrong <= self.without_learning


def moments(predicted: Predictions) -> NDArray[np.int64]:
    """Return UTC seconds of predictions, or their rows' numbers where they have no time."""
    first = predicted.table.column(0)
    return np.asarray(first.cast("int64").to_numpy(), np.int64)


def newest_rows(model: PersonalModel, predicted: Predictions) -> NDArray[np.bool_]:
    """Return which rows a model is checked on: the newest that it was not fitted to.

    Args:
        model: The model.
        predicted: What it says of the home's readings.
    """
    at = moments(predicted)
    new = np.isfinite(predicted.known) & (at > model.fitted_until)
    places = np.flatnonzero(new)
    if not len(places):
        return new
    last = places[-NEWEST_ROWS:]
    if predicted.table.column_names[0] == "time":
        week = places[at[places] > at[places[-1]] - NEWEST_DAYS * DAY_S]
        last = max(last, week, key=len)
    chosen = np.zeros_like(new)
    chosen[last] = True
    return chosen


def tried(model: PersonalModel, predicted: Predictions, rows: NDArray[np.bool_]) -> Trial:
    """Return how wrong a model is on some rows.

    Args:
        model: The model.
        predicted: What it says.
        rows: Which rows count ``[rows]``; those whose target is not known do not.
    """
    rows = rows & np.isfinite(predicted.known)
    table, known = predicted.table, predicted.known[rows]
    if not len(known):
        return Trial(0, np.nan, np.nan, np.nan)
    if model.targets == "continuous":
        own, without = (
            table[name].to_numpy()[rows] - known for name in ("value", "without_learning")
        )
        return Trial(len(known), float(np.abs(own).mean()), _size(own), _size(without))
    names = [name for name in table.column_names if name.startswith("P(")]
    shares = np.stack([table[name].to_numpy()[rows] for name in names], axis=1)
    true = known[:, None] == np.arange(len(names))  # of a class that no plan names: none of them
    wrong, without = (
        float(
            np.mean(
                [not hit[names.index(f"P({said})")] for said, hit in zip(told, true, strict=True)]
            )
        )
        for told in (table[name].filter(rows).to_pylist() for name in ("class", "without_learning"))
    )
    brier = float(((shares - true) ** 2).sum(axis=1).mean())
    return Trial(len(known), brier, wrong, without)


def _size(errors: Floats) -> float:
    return float(np.sqrt((errors**2).mean()))
