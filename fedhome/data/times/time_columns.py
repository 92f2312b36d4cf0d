"""Which columns hold the time: those that are named, or what names and cells tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fedhome.data.files.table_file import UNNAMED
from fedhome.data.times.column_cells import are_numbers, is_number_type, plain_column, to_numbers
from fedhome.data.times.column_looks import FIRST_LOOK, SAMPLE, ColumnLook, look_at, sampled
from fedhome.data.times.joined_times import PARTS, are_years
from fedhome.data.times.time_names import (
    PART_NAMES,
    are_year_and_span,
    is_exact_clock,
    is_known,
    is_plain,
    is_sure,
    is_year,
    plain_name,
)
from fedhome.data.times.time_numbers import times_of_numbers
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.spelling import did_you_mean

_LEAST_YEARS = 3
INDEX = "__index_level_0__"
"""Name of an index without a name, as pandas writes it."""


@dataclass(frozen=True, kw_only=True)
class TimeColumns:
    """The columns that hold the time of a row.

    Args:
        names: One column; or those of date and clock; or those of year, month, day, ...;
            nothing where rows have no time.
        others: Further columns that hold dates or clock times: they are no readings.
        notes: What was found and what was left out, in plain sentences.
    """

    names: tuple[str, ...]
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_times(rows: pa.Table, settings: ReadingSettings, *, file: str) -> TimeColumns:
    """Find the columns that hold the time of a row.

    Args:
        rows: All columns.
        settings: May name the columns; says how dates are read.
        file: The file's name, for messages.

    Raises:
        SourceError: A column that is named does not exist.
    """
    names = rows.column_names
    if settings.time:
        return _listed(_named(names, settings.time, file), rows, settings)
    looks = [look_at(rows[name], name, settings) for name in names]
    # Under an unknown name, one time in all rows says when something else was.
    usable = [look for look in looks if is_known(look.name) or look.varies]
    moments = [look for look in usable if look.kind == "moment"]
    dates = [look for look in usable if look.kind == "date"]
    clocks = [look for look in looks if look.kind == "clock"]
    parts = _parts(rows, settings)
    if moments:
        best = _best(moments)
        pair = _pair(dates, clocks)
        if pair is None or 2 * best.distinct >= _together(rows, pair):
            return _told(best, looks)
    elif pair := _pair(dates, clocks):
        pass
    elif parts := parts or _year_and_span(rows):
        listed = ", ".join(repr(name) for name in parts)
        return TimeColumns(names=parts, notes=(f"the columns {listed} together are the time",))
    elif dates or (dates := _spans(looks)):
        return _told(_best(dates), looks)
    else:
        return _years(rows, looks) or _none(rows, looks)
    date, clock = pair
    note = f"the columns {date.name!r} and {clock.name!r} together are the time: date and clock"
    others, left = _others((date.name, clock.name), looks)
    return TimeColumns(names=(date.name, clock.name), others=others, notes=(note, *left))


def _spans(looks: Sequence[ColumnLook]) -> list[ColumnLook]:
    """Return the columns of months or weeks, unless these repeat as readings do."""
    spans = [look for look in looks if look.kind == "span"]
    return [look for look in spans if is_sure(look.name) or 2 * look.distinct > 1]


def _listed(names: tuple[str, ...], rows: pa.Table, settings: ReadingSettings) -> TimeColumns:
    looks = [look_at(rows[name], name, settings) for name in rows.column_names if name not in names]
    others, notes = _others(names, looks)
    return TimeColumns(names=names, others=others, notes=notes)


def _others(
    names: tuple[str, ...], looks: Sequence[ColumnLook]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that hold times but are not the time, and a sentence about them."""
    others = tuple(
        look.name
        for look in looks
        if look.name not in names
        and not look.empty
        and look.kind in {"moment", "date", "span", "clock"}
        and not look.hours
    )
    if not others:
        return (), ()
    listed = ", ".join(map(repr, others))
    many = "hold times, too, and were" if len(others) > 1 else "holds times, too, and was"
    return others, (f"{listed} {many} left out",)


def is_clock_column(column: pa.ChunkedArray, name: str, settings: ReadingSettings) -> bool:
    """Tell whether a column holds clock times without a date."""
    return look_at(column, name, settings).kind == "clock"


def _named(names: Sequence[str], wanted: Sequence[str], file: str) -> tuple[str, ...]:
    for name in wanted:
        if name not in names:
            raise SourceError(
                f"{file} has no column {name!r} for its times{did_you_mean(name, names)}",
                hint=f"its columns are: {', '.join(names)}",
            )
    if len(wanted) > len(PARTS):
        raise SourceError(
            f"{len(wanted)} columns are named for the times",
            hint="name one column, or date and clock, or year, month, day, hour and minute",
        )
    return tuple(wanted)


def _best(looks: Sequence[ColumnLook]) -> ColumnLook:
    """Return the column that stands for a row's time, among those that hold times."""
    most = max(look.distinct for look in looks)
    return min((look for look in looks if 2 * look.distinct >= most), key=lambda look: look.rank)


