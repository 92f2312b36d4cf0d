"""From a home's table to examples: lags, weather, calendar; split in time with a gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples, Targets
from fedhome.data.series.local_time import CALENDAR, calendar
from fedhome.data.series.past import Past, whole_rows
from fedhome.data.series.splits import split
from fedhome.data.series.time_grid import grid_of
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.time_steps import DAY_S
from fedhome.plugins import look_up
from fedhome.spelling import did_you_mean

_BLOCK = 16_384  # rows that are cut at once: they stay in the processor's cache
SEASONS_S = (DAY_S, 7 * DAY_S)
"""Seasons of a series, in seconds: what was a day and a week ago is a forecast without learning."""
_FLAT = 1e-6  # a column whose spread is below this says nothing
_STILL = 1e-9  # a target that moves by less, against its size or 1, moves by rounding alone


@dataclass(frozen=True, kw_only=True)
class Windows:
    """A home's rows as inputs and targets, in the units of its columns, in the order of time.

    Args:
        x: Inputs, float64 ``[rows, features]``.
        y: Targets, float64 ``[rows]``.
        naive: Persistence forecasts of a series, else NaN, float64 ``[rows]``.
        time_s: UTC seconds of the predicted moments, int64 ``[rows]``.
        features: Names of the inputs.
        rows_read: Rows of the home's table.
        notes: What was moved, put together or left out on the way, and why, in plain sentences.
        missing: Those of the notes that say what is missing in rows that were left out.
        seasonal: The target of a series :data:`SEASONS_S` earlier, NaN where nothing was read,
            float64 ``[rows, seasons]``; of rows that are no series ``[rows, 0]``.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    naive: NDArray[np.float64]
    time_s: NDArray[np.int64]
    features: tuple[str, ...]
    rows_read: int
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    seasonal: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def rows_whole(self) -> int:
        """Rows in which nothing is missing: those that are here."""
        return len(self.y)


