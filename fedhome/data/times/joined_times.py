"""Times that stand in one column, in two (date and clock), or in one for each part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.month_names import WEEK
from fedhome.data.times.column_cells import (
    are_numbers,
    filled_cells,
    is_number_type,
    plain_column,
    to_numbers,
)
from fedhome.data.times.time_cells import DAY_US, SECOND_US
from fedhome.data.times.time_names import are_year_and_span, is_week, is_year
from fedhome.data.times.time_reading import ColumnTimes, LocationOf, read_clock, read_column
from fedhome.data.times.zones import DAY_S, localise, zone_of
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

PARTS = ("year", "month", "day", "hour", "minute", "second")
"""Parts of a time that may stand in a column each, in this order."""

_WEEK_WORD = rf"(?i)^(?:{WEEK} ?)?(\d\d?)$"
_YEAR = r"^(1[5-9]|2[01])\d\d(\.0+)?$"
_HOUR_US = 3600 * SECOND_US
_PART_LIMITS = ((1, 9999), (1, 12), (1, 31), (0, 24), (0, 59), (0, 59))


def read_times(
    rows: pa.Table, names: Sequence[str], settings: ReadingSettings, *, location_of: LocationOf
) -> ColumnTimes:
    """Read the times of rows from one or more columns.

    Args:
        rows: All columns.
        names: One column of times; or those of date and clock; or those of year and month, or
            week; or those of year, month, day, hour, minute and second, of which the last may be
            missing.
        settings: How dates are to be read, and the zone of times without an offset.
        location_of: Returns where a row is, for messages.

    Raises:
        SourceError: Cells that are no times.
    """
    if len(names) == 1:
        cells = rows[names[0]]
        if is_year(names[0]) and are_years(cells):
            cells = pc.binary_join_element_wise(_whole(plain_column(cells)), "01", "01", "-")
        return read_column(cells, settings, name=names[0], location_of=location_of)
    if are_year_and_span(names):
        return _year_and_span(rows, names, settings, location_of)
    if len(names) == 2:  # noqa: PLR2004  (date and clock)
        return _date_and_clock(rows, names, settings, location_of)
    return _parts(rows, names[: len(PARTS)], settings, location_of)


def are_years(column: pa.ChunkedArray) -> bool:
    """Tell whether whatever a column holds is a whole number of four digits, as years are."""
    column = plain_column(column)
    if not (is_number_type(column.type) or pa.types.is_string(column.type)):
        return False
    cells = pc.utf8_trim_whitespace(column.cast(pa.string()))
    filled = cells.filter(pc.not_equal(cells, ""))
    return bool(pc.all(pc.match_substring_regex(filled, _YEAR), min_count=1).as_py())


def _year_and_span(
    rows: pa.Table, names: Sequence[str], settings: ReadingSettings, location_of: LocationOf
) -> ColumnTimes:
    """Read years, and months or weeks beside them, as what both say together: 2024-03, 2024-W09."""
    year, span = (_whole(plain_column(rows[name])) for name in names)
    year = pc.replace_substring_regex(year, r"^(\d\d)$", r"20\1")
    weeks = is_week(names[1])
    if weeks:  # the column's name says it, and cells may, too: KW 1
        span = pc.utf8_lpad(pc.replace_substring_regex(span, _WEEK_WORD, r"\1"), 2, padding="0")
    both = pc.binary_join_element_wise(year, span, "-W" if weeks else "-")
    joined = " and ".join(names)
    return read_column(both, settings, name=joined, location_of=location_of)


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers as text without a fraction, of two digits at least; text as it is."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.int64(), safe=False)
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    text = pc.replace_substring_regex(text, r"^(\d+)\.0+$", r"\1")
    return pc.if_else(are_numbers(text), pc.utf8_lpad(text, 2, padding="0"), text)


def _date_and_clock(
    rows: pa.Table, names: Sequence[str], settings: ReadingSettings, location_of: LocationOf
) -> ColumnTimes:
    date_name, clock_name = names
    try:
        clock = read_clock(rows[clock_name], settings, name=clock_name, location_of=location_of)
    except SourceError as first:
        clock_name, date_name = names
        try:
            clock = read_clock(rows[clock_name], settings, name=clock_name, location_of=location_of)
        except SourceError:
            raise first from None
    clock_us = np.zeros(rows.num_rows, dtype=np.int64)
    clock_us[clock.rows] = clock.us
    date = read_column(
        rows[date_name], settings, name=date_name, location_of=location_of, clock_us=clock_us
    )
    if date.aware or np.any(date.us % DAY_US):
        raise SourceError(
            f"the column {date_name!r} holds clock times beside its dates",
            hint=f'one column is enough then: data.time = "{date_name}"',
        )
    shared, of_date, of_clock = np.intersect1d(
        date.rows, clock.rows, assume_unique=True, return_indices=True
    )
    if not len(shared):
        raise SourceError(
            f"no row has both a date in {date_name!r} and a clock time in {clock_name!r}",
            hint="data.time names the columns of date and clock",
        )
    days, hours = date.us[of_date], clock.us[of_clock]
    read = replace(
        date,
        us=days + hours,
        rows=shared,
        format=f"{date.format} and {clock.format}",
        notes=(*date.notes, *clock.notes),
    )
    return _counted(read, days, hours, settings, clock_name) if clock.counted else read


def _counted(
    read: ColumnTimes,
    days: NDArray[np.int64],
    hours: NDArray[np.int64],
    settings: ReadingSettings,
    name: str,
) -> ColumnTimes:
    """Take hours that are counted from 1 for the ends of a day's hours, however many it has."""
    notes = (*read.notes, f"the hours in {name!r} are counted from 1 and were read as their ends")
    longer = bool(np.any(hours > DAY_US))
    if longer and not settings.time_zone:
        raise SourceError(
            f"the column {name!r} counts 25 hours on the day on which clocks are set back",
            hint='name the zone in which they are: data.time_zone = "Europe/Madrid"',
        )
    if not settings.time_zone:
        return replace(read, notes=notes)
    zone = zone_of(settings.time_zone)
    dates, place = np.unique(days, return_inverse=True)
    begin = localise(dates // SECOND_US, zone).seconds
    end = localise(dates // SECOND_US + DAY_S, zone).seconds
    most = np.zeros(len(dates), dtype=np.int64)
    np.maximum.at(most, place, hours)
    shorter = (end - begin < DAY_S) & (most < DAY_US) & (most == (end - begin) * SECOND_US)
    if not longer and not shorter.any():
        return replace(read, notes=notes)
    return replace(read, us=begin[place] * SECOND_US + hours, aware=True, notes=notes)


def _parts(
    rows: pa.Table, names: Sequence[str], settings: ReadingSettings, location_of: LocationOf
) -> ColumnTimes:
    numbers = np.full((len(names), rows.num_rows), np.nan)
    for part, name in zip(numbers, names, strict=True):
        cells, places = filled_cells(rows[name], settings)
        part[places] = to_numbers(cells)
    read = np.flatnonzero(np.isfinite(numbers).all(axis=0))
    parts = numbers[:, read].astype(np.int64)
    for part, name, (least, most) in zip(parts, names, _PART_LIMITS, strict=False):
        if not len(read) or part.min() < least or part.max() > most:
            raise SourceError(
                f"the column {name!r} holds no {PARTS[list(names).index(name)]}",
                hint="data.time names one column, or date and clock, or year, month, day, hour "
                "and minute",
            )
    months = (parts[0] - 1970) * 12 + parts[1] - 1
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    begin = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    if np.any(late := parts[2] > after - begin):
        raise SourceError(
            f"{location_of(int(read[np.argmax(late)]))}: the month has no such day as in the "
            f"column {names[2]!r}",
            hint="correct the day, or name the columns of year, month and day in data.time",
        )
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + parts[2] - 1
    us = days * DAY_US
    for part, unit in zip(parts[3:], (_HOUR_US, 60 * SECOND_US, SECOND_US), strict=False):
        us += part * unit
    return ColumnTimes(us=us, rows=read, format=", ".join(PARTS[: len(names)]))
