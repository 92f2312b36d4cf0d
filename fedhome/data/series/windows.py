"""From a home's table to examples: lags, weather, calendar; split in time with a gap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.clocks import usual_gap
from fedhome.data.series.examples import HomeExamples, RowTally, Targets
from fedhome.data.series.local_time import CALENDAR, OF_THE_WEEK, calendar, knows_a_week
from fedhome.data.series.past import CountedRows, Past, rows_with_past, whole_rows
from fedhome.data.series.scaling import InputScaling, beside, check_sizes
from fedhome.data.series.seasons import seasonal
from fedhome.data.series.spans import spans_of
from fedhome.data.series.splits import AsNew, rehearsal, split
from fedhome.data.series.target_codes import ENCODE, HomeRows
from fedhome.data.series.time_grid import grid_of
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings, Span
from fedhome.plan.time_steps import DAY_S
from fedhome.plugins import look_up
from fedhome.spelling import did_you_mean

ROWS_A_DAY = 24
"""Rows without times that count as a day, where a plan keeps some days of history."""

_BLOCK = 16_384  # rows that are cut at once: they stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Windows:
    """A home's rows as inputs and targets, in the units of its columns, in the order of time.

    Args:
        x: Inputs, float64 ``[rows, features]``; NaN where nothing is known but later readings.
        y: Targets, float64 ``[rows]``; of several horizons ``[rows, horizons]``.
        naive: Persistence forecasts of a series, else NaN, float64 ``[rows]``.
        time_s: UTC seconds of the predicted moments, int64 ``[rows]``; of several horizons those
            of the nearest.
        features: Names of the inputs.
        words: Those of them that say, by 1, that a column holds a word, and by 0 that it does not.
        filled: Of inputs that are missing somewhere: where, ``[rows]``. There, they are the last
            reading of the day before, or NaN.
        gap: Rows to leave out between the parts.
        tally: How many rows there are, and why others do not count.
        notes: What was moved, put together or left out on the way, and why, in plain sentences.
        missing: Those of the notes that say what is missing in rows that were left out.
        seasonal: The target of a series a season earlier, NaN where nothing was
            read, as of :func:`~fedhome.data.series.seasons.seasonal`.
        earlier: Those inputs that are readings of the target from before its newest one.
        later: Steps from the predicted moment to that of each horizon.
        step_s: Seconds of a step; of rows that are no series without meaning.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    naive: NDArray[np.float64]
    time_s: NDArray[np.int64]
    features: tuple[str, ...]
    words: frozenset[str] = frozenset()
    filled: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    gap: int = 0
    tally: RowTally = field(default_factory=RowTally)
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    seasonal: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    earlier: frozenset[str] = frozenset()
    later: tuple[int, ...] = (0,)
    step_s: int = 0


class _Input(NamedTuple):
    """An input of a model: a column some steps before, or whether it holds a word there."""

    name: str
    column: str
    steps: int
    word: int | None = None


def windows(table: HomeTable, data: DataSettings, columns: Sequence[str]) -> Windows:
    """Cut a home's table into inputs and targets.

    Rows without a target do not count. What else is missing is the last reading of the day before
    that moment, or NaN; with ``data.missing = "drop"`` such rows are left out. Memory is that of
    the result and of some columns, whatever gaps the readings have.

    Args:
        table: The home's readings.
        data: The plan's settings for data.
        columns: Input columns, as of :func:`~fedhome.data.input_schema.columns_of`.

    Raises:
        DataError: A column is missing, a series that cannot be put on a grid, or lengths of time
            that are no steps of it.
    """
    past, notes = _checked_past(table, data, columns)
    kept = rows_with_past(past) if data.missing == "impute" else whole_rows(past, columns)
    return _cut(past, kept, _Asked(table, data, columns), notes)


def rows_to_predict(
    table: HomeTable, data: DataSettings, columns: Sequence[str], *, ahead: Span | None = None
) -> Windows:
    """Cut a home's table into inputs of all that can be predicted, whether it came or not.

    Of a series the rows go on for ``data.horizon`` after its last reading, for as far as something
    is known. What is missing is as of :func:`windows`; a target is NaN where it is not known.

    Args:
        table: The home's readings.
        data: The plan's settings for data, which say horizon, lags and gap.
        columns: Input columns.
        ahead: What is predicted lies that far ahead; inputs are as for the plan's horizon all the
            same. None: the plan's own horizons are.

    Raises:
        DataError: As of :func:`windows`.
    """
    past, notes = _checked_past(table, data, columns, ahead)
    past = past.ahead()
    rows = np.arange(len(past.steps))
    if past.spans.horizon:
        rows = np.flatnonzero(past.last_known(past.target, past.spans.horizon) >= 0)
    return _cut(past, CountedRows(rows, (), 0, 0), _Asked(table, data, columns), notes)


