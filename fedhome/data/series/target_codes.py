"""A home's targets as a task learns them: standardised numbers, 0 and 1, or numbers of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples, Targets
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings

_STILL = 1e-9  # a target that moves by less, against its size or 1, moves by rounding alone
_ROUNDED = 4 * float(np.finfo(np.float64).eps)  # of a level, how far rounding moves its changes


class HomeRows(NamedTuple):
    """A home's rows, part after part: inputs as they are learnt from, targets as they came.

    Of several horizons ``y`` is ``[rows, horizons]``, and ``seasonal`` has a last axis of these.
    """

    home: str
    x: NDArray[np.float32]
    y: NDArray[np.float64]
    naive: NDArray[np.float64]
    counts: tuple[int, int, int]
    seasonal: NDArray[np.float64]


def _continuous(rows: HomeRows, data: DataSettings) -> HomeExamples:
    y, naive = rows.y, rows.naive
    train = y[: rows.counts[0]]
    unit, middle = 1.0, 0.0
    notes: tuple[str, ...] = ()
    if _still(train):
        notes = (_never_changes(data.target, "value", _VALUE),)
    if not data.series:
        naive = np.full(len(y), train.mean())
    seasonal, anchors = rows.seasonal, np.empty(0)
    if data.changes:
        anchors, naive = naive, np.zeros(len(y))
        y, seasonal = _above(y, anchors), _above(seasonal, anchors)
    if data.scale == "home":
        train = y[: rows.counts[0]]
        unit, middle = _unit(y, rows.counts, float(np.abs(rows.y).max())), float(train.mean())
    scaled = ((y - middle) / unit).astype(np.float32)
    return HomeExamples(
        home=rows.home,
        x=rows.x,
        y=scaled[:, None] if scaled.ndim == 1 else scaled,
        naive=((naive - middle) / unit).astype(np.float32),
        counts=rows.counts,
        unit=unit,
        middle=middle,
        notes=notes,
        seasonal=((seasonal - middle) / unit).astype(np.float32),
        anchors=anchors / unit,
    )


def _above(values: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    return values - anchors.reshape(-1, *[1] * (values.ndim - 1))


def _unit(y: NDArray[np.float64], counts: tuple[int, int, int], largest: float) -> float:
    """Return what targets are measured in: their spread in training.

    Where they never change there, the validation rows may tell more; if not, it is 1. Changes of a
    level that is ``largest`` are rounded as that is.
    """
    train, validation, _ = counts
    for known in (y[:train], y[: train + validation]):
        if not _still(known, _ROUNDED * largest):
            return float(known.std())
    return 1.0


def _still(y: NDArray[np.float64], rounded: float = 0.0) -> bool:
    return bool(float(np.ptp(y)) <= max(_STILL * max(1.0, float(np.abs(y).max())), rounded))


_VALUE = "ends with that value if it does not change in validation either"
_MIXED = "mixes what the fleet knows with that class"


def _never_changes(target: str, what: str, ends: str) -> str:
    """Return a note that does not say what it always is: a home's log shows no readings."""
    return (
        f"its target {target!r} never changes in training (always the same {what}): it takes part, "
        f"and {ends}"
    )


def _binary(rows: HomeRows, data: DataSettings) -> HomeExamples:
    labels = _labels(rows, "binary", most=1)
    return _labelled(rows, labels, labels.astype(np.float32)[:, None], data)


def _multi_class(rows: HomeRows, data: DataSettings) -> HomeExamples:
    labels = _labels(rows, "multi-class", most=None)
    return _labelled(rows, labels, labels, data)


ENCODE: Mapping[str, Callable[[HomeRows, DataSettings], HomeExamples]] = {
    "continuous": _continuous,
    "binary": _binary,
    "multi-class": _multi_class,
}
"""How targets are encoded, by name."""


def _labels(rows: HomeRows, targets: Targets, *, most: int | None) -> NDArray[np.int64]:
    labels = rows.y.astype(np.int64)
    above = most is not None and labels.max() > most
    if bool((labels != rows.y).any()) or labels.min() < 0 or above:
        raise DataError(
            f"home {rows.home!r}: its target is no {targets} class",
            hint="classes are 0 and 1, or 0, 1, 2, … or text; or set task.kind = 'regression'",
        )
    return labels


def _labelled(
    rows: HomeRows,
    labels: NDArray[np.int64],
    y: NDArray[np.float32] | NDArray[np.int64],
    data: DataSettings,
) -> HomeExamples:
    train = labels[: rows.counts[0]]
    common = float(np.bincount(train).argmax())
    notes: tuple[str, ...] = ()
    if bool((train == train[0]).all()):
        notes = (_never_changes(data.target, "class", _MIXED),)
    return HomeExamples(
        home=rows.home,
        x=rows.x,
        y=y,
        naive=np.full(len(labels), common, np.float32),
        counts=rows.counts,
        notes=notes,
    )
