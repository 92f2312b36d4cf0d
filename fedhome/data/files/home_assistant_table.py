"""Home Assistant's database as a table: a row an hour (or five minutes), a column an entity.

Numbers are the means that Home Assistant keeps of each hour for years, counters what they counted
in it, and all other states the last of the hour, as far back as its recorder goes (ten days, where
nobody has set more).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.columns.units import unit_named
from fedhome.data.files.held_states import RowSpans
from fedhome.data.files.home_assistant_database import read_whole, version_of
from fedhome.data.files.home_assistant_entities import is_name
from fedhome.data.files.home_assistant_states import (
    BETWEEN,
    FETCHED,
    EntityColumn,
    StatesReader,
)
from fedhome.data.files.packed_files import Source
from fedhome.data.files.table_file import FileTable, unreadable
from fedhome.data.told_once import some
from fedhome.plan.time_steps import step_seconds

TIME: Final = "time"
"""The column of times; the name of an entity has a dot in it."""

FORMAT: Final = "database of Home Assistant"
NO_READINGS: Final = (
    "Home Assistant's recorder has to keep readings of two hours at least: of sensors whose state "
    "is a number, or of switches, lights and the like; those with a state_class it keeps for "
    "years, as statistics"
)
"""What a database needs that holds too few rows."""

_HOUR_S = 3600
_SHORT_S = 300
_TABLES = {_HOUR_S: "statistics", _SHORT_S: "statistics_short_term"}
_SPAN_WORDS = {_HOUR_S: "an hour", _SHORT_S: "five minutes"}
_SILENT_HOURS = 24  # of which none has anything written: Home Assistant did not run
_MOST_CELLS = 50_000_000
_LEFT_OUT = {
    "other": "as such entities are no readings",
    "time": "as their states are times",
    "text": "as their states may be any text (one with the device class enum is read)",
    "counter": "as they count up, and Home Assistant keeps no statistics of them",
}


class _Kept(NamedTuple):
    """A series of which Home Assistant keeps statistics: its column, unit, and if it counts up."""

    name: str
    unit: str
    counts: bool


def read_home_assistant(
    source: Source, *, step: str = "", used: Collection[str] | None = None
) -> Sequence[FileTable]:
    """Read Home Assistant's database, also while Home Assistant writes it.

    Args:
        source: The file.
        step: The plan's ``data.step``: where it is shorter than an hour, rows are of five minutes.
        used: Columns that will be used: others are not read. None: all may be.

    Raises:
        SourceError: It is no such database, cannot be read, or holds too much.
    """
    if source.path is None:
        raise unreadable(source.name, "a database is not read out of an archive", hint="unpack it")
    every_s = _SHORT_S if step and step_seconds(step) < _HOUR_S else _HOUR_S
    read = partial(_read, source.name, every_s, used)
    return [read_whole(source.path, read, name=source.name)]


def _read(
    name: str, every_s: int, used: Collection[str] | None, connection: sqlite3.Connection
) -> FileTable:
    series = _series(connection)
    entities, strange = _entities(connection)
    there = len({*entities.values(), *(one.name for one in series.values())})
    if used is not None:
        series = {number: one for number, one in series.items() if one.name in used}
        entities = {number: one for number, one in entities.items() if one in used}
        strange = 0
    hours = _hours_written(connection)
    statistics = _from(every_s, series, some_alone=used is not None)
    spans = _spans(connection, hours, statistics, every_s)
    width = len({*entities.values(), *(one.name for one in series.values())})
    if width * len(spans.numbers) > _MOST_CELLS:
        raise unreadable(
            name,
            f"{len(spans.numbers):,} rows of {width:,} columns are too many at once",
            hint="have Home Assistant keep less (recorder: exclude, purge_keep_days)",
        )
    columns = _statistics(connection, series, statistics, spans)
    counters = {one.name for one in series.values() if one.counts}
    reader = StatesReader(connection, spans=spans, ends_s=_ends(connection, hours))
    left: dict[str, list[str]] = {}
    for number, entity in entities.items():
        if entity in counters:
            columns[entity] = reader.counted(number, entity, columns[entity])
            continue
        found = reader.column(number, entity, columns.get(entity))
        if isinstance(found, EntityColumn):
            columns[entity] = found
        else:
            left.setdefault(found, []).append(entity)
    columns = dict(sorted(columns.items()))
    notes = [
        *(
            []
            if used is None
            else [f"of {there} entities and series those that are used were read"]
        ),
        *_told(every_s, sorted(counters), _begin(hours, spans)),
        *(note for column in columns.values() for note in column.notes),
        *(f"left out, {_LEFT_OUT[kind]}: {some(sorted(names))}" for kind, names in left.items()),
        *([f"left out, for names that Home Assistant does not give: {strange}"] if strange else []),
    ]
    schema = version_of(connection)
    version = f" (schema {schema})" if schema else ""
    return FileTable(
        name=name,
        rows=_table(spans, columns),
        format=f"{FORMAT}{version}",
        notes=tuple(notes),  # without the file's name: each home has one, and most are called alike
        units={one: unit_named(column.unit) for one, column in columns.items()},
        time=TIME,
    )


def _series(connection: sqlite3.Connection) -> dict[int, _Kept]:
    """Return the series of which statistics are kept, by number."""
    found = connection.execute(
        "SELECT CAST(id AS INTEGER), statistic_id, CAST(unit_of_measurement AS TEXT), "
        "CAST(has_sum AS INTEGER) FROM statistics_meta"
    )
    return {
        number: _Kept(name, unit or "", bool(counts))
        for number, name, unit, counts in found
        if is_name(name)
    }


def _entities(connection: sqlite3.Connection) -> tuple[dict[int, str], int]:
    """Return the entities that have states, by number and in the order of names; and others."""
    found = connection.execute("SELECT CAST(metadata_id AS INTEGER), entity_id FROM states_meta")
    rows = found.fetchall()
    named = sorted(((name, number) for number, name in rows if is_name(name)))
    return {number: name for name, number in named}, len(rows) - len(named)


def _hours_written(connection: sqlite3.Connection) -> NDArray[np.int64]:
    """Return the hours, counted from 1970, in which any state was written."""
    found = connection.execute(
        "SELECT DISTINCT CAST(last_updated_ts / 3600 AS INTEGER) FROM states "
        "WHERE last_updated_ts >= ? AND last_updated_ts < ?",
        BETWEEN,
    )
    return np.unique(np.array([row[0] for row in found], dtype=np.int64))


def _from(every_s: int, series: Mapping[int, _Kept], *, some_alone: bool) -> str:
    """Return the end of a query for statistics; none of its words is from outside."""
    all_of_them = f"FROM {_TABLES[every_s]} WHERE start_ts >= ? AND start_ts < ?"
    numbers = ",".join(map(str, series))  # by an index: slower than one by one where it is all
    return f"{all_of_them} AND metadata_id IN ({numbers})" if some_alone else all_of_them


def _spans(
    connection: sqlite3.Connection,
    hours: NDArray[np.int64],
    statistics: str,
    every_s: int,
) -> RowSpans:
    """Return the rows: spans with statistics, and those of states that have ended."""
    found = connection.execute(
        f"SELECT DISTINCT CAST(start_ts / {every_s} AS INTEGER) {statistics}",
        BETWEEN,
    )
    numbers = [np.array([row[0] for row in found], dtype=np.int64)]
    if len(hours):
        first, last = connection.execute(
            "SELECT min(last_updated_ts), max(last_updated_ts) FROM states "
            "WHERE last_updated_ts >= ? AND last_updated_ts < ?",
            BETWEEN,
        ).fetchone()
        stretches = np.split(hours, np.flatnonzero(np.diff(hours) > _SILENT_HOURS) + 1)
        parts = _HOUR_S // every_s
        for one in stretches:
            within = np.arange(one[0] * parts, (one[-1] + 1) * parts)
            own = (within >= int(first // every_s)) & (within < int(last // every_s))
            numbers.append(within[own])
    return RowSpans(np.unique(np.concatenate(numbers)), every_s)


def _ends(connection: sqlite3.Connection, hours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the moments from which on Home Assistant wrote nothing for a while."""
    silent = hours[:-1][np.diff(hours) > _SILENT_HOURS]
    ends = [float(hour + 1) * _HOUR_S for hour in silent]
    runs = connection.execute(
        'SELECT start, "end", closed_incorrect FROM recorder_runs ORDER BY start'
    ).fetchall()
    for (_, end, torn), (start, _, _) in pairwise(runs):
        ended, begun = _moment(end), _moment(start)
        if begun is not None and (torn or ended is None):  # the end is where the next one began
            ended = connection.execute(
                "SELECT max(last_updated_ts) FROM states WHERE last_updated_ts < ?", (begun,)
            ).fetchone()[0]
        if ended is not None:
            ends.append(float(ended))
    return np.array(sorted(ends), dtype=np.float64)


