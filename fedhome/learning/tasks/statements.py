"""What models state of a row, so that they can be compared and mixed: numbers or probabilities.

A network puts out logits where there are classes, a tree puts out probabilities, the forecast
without learning names a class. As statements all of them are alike: a number, the probability of
a yes, or a probability for each class. A weighted mean of statements is a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.learning.tasks.segments import Floats, Segments

_LEAST = 1e-6  # a probability of nothing has no logit

Labels = NDArray[np.float32] | NDArray[np.int64]


class Encoding(NamedTuple):
    """How targets of one kind are stated.

    Args:
        stated: From raw outputs ``[rows, outputs]`` to statements ``[rows, outputs]``.
        output: From statements back to raw outputs.
        truth: From targets to the statements that would be right: targets, number of outputs.
        wrong: How wrong statements are, row by row ``[rows]``: targets, statements, whose rows.
    """

    stated: Callable[[Floats], Floats]
    output: Callable[[Floats], Floats]
    truth: Callable[[Labels, int], Floats]
    wrong: Callable[[Labels, Floats, Segments], Floats]


def _as_it_is(numbers: Floats) -> Floats:
    return numbers


def _numbers(y: Labels, outputs: int) -> Floats:
    truth = np.asarray(y, np.float64)
    if truth.ndim > 1 and truth.shape[1] > 1:  # of several horizons each output has its own
        return truth
    return np.repeat(truth.reshape(len(y), 1), outputs, axis=1)


def _squared(y: Labels, stated: Floats, segments: Segments) -> Floats:
    del segments
    error: Floats = np.mean((stated - _numbers(y, stated.shape[1])) ** 2, axis=1)
    return error


def _yes(logits: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # of a model that diverged
        return np.asarray(np.exp(-np.logaddexp(0.0, -logits)), np.float64)


def _logit(stated: Floats) -> Floats:
    inside = np.clip(stated, _LEAST, 1.0 - _LEAST)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float64)


def _balanced(y: Labels, stated: Floats, segments: Segments) -> Floats:
    """Return 1 for a mistake, so weighted that both classes of a home count alike."""
    truth = np.asarray(y, np.float64).reshape(-1)
    mistakes = ((stated[:, 0] > 0.5) != (truth > 0.5)).astype(np.float64)  # noqa: PLR2004
    positives = segments.sum(truth)
    rows = segments.counts.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_yes = np.where(positives > 0, rows / (2 * positives), 0.0)
        of_no = np.where(rows > positives, rows / (2 * (rows - positives)), 0.0)
    both = (positives > 0) & (positives < rows)
    weight = np.where(truth > 0.5, segments.spread(of_yes), segments.spread(of_no))  # noqa: PLR2004
    weighted: Floats = mistakes * np.where(segments.spread(both.astype(float)) > 0, weight, 1.0)
    return weighted


def _shares(logits: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # of a model that diverged
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)


def _logarithms(stated: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(stated, _LEAST)), np.float64)


def _one_hot(y: Labels, outputs: int) -> Floats:
    return np.asarray(np.eye(outputs)[np.asarray(y, np.int64).reshape(-1)], np.float64)


def _mistaken(y: Labels, stated: Floats, segments: Segments) -> Floats:
    del segments
    return np.asarray(np.argmax(stated, axis=1) != np.asarray(y).reshape(-1), np.float64)


ENCODINGS: Mapping[Targets, Encoding] = {
    "continuous": Encoding(_as_it_is, _as_it_is, _numbers, _squared),
    "binary": Encoding(_yes, _logit, _numbers, _balanced),
    "multi-class": Encoding(_shares, _logarithms, _one_hot, _mistaken),
}
"""By how targets are encoded. What is wrong orders models as their score does: squared errors, or
mistakes (of two classes so weighted that both count alike)."""


def finite_or(stated: Floats, naive: Floats) -> Floats:
    """Return statements; what is said without learning where a row's are not finite."""
    return np.where(np.isfinite(stated).all(axis=1, keepdims=True), stated, naive)
