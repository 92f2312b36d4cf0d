"""From a home's table to examples: lags, weather, calendar; split in time with a gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.examples import HomeExamples, Targets
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plugins import look_up
from fedhome.spelling import did_you_mean

_HOUR_S = 3600
_DAY_S = 86_400
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
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    naive: NDArray[np.float64]
    time_s: NDArray[np.int64]
    features: tuple[str, ...]


def windows(table: HomeTable, data: DataSettings, columns: Sequence[str]) -> Windows:
    """Cut a home's table into inputs and targets; rows with an unread value are left out.

    Args:
        table: The home's readings.
        data: The plan's settings for data.
        columns: Input columns, as of :func:`~fedhome.data.inputs.columns_of`.

    Raises:
        DataError: A column is missing, or a series whose times lie on no regular grid.
    """
    if missing := [name for name in (*columns, data.target) if name not in table.columns]:
        meant = did_you_mean(missing[0], table.columns) if len(missing) == 1 else ""
        raise DataError(
            f"home {table.home!r} lacks the column {', '.join(missing)}{meant}",
            hint="leave the home out, or name the shared columns in data.features",
        )
    if data.horizon == 0:
        now = {name: table.columns[name] for name in columns}
        target, moment = table.columns[data.target], table.time_s
        naive = np.full(len(target), np.nan)
    else:
        steps, step_s = _grid(table)
        series = _regular(table.columns[data.target], steps)
        at = np.arange(data.horizon, len(series))  # the predicted moments, on the grid
        now = {name: _regular(table.columns[name], steps)[at - data.horizon] for name in columns}
        for lag in data.lags:
            now[f"{data.target} {lag} before"] = np.where(
                at >= lag, series[np.maximum(at - lag, 0)], np.nan
            )
        target, naive = series[at], series[at - data.horizon]
        moment = table.time_s[0] + at * step_s
    if data.calendar and not table.timeless:
        now |= _calendar(moment, table.time_zone)
    x = np.stack(list(now.values()), axis=1) if now else np.zeros((len(target), 0))
    whole = np.isfinite(x).all(axis=1) & np.isfinite(target)
    if data.horizon > 0:
        whole &= np.isfinite(naive)  # a skill is measured against persistence on the same rows
    return Windows(
        x=x[whole], y=target[whole], naive=naive[whole], time_s=moment[whole], features=tuple(now)
    )


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
    parts = _split(cut, data)
    if len(parts[0]) < data.min_rows or min(len(parts[1]), len(parts[2])) < 1:
        counts = ", ".join(str(len(part)) for part in parts)
        raise DataError(
            f"home {table.home!r} has too few whole rows: {counts} for training, validation, test",
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
    return encode(_Rows(table.home, inputs, y, naive, sizes), data)


class _Rows(NamedTuple):
    """A home's rows, part after part: inputs as they are learnt from, targets as they came."""

    home: str
    x: NDArray[np.float32]
    y: NDArray[np.float64]
    naive: NDArray[np.float64]
    counts: tuple[int, int, int]


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


def _split(cut: Windows, data: DataSettings) -> tuple[NDArray[np.int64], ...]:
    rows = np.arange(len(cut.y))
    groups = (
        [rows[cut.y == value] for value in np.unique(cut.y)] if data.split_by == "class" else [rows]
    )
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for group in groups:
        history, test = _cut(group, data.split[0] + data.split[1], data.gap)
        if data.history_days is not None and len(history):
            edge = cut.time_s[history[-1]] - data.history_days * _DAY_S
            history = history[cut.time_s[history] > edge]
        share = data.split[0] / (data.split[0] + data.split[1])
        for part, some in zip(parts, (*_cut(history, share, data.gap), test), strict=True):
            part.append(some)
    train, validation, test = (np.concatenate(part) for part in parts)
    return train, validation, test


def _cut(
    rows: NDArray[np.int64], share: float, gap: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut rows in two, with a gap cut from the end of the first part.

    A gap never eats more than a tenth of a small group.
    """
    split = round(len(rows) * share)
    return rows[: max(split - min(gap, len(rows) // 10), 0)], rows[split:]


def _grid(table: HomeTable) -> tuple[NDArray[np.int64], int]:
    """Return each row's index on a regular grid, and the grid's step in seconds."""
    if table.rows < 3:  # noqa: PLR2004 - no step can be seen in two rows
        raise DataError(
            f"home {table.home!r} has {table.rows} rows: too few for a series",
            hint="set data.horizon = 0 for rows that do not follow each other in time",
        )
    gaps = np.diff(table.time_s)
    step_s = int(np.median(gaps))
    late = (table.time_s - table.time_s[0]) % step_s
    if bool((late != 0).any()):
        raise DataError(
            f"home {table.home!r}: its rows do not lie on a regular grid of {step_s} s",
            hint="resample the readings to a fixed step, or set data.horizon = 0",
        )
    return (table.time_s - table.time_s[0]) // step_s, step_s


def _regular(column: NDArray[np.float64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    dense = np.full(int(steps[-1]) + 1, np.nan)
    dense[steps] = column
    return dense


def _calendar(time_s: NDArray[np.int64], zone: str) -> dict[str, NDArray[np.float64]]:
    """Hour and weekday of UTC moments in the home's own zone, as points on circles."""
    try:
        local = pc.local_timestamp(pa.array(time_s, pa.int64()).cast(pa.timestamp("s", tz=zone)))
    except pa.ArrowInvalid:
        raise DataError(
            f"{zone!r} is not a time zone", hint="use an IANA name such as Europe/Berlin"
        ) from None
    second = local.cast(pa.int64()).to_numpy(zero_copy_only=False)
    hour = 2 * np.pi * (second % _DAY_S) / _DAY_S
    weekday = (second // _DAY_S + 3) % 7  # day 0, 1970-01-01, was a Thursday; Monday is 0
    week = 2 * np.pi * (second / _DAY_S + 3) / 7
    return {
        "hour sin": np.sin(hour),
        "hour cos": np.cos(hour),
        "half-day sin": np.sin(2 * hour),
        "half-day cos": np.cos(2 * hour),
        "week sin": np.sin(week),
        "week cos": np.cos(week),
        "weekend": (weekday >= 5).astype(np.float64),  # noqa: PLR2004
    }