def windows(table: HomeTable, data: DataSettings, columns: Sequence[str]) -> Windows:
    """Cut a home's table into inputs and targets; rows with an unread value are left out.

    Memory is that of the result and of some columns, whatever gaps the readings have.

    Args:
        table: The home's readings.
        data: The plan's settings for data.
        columns: Input columns, as of :func:`~fedhome.data.inputs.columns_of`.

    Raises:
        DataError: A column is missing, or a series that cannot be put on a grid.
    """
    if missing := [name for name in (*columns, data.target) if name not in table.columns]:
        meant = did_you_mean(missing[0], table.columns) if len(missing) == 1 else ""
        raise DataError(
            f"home {table.home!r} lacks the column {', '.join(missing)}{meant}",
            hint="leave the home out, or name the shared columns in data.features",
        )
    past, notes = _past(table, data, columns)
    whole, fell = whole_rows(past, data)
    inputs = past.inputs(data)
    moment = past.time_s[whole]
    timed = data.calendar and not table.timeless
    features = tuple(dict.fromkeys((*inputs, *(CALENDAR if timed else ()))))
    x = np.empty((len(whole), len(features)))
    for begin in range(0, len(whole), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        columns_now = {
            name: values[past.before(steps, whole[block])]
            for name, (values, steps) in inputs.items()
        }
        if timed:
            columns_now |= calendar(moment[block], table.time_zone)
        for place, name in enumerate(features):
            x[block, place] = columns_now[name]
    target = past.columns[data.target]
    naive = np.full(len(whole), np.nan)
    if data.horizon > 0:
        naive = target[past.before(data.horizon, whole)]
    seasonal = [_earlier(past, target, whole, season, data) for season in seasons_of(data)]
    return Windows(
        x=x,
        y=target[whole],
        naive=naive,
        time_s=moment,
        features=features,
        rows_read=table.rows,
        notes=(*notes, *fell),
        missing=fell,
        seasonal=np.stack(seasonal, axis=1) if seasonal else np.empty((len(whole), 0)),
    )


def seasons_of(data: DataSettings) -> tuple[int, ...]:
    """Return the seasons of a plan's series, in seconds; of rows that are no series none."""
    return SEASONS_S if data.horizon > 0 else ()


def _earlier(
    past: Past,
    target: NDArray[np.float64],
    rows: NDArray[np.int64],
    season: int,
    data: DataSettings,
) -> NDArray[np.float64]:
    """Return the target a season before each row; NaN where it was not read, or not known yet."""
    step = past.step_s
    if not step or season % step or season // step < data.horizon:
        return np.full(len(rows), np.nan)
    at = past.before(season // step, rows)
    return np.where(at >= 0, target[at], np.nan)


def _past(
    table: HomeTable, data: DataSettings, columns: Sequence[str]
) -> tuple[Past, tuple[str, ...]]:
    """Return a home's rows, with those before each, and what was done to get them."""
    if data.horizon == 0:
        rows = np.arange(table.rows)
        return Past(table.time_s, rows, table.columns, tuple(columns)), ()
    grid = grid_of(table, data, columns)
    return Past(grid.table.time_s, grid.steps, grid.table.columns, tuple(columns)), grid.notes


def examples(
    table: HomeTable, data: DataSettings, columns: Sequence[str], targets: Targets
) -> HomeExamples:
    """Cut, split and scale a home's table.

    Scales come from the training part alone, so that nothing of the test leaks.

    Args:
        table: The home's readings.
        data: The plan's settings for data.
        columns: Input columns, as of :func:`~fedhome.data.inputs.columns_of`.
        targets: How the task's targets are encoded.

    Raises:
        DataError: Too few rows, a target that never changes, or numbers that are no classes.
        PluginError: No such encoding of targets.
    """
    cut = windows(table, data, columns)
    parts = split(cut.y, cut.time_s, data)
    if len(parts[0]) < data.min_rows or min(len(parts[1]), len(parts[2])) < 1:
        counts = ", ".join(str(len(part)) for part in parts)
        why = "".join(f"; {note}" for note in cut.missing or cut.notes)
        raise DataError(
            f"home {table.home!r} has too few whole rows: {counts} for training, validation, "
            f"test{why}",
            hint=f"at least {data.min_rows} training rows are needed (data.min_rows)",
        )
    order = np.concatenate(parts)
    x, y, naive = cut.x[order], cut.y[order], cut.naive[order]
    train = slice(0, len(parts[0]))
    if float(np.ptp(y[train])) <= _STILL * max(1.0, float(np.abs(y[train]).max())):
        raise DataError(
            f"home {table.home!r}: its target {data.target!r} never changes in training",
            hint="nothing can be learnt from a constant; the home can still use the global model",
        )
    if data.scale == "home":
        spread = x[train].std(axis=0)
        x = (x - x[train].mean(axis=0)) / np.where(spread > _FLAT, spread, 1.0)
    sizes = (len(parts[0]), len(parts[1]), len(parts[2]))
    inputs = np.ascontiguousarray(x, np.float32)
    encode = look_up(_ENCODE, targets, "encoding of targets")
    encoded = encode(_Rows(table.home, inputs, y, naive, sizes, cut.seasonal[order]), data)
    time_s = np.empty(0, np.int64) if table.timeless else cut.time_s[order]
    return replace(encoded, notes=cut.notes, time_s=time_s)


class _Rows(NamedTuple):
    """A home's rows, part after part: inputs as they are learnt from, targets as they came."""

    home: str
    x: NDArray[np.float32]
    y: NDArray[np.float64]
    naive: NDArray[np.float64]
    counts: tuple[int, int, int]
    seasonal: NDArray[np.float64]


def _continuous(rows: _Rows, data: DataSettings) -> HomeExamples:
    y, naive, train = rows.y, rows.naive, slice(0, rows.counts[0])
    unit, middle = 1.0, 0.0
    if data.scale == "home":
        unit, middle = float(y[train].std()), float(y[train].mean())
    if data.horizon == 0:
        naive = np.full(len(y), y[train].mean())
    return HomeExamples(
        home=rows.home,
        x=rows.x,
        y=((y - middle) / unit).astype(np.float32)[:, None],
        naive=((naive - middle) / unit).astype(np.float32),
        counts=rows.counts,
        unit=unit,
        seasonal=((rows.seasonal - middle) / unit).astype(np.float32),
    )


def _binary(rows: _Rows, data: DataSettings) -> HomeExamples:
    del data
    labels = _labels(rows, "binary", most=1)
    return _labelled(rows, labels, labels.astype(np.float32)[:, None])


def _multi_class(rows: _Rows, data: DataSettings) -> HomeExamples:
    del data
    labels = _labels(rows, "multi-class", most=None)
    return _labelled(rows, labels, labels)


_ENCODE: Mapping[str, Callable[[_Rows, DataSettings], HomeExamples]] = {
    "continuous": _continuous,
    "binary": _binary,
    "multi-class": _multi_class,
}


def _labels(rows: _Rows, targets: Targets, *, most: int | None) -> NDArray[np.int64]:
    labels = rows.y.astype(np.int64)
    above = most is not None and labels.max() > most
    if bool((labels != rows.y).any()) or labels.min() < 0 or above:
        raise DataError(
            f"home {rows.home!r}: its target is no {targets} class",
            hint="classes are 0 and 1, or 0, 1, 2, … or text; or set task.kind = 'regression'",
        )
    return labels


def _labelled(
    rows: _Rows, labels: NDArray[np.int64], y: NDArray[np.float32] | NDArray[np.int64]
) -> HomeExamples:
    common = float(np.bincount(labels[: rows.counts[0]]).argmax())
    return HomeExamples(
        home=rows.home,
        x=rows.x,
        y=y,
        naive=np.full(len(labels), common, np.float32),
        counts=rows.counts,
    )