def _pair(
    dates: Sequence[ColumnLook], clocks: Sequence[ColumnLook]
) -> tuple[ColumnLook, ColumnLook] | None:
    """Return the columns of date and clock, if they belong together."""
    if not dates or not clocks:
        return None
    date = min(dates, key=lambda look: look.rank)
    clock = min(clocks, key=lambda look: look.rank)
    # A day's single row can have a clock time for another reason, such as that of its peak.
    repeats = date.distinct < 1
    return (date, clock) if repeats or is_exact_clock(clock.name) else None


def _together(rows: pa.Table, pair: tuple[ColumnLook, ColumnLook]) -> float:
    """Return the share of distinct times among the rows of a pair."""
    date, clock = (rows[look.name].slice(0, SAMPLE) for look in pair)
    both = pa.table({"date": date, "clock": clock})
    groups = both.group_by(["date", "clock"]).aggregate([])
    return float(groups.num_rows / max(len(date), 1))


def _parts(rows: pa.Table, settings: ReadingSettings) -> tuple[str, ...]:
    """Return the columns of year, month, day and what follows; nothing unless these three are."""
    by_name = {plain_name(name): name for name in reversed(rows.column_names)}
    found: list[str] = []
    for part in PARTS:
        name = next((by_name[one] for one in PART_NAMES[part] if one in by_name), None)
        if name is None:
            break
        cells = sampled(rows[name], FIRST_LOOK, settings)
        numbers = is_number_type(cells.type) or (
            pa.types.is_string(cells.type) and bool(pc.all(are_numbers(cells)).as_py())
        )
        if not numbers or not len(cells):
            break
        found.append(name)
    return tuple(found) if len(found) >= 3 else ()  # noqa: PLR2004  (year, month, day)


def _year_and_span(rows: pa.Table) -> tuple[str, ...]:
    """Return the columns of year and month, or week, if no two rows have the same of both."""
    years = [name for name in rows.column_names if plain_name(name) in PART_NAMES["year"]]
    for year, part in product(years, rows.column_names):
        if are_year_and_span((year, part)):
            both = rows.select([year, part]).group_by([year, part]).aggregate([])
            if both.num_rows == rows.num_rows > 1:
                return year, part
    return ()


def _years(rows: pa.Table, looks: Sequence[ColumnLook]) -> TimeColumns | None:
    """Return a column of years that rise or fall from row to row; None where there is none.

    Years that repeat, or go to and fro, are those of something else: of a birth, or of a building.
    """
    if rows.num_rows < _LEAST_YEARS or any(is_plain(one.name) and not one.empty for one in looks):
        return None
    for name in rows.column_names:
        if is_year(name) and are_years(rows[name]):
            apart = np.diff(to_numbers(plain_column(rows[name])))
            if bool((apart > 0).all() or (apart < 0).all()):
                told = f"the years in {name!r} follow each other: they were taken for the time, as"
                return TimeColumns(names=(name,), notes=(f"{told} their first days",))
    return None


def _told(best: ColumnLook, looks: Sequence[ColumnLook]) -> TimeColumns:
    """Return a column, and a sentence unless every user would have expected it."""
    notes = []
    if not is_plain(best.name):
        reason = "its name says so" if is_known(best.name) else "it holds times"
        called = "the first column, which has no name," if best.name == UNNAMED else repr(best.name)
        notes.append(f"{called} was taken for the time: {reason}")
    others, left = _others((best.name,), looks)
    return TimeColumns(names=(best.name,), others=others, notes=(*notes, *left))


def _none(rows: pa.Table, looks: Sequence[ColumnLook]) -> TimeColumns:
    # Under such a name text that cannot be read is a fault, which reading it will name.
    steps = [look for look in looks if is_plain(look.name) and (look.hours or look.kind == "steps")]
    faulty = [look for look in looks if is_plain(look.name) and look not in steps]
    unread = next(iter(faulty or [look for look in looks if look.kind == "unread"]), None)
    if unread is not None:
        return TimeColumns(names=(unread.name,))
    notes = [
        f"the column {look.name!r} holds numbers that count steps and is no time" for look in steps
    ]
    notes.append("no column of times was found: rows keep their order and are numbered")
    notes.extend(
        f"the numbers in {name!r} would be {written}: if they are, data.time = {json.dumps(name)} "
        "takes them for the time"
        for name in rows.column_names
        if (written := _rising_epochs(rows[name]))
    )
    return TimeColumns(names=(), notes=tuple(notes))


def _rising_epochs(column: pa.ChunkedArray) -> str:
    """Return as which times since 1970 numbers follow each other; empty unless they do."""
    cells = plain_column(column)
    text = pa.types.is_string(cells.type)
    if cells.null_count or not (text or is_number_type(cells.type)):
        return ""
    if text and not pc.all(are_numbers(cells)).as_py():
        return ""
    numbers = to_numbers(cells)
    found = times_of_numbers(numbers) if len(numbers) > 1 else None
    apart = np.diff(numbers)
    follow = bool((apart > 0).all() or (apart < 0).all())
    return found.format if found is not None and found.aware and follow else ""
