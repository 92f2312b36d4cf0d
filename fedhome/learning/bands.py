"""How sure a home's predictions are: bands around numbers, calibrated probabilities of classes.

A band reaches from a prediction as far as the truth lay from predictions that were made of
validation rows by a mixture that was not fitted to them. It holds four of five truths where rows to
come are like validation rows (exchangeable with them); a home that changes breaks that, and the
coverage on test rows, which every run measures, shows it.

Sources: Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005 (split-conformal
bands); Guo et al., "On calibration of modern neural networks", ICML 2017 (temperature, and the
expected calibration error).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.tasks.segments import Floats

LEVEL: Final = 0.8
"""A band goes from the 10th to the 90th percentile of what may come."""
_DAY_S, _QUARTERS = 86_400, 4
_ROWS_A_QUARTER = 20
_OUR_DAYS_S = 600_000_000  # rows that are numbered lie before
_TEMPERATURES = np.exp(np.linspace(-1.5, 1.5, 31))
_PRIOR_ROWS = 10.0  # a temperature departs from 1 as if this many rows spoke for 1
_BINS = 10
_LEAST = 1e-6
_ROUNDING = 1e-9  # a tenth of twenty rows is two


class Reach(NamedTuple):
    """How far a band reaches below and above predictions, in each quarter of the UTC day.

    ``low`` and ``high`` are ``[4]`` each, of several horizons ``[4, horizons]``, and are added to a
    prediction.
    """

    low: Floats
    high: Floats

    def at(self, wanted: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return how far it reaches at some moments, ``[rows]`` each, or ``[rows, horizons]``.

        Args:
            wanted: UTC seconds of the rows to predict, or their numbers.
        """
        quarter = _quarters(wanted)
        return self.low[quarter], self.high[quarter]


def reach(residuals: Floats, times: NDArray[np.int64]) -> Reach:
    """Return how far a band reaches.

    Args:
        residuals: The truth less the prediction on validation rows ``[rows]``; of several horizons
            ``[rows, horizons]``, and each has a band of its own.
        times: UTC seconds of these rows, or their numbers ``[rows]``: each quarter of the day has
            a band of its own where every one has twenty rows.
    """
    if residuals.ndim > 1:
        of_each = [reach(column, times) for column in residuals.T]
        return Reach(*(np.stack(ends, axis=1) for ends in zip(*of_each, strict=True)))
    quarter = _quarters(times)
    counts = np.bincount(quarter, minlength=_QUARTERS)
    apart = bool((counts >= _ROWS_A_QUARTER).all()) and int(times.max()) >= _OUR_DAYS_S
    each = [
        _reach(residuals[quarter == number] if apart else residuals) for number in range(_QUARTERS)
    ]
    low, high = np.array(each).T
    return Reach(low, high)


def _quarters(times: NDArray[np.int64]) -> NDArray[np.int64]:
    return (times % _DAY_S) * _QUARTERS // _DAY_S


def _reach(residuals: Floats) -> tuple[float, float]:
    """Return the ranks of residuals between which a new one lies with the level's chance.

    Of too few for the rank there are the least and the greatest.
    """
    ordered = np.sort(residuals)
    rows = len(ordered)
    tail = (1.0 - LEVEL) / 2
    above = min(int(np.ceil((rows + 1) * (1.0 - tail) - _ROUNDING)), rows) - 1
    below = max(int(np.floor((rows + 1) * tail + _ROUNDING)), 1) - 1
    return float(ordered[below]), float(ordered[above])


def temperature(stated: Floats, truth: Floats) -> float:
    """Return what to divide logarithms of probabilities by, so that they are as sure as they ought.

    Args:
        stated: Probabilities of validation rows ``[rows, classes]``, or of a yes ``[rows, 1]``.
        truth: What would be right, of the same shape.
    """
    losses = [
        len(stated) * nll(cooled(stated, t), truth) + _PRIOR_ROWS * np.log(t) ** 2
        for t in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def cooled(stated: Floats, heat: float) -> Floats:
    """Return probabilities at a temperature, of the shape that they came in."""
    whole = np.maximum(_whole(stated), _LEAST) ** (1.0 / heat)
    shares = whole / whole.sum(axis=1, keepdims=True)
    return np.asarray(shares if stated.shape[1] > 1 else shares[:, 1:], np.float64)


def nll(stated: Floats, truth: Floats) -> float:
    """Return the mean negative logarithm of the probability that the truth had."""
    had = np.sum(_whole(stated) * _whole(truth), axis=1)
    return float(-np.mean(np.log(np.maximum(had, _LEAST))))


def calibration_error(stated: Floats, truth: Floats) -> float:
    """Return by how much the surest class's probability and its share of hits differ, on average.

    Over ten bins of the probability, each counting as often as it has rows.
    """
    whole = _whole(stated)
    sure = whole.max(axis=1)
    hit = np.argmax(whole, axis=1) == np.argmax(_whole(truth), axis=1)
    bins = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    gaps = [
        abs(float(np.sum(sure[bins == number] - hit[bins == number]))) for number in range(_BINS)
    ]
    return sum(gaps) / max(len(sure), 1)


def _whole(stated: Floats) -> Floats:
    """Return probabilities of every class: of two, the first is what the second leaves."""
    if stated.shape[1] > 1:
        return stated
    return np.concatenate([1.0 - stated, stated], axis=1)