def _moment(text: object) -> float | None:
    """Return a moment of UTC as Home Assistant writes it, in seconds; None where it is none."""
    try:
        found = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()


def _statistics(
    connection: sqlite3.Connection,
    series: Mapping[int, _Kept],
    statistics: str,
    spans: RowSpans,
) -> dict[str, EntityColumn]:
    """Return what is kept of each series: means, or what was counted."""
    kept = {one.name: one for one in series.values()}
    places = {name: place for place, name in enumerate(kept)}
    values = np.full((len(kept), len(spans.numbers)), np.nan)
    ids = np.array(sorted(series), dtype=np.float64)
    own = np.array([places[series[one].name] for one in sorted(series)], dtype=np.int64)
    counts = np.array([one.counts for one in kept.values()], dtype=bool)
    cursor = connection.execute(
        f"SELECT metadata_id, start_ts, mean, sum {statistics}",
        BETWEEN,
    )
    while rows := cursor.fetchmany(FETCHED):
        cells = np.array(rows, dtype=np.float64)
        known = np.isin(cells[:, 0], ids)
        cells = cells[known]
        column = own[np.searchsorted(ids, cells[:, 0])]
        span = (cells[:, 1] // spans.every_s).astype(np.int64)
        row = np.searchsorted(spans.numbers, span)
        values[column, row] = np.where(counts[column], cells[:, 3], cells[:, 2])
    after = np.append(False, np.diff(spans.numbers) == 1)
    for place in np.flatnonzero(counts).tolist():
        used = np.diff(values[place], prepend=np.nan)
        values[place] = np.where(after, used, np.nan)
    values[~np.isfinite(values)] = np.nan
    return {
        name: EntityColumn(values=values[place], unit=kept[name].unit)
        for name, place in places.items()
    }


def _table(spans: RowSpans, columns: Mapping[str, EntityColumn]) -> pa.Table:
    known = np.zeros(len(spans.numbers), dtype=bool)
    for column in columns.values():
        known |= column.known
    rows = np.flatnonzero(known)
    times = pa.array(spans.numbers[rows] * spans.every_s, pa.timestamp("s", tz="UTC"))
    cells = [column.cells(rows) for column in columns.values()]
    return pa.table([times, *cells], names=[TIME, *columns])


def _begin(hours: NDArray[np.int64], spans: RowSpans) -> str:
    """Return the day on which states begin, where statistics began before; empty otherwise."""
    if not len(hours) or not len(spans.numbers):
        return ""
    if int(spans.numbers[0]) * spans.every_s >= int(hours[0]) * _HOUR_S:
        return ""
    return f"{datetime.fromtimestamp(int(hours[0]) * _HOUR_S, UTC):%Y-%m-%d}"


def _told(every_s: int, counters: Sequence[str], begin: str) -> list[str]:
    span = _SPAN_WORDS[every_s]
    what = f"; of what counts up ({some(counters)}) what it counted" if counters else ""
    told = [f"a row is {span}: the mean of numbers, and the last state of others{what}"]
    if begin:
        told.append(
            f"states go back to {begin}: before, there is what Home Assistant keeps for years, the "
            "numbers that have statistics"
        )
    return told
