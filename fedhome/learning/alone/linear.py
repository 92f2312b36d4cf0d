"""A linear model alone: ridge regression of numbers, logistic regression of classes.

Source: Hoerl and Kennard, "Ridge regression", Technometrics 1970; scikit-learn's solvers. The
strength of the penalty is the one that is best on the home's validation rows.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from fedhome.learning.alone.lean_scikit import scikit
from fedhome.learning.alone.own_rows import FittedAlone, OwnRows, choice_of
from fedhome.learning.fitted import Line
from fedhome.learning.tasks.segments import Floats

_RIDGE = tuple(float(10**power) for power in range(-2, 5))
_LOGISTIC = tuple(float(10**power) for power in range(-3, 3))
_BEYOND = 0.5  # of the range of targets seen: a line goes on for ever, a home's readings do not
_STEPS = 200


def fit(rows: OwnRows, past: Floats | float = 0.0) -> FittedAlone:
    """Return what it states on validation rows and on test rows, and itself.

    Args:
        rows: The home's rows.
        past: What each penalty errs on rows elsewhere, as of
            :func:`fedhome.learning.alone.own_rows.choice_of`.
    """
    if rows.only_one_target():
        return rows.commonest()
    strengths = _LOGISTIC if rows.classes else _RIDGE
    choice = choice_of(rows, tried(rows), past)
    every_x, every_y = rows.together()
    final = _fitted(rows, strengths[choice.best], every_x, rows.labels(every_y))
    test = _within(rows, final, 2)
    return FittedAlone(choice.stated, test, choice.by_others, _plain(rows, final))


def tried(rows: OwnRows) -> list[Floats]:
    """Return what it states of validation rows with each penalty, ``[rows, outputs]`` each.

    Args:
        rows: The home's rows, of more than one target in training.
    """
    x, y = rows.x[0], rows.labels(rows.y[0])
    strengths = _LOGISTIC if rows.classes else _RIDGE
    return [_within(rows, _fitted(rows, strength, x, y), 1) for strength in strengths]


def _plain(rows: OwnRows, model: Any) -> Line:
    """Return a model fitted to training and validation rows as what it computes."""
    if not rows.classes:
        slopes = np.asarray(model.coef_, np.float64).reshape(-1, 1)
        levels = np.asarray(model.intercept_, np.float64).reshape(1)
        within = np.array(_range(rows.labels(rows.together()[1])))
        return Line(slopes, levels, within, np.empty(0, np.int64), rows.outputs)
    slopes, levels = np.asarray(model.coef_, np.float64).T, np.asarray(model.intercept_, np.float64)
    if slopes.shape[1] == 1:  # of two classes the first has no column of its own
        slopes = np.concatenate([np.zeros_like(slopes), slopes], axis=1)
        levels = np.concatenate([np.zeros(1), levels])
    classes = np.asarray(model.classes_, np.int64)
    return Line(slopes, levels, np.zeros(2), classes, rows.outputs)


def _fitted(rows: OwnRows, strength: float, x: Any, y: Any) -> Any:
    kinds = scikit("linear_model")  # that takes a second
    logistic = partial(kinds.LogisticRegression, max_iter=_STEPS)
    model = logistic(C=strength) if rows.classes else kinds.Ridge(strength)
    with warnings.catch_warnings():  # short of its optimum it is still a model, and is scored
        warnings.simplefilter("ignore")
        model.fit(np.asarray(x, np.float64), y)
    return model


def _within(rows: OwnRows, model: Any, part: int) -> Floats:
    """Return what a model states, numbers no further out than half the range that was seen."""
    stated = rows.stated(model, rows.x[part])
    if rows.classes or not len(stated):
        return stated
    seen = rows.labels(rows.y[0] if part == 1 else rows.together()[1])
    return np.clip(stated, *_range(seen))


def _range(seen: Any) -> tuple[float, float]:
    slack = _BEYOND * float(np.ptp(seen))
    return float(seen.min()) - slack, float(seen.max()) + slack