def _checked_past(
    table: HomeTable, data: DataSettings, columns: Sequence[str], ahead: Span | None = None
) -> tuple[Past, tuple[str, ...]]:
    if missing := [name for name in (*columns, data.target) if name not in table.columns]:
        meant = did_you_mean(missing[0], table.columns) if len(missing) == 1 else ""
        raise DataError(
            f"home {table.home!r} lacks the column {', '.join(missing)}{meant}",
            hint="leave the home out, or name the shared columns in data.features",
        )
    return _past(table, data, columns, ahead)


class _Asked(NamedTuple):
    """A home's table, and what is to be cut from it."""

    table: HomeTable
    data: DataSettings
    columns: Sequence[str]


def _cut(past: Past, kept: CountedRows, asked: _Asked, notes: tuple[str, ...]) -> Windows:
    table, data, columns = asked
    inputs = list(_inputs(past, table, columns))
    moment = past.time_s[kept.rows]
    timed = data.calendar and not table.timeless
    features = tuple(dict.fromkeys((*(i.name for i in inputs), *(CALENDAR if timed else ()))))
    x = np.empty((len(kept.rows), len(features)))
    filled: dict[str, NDArray[np.bool_]] = {}
    for begin in range(0, len(kept.rows), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        columns_now: dict[str, NDArray[np.float64]] = {}
        for one in inputs:
            columns_now[one.name], lacking = _looked_up(past, one, kept.rows[block])
            if lacking.any():
                filled.setdefault(one.name, np.zeros(len(kept.rows), np.bool_))[block] = lacking
        if timed:
            columns_now |= calendar(moment[block], table.time_zone)
        for place, name in enumerate(features):
            x[block, place] = columns_now[name]
    horizon = past.spans.horizon
    naive = np.full(len(kept.rows), np.nan)
    if horizon > 0:
        naive = past.columns[data.target][past.last_known(data.target, horizon, kept.rows)]
    return Windows(
        x=x,
        y=past.targets(kept.rows),
        naive=naive,
        time_s=moment,
        features=features,
        words=frozenset(one.name for one in inputs if one.word is not None),
        filled=filled,
        gap=past.spans.gap,
        tally=RowTally(
            rows=len(past.time_s),
            without_target=kept.without_target,
            without_past=kept.without_past,
        ),
        notes=(*notes, *kept.notes),
        missing=kept.notes,
        seasonal=seasonal(past, kept.rows, timed=not table.timeless),
        earlier=frozenset(
            one.name for one in inputs if one.column == data.target and one.steps > horizon
        ),
        later=past.spans.later,
        step_s=past.step_s,
    )


def _past(
    table: HomeTable, data: DataSettings, columns: Sequence[str], ahead: Span | None
) -> tuple[Past, tuple[str, ...]]:
    """Return a home's rows, with those before each, and what was done to get them."""
    timeless = table.timeless
    if not data.series:
        if table.rules:
            raise DataError(
                f"home {table.home!r} has rules of its own, for {', '.join(table.rules)}, and a "
                "plan of data.horizon = 0 takes each row by itself",
                hint="take its rules away, or set data.horizon to 1 or more",
            )
        known = table.rows > 1 and not timeless
        step_s = usual_gap(table.time_s) if known else None
        spans = spans_of(data, home=table.home, step_s=step_s)
        held = 0 if timeless else DAY_S
        rows = np.arange(table.rows)
        return Past(table.time_s, rows, table.columns, data.target, spans, held), ()
    grid = grid_of(table, data, columns)
    spans = spans_of(data, home=table.home, step_s=None if timeless else grid.step_s, ahead=ahead)
    past = Past(
        grid.table.time_s,
        grid.steps,
        grid.table.columns,
        data.target,
        spans,
        held=spans.day,
        step_s=grid.step_s,
    )
    return past, grid.notes


def _inputs(past: Past, table: HomeTable, columns: Sequence[str]) -> Iterator[_Input]:
    for name in columns:
        for number, word in enumerate(words := table.labels.get(name, ())):
            yield _Input(f"{name} is {word}", name, past.spans.horizon, number)
        if not words:
            yield _Input(name, name, past.spans.horizon)
    for lag, steps in past.spans.lags:
        yield _Input(f"{past.target} {lag} before", past.target, steps)


def is_own(feature: str, target: str) -> bool:
    """Whether an input is the target's own reading, now or earlier.

    Args:
        feature: The input's name.
        target: The target's.
    """
    return feature == target or (feature.startswith(f"{target} ") and feature.endswith(" before"))


def _looked_up(
    past: Past, one: _Input, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return an input of some rows, and where it had to be filled in.

    A word that is missing, or that the plan does not know, is none of its words.
    """
    found = past.before(one.steps, rows)
    values = np.where(found < 0, np.nan, past.columns[one.column][found])
    if one.word is not None:
        return (values == one.word).astype(np.float64), np.zeros(len(rows), np.bool_)
    lacking = ~np.isfinite(values)
    if lacking.any():
        last = past.last_known(one.column, one.steps, rows[lacking])
        values[lacking] = np.where(last < 0, np.nan, past.columns[one.column][last])
    return values, lacking


def examples(
    table: HomeTable,
    data: DataSettings,
    columns: Sequence[str],
    targets: Targets,
    *,
    as_new: AsNew | None = None,
) -> HomeExamples:
    """Cut, split and scale a home's table.

    Scales, and what stands for inputs of which nothing is known (the median), come from the
    training part alone, so that nothing of the test leaks.

    Args:
        table: The home's readings.
        data: The plan's settings for data.
        columns: Input columns, as of :func:`~fedhome.data.input_schema.columns_of`.
        targets: How the task's targets are encoded.
        as_new: As if the home were new, with these of its training rows: its validation rows stand
            for its test, which stays out of it.

    Raises:
        DataError: Too few rows, numbers that are no classes, or indicators of no input.
        PluginError: No such encoding of targets.
    """
    cut = windows(table, data, columns)
    if unknown := [name for name in data.indicators or () if name not in cut.features]:
        raise DataError(
            f"data.indicators names {', '.join(map(repr, unknown))}, which no model gets"
            f"{did_you_mean(unknown[0], cut.features)}",
            hint=f"its inputs are: {', '.join(cut.features)}",
        )
    moments = cut.time_s * (DAY_S // ROWS_A_DAY) if table.timeless else cut.time_s
    reach = cut.later[-1]
    if as_new is None:
        parts = split(cut.y, moments, data, gap=cut.gap, reach=reach)
    else:
        parts = rehearsal(cut.y, moments, data, gap=cut.gap, reach=reach, as_new=as_new)
    if len(parts[0]) < data.min_rows or min(len(parts[1]), len(parts[2])) < 1:
        counts = ", ".join(str(len(part)) for part in parts)
        why = "".join(f"; {note}" for note in cut.missing or cut.notes)
        raise DataError(
            f"home {table.home!r} has too few whole rows: {counts} for training, validation, "
            f"test{why}",
            hint=f"at least {data.min_rows} training rows are needed: give more readings, or take "
            "fewer rows, --set data.min_rows=N; of a series, fewer data.lags leave more",
        )
    order = np.concatenate(parts)
    x, y, naive = cut.x[order], cut.y[order], cut.naive[order]
    check_sizes(table.home, {data.target: y, **dict(zip(cut.features, x.T, strict=True))})
    sizes = (len(parts[0]), len(parts[1]), len(parts[2]))
    train = slice(0, sizes[0])
    filled = {name: rows[order] for name, rows in cut.filled.items() if rows[order].any()}
    known = np.ones(x[train].shape, np.bool_)
    for name, rows in filled.items():
        known[:, cut.features.index(name)] = ~rows[train]
    features = {name: name in cut.words for name in cut.features}
    changes = data.changes and targets == "continuous"
    timed = data.calendar and not table.timeless
    strange = timed and not knows_a_week(cut.time_s[order][train], table.time_zone)
    scaling = InputScaling.of(
        features,
        x[train],
        known,
        scaled=data.scale == "home",
        last=naive[train],
        relative=np.array([changes and name in cut.earlier for name in cut.features]),
        silent=np.array([strange and name in OF_THE_WEEK for name in cut.features]),
    )
    inputs = scaling.apply(x, naive)
    encode = look_up(ENCODE, targets, "encoding of targets")
    coded = encode(HomeRows(table.home, inputs, y, naive, sizes, cut.seasonal[order]), data)
    return replace(
        coded,
        filled=filled,
        tally=cut.tally,
        notes=(*cut.notes, *coded.notes),
        scaling=scaling,
        time_s=np.empty(0, np.int64) if table.timeless else cut.time_s[order],
        reach_s=cut.later[-1] * cut.step_s,
    )


def with_indicators(home: HomeExamples, indicators: Iterable[str]) -> HomeExamples:
    """Return a home's examples with a column for each of some inputs: 1 where it was filled in.

    Args:
        home: The home's examples.
        indicators: Names of the inputs, the same of all homes.
    """
    return replace(home, x=beside(home.x, home.filled, tuple(indicators)), filled={})
