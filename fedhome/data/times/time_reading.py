"""One column as times on the clock that it was written in: whatever type, whatever format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.data.read_report import length
from fedhome.data.times.column_cells import are_numbers, filled_cells, is_number_type, to_numbers
from fedhome.data.times.date_order import parse_ordered
from fedhome.data.times.time_cells import BAD, CLOCK, SECOND_US, SPAN, Parsed, parse
from fedhome.data.times.time_names import is_span, is_week
from fedhome.data.times.time_numbers import (
    clock_of_numbers,
    cut_to_s,
    few,
    times_of_numbers,
    units_since_1970,
)
from fedhome.data.times.zone_names import Marked, resolved
from fedhome.data.times.zones import known_zone
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

LocationOf = Callable[[int], str]

_SAMPLE = 100_000  # cells that tell whether looking for equal ones pays
NO_DAY = "write the date of each row; a profile of a month's hours is no series in time"
"""What to do about months or weeks beside clock times."""

_WRITE = "write date and time into one column, as in 2024-05-31T14:00:00+02:00"


@dataclass(frozen=True, kw_only=True)
class ColumnTimes:
    """A column's cells as times, in the order of the rows that have one.

    Args:
        us: Microseconds since 1970 (a clock: since midnight), int64 ``[read]``.
        rows: The row of each, int64 ``[read]``.
        aware: Whether they are UTC; otherwise they are a local clock's.
        zone: IANA name of the zone that the column itself names; None if it names none.
        format: How the times were written, in words.
        notes: What was assumed or left out, in plain sentences.
        counted: Of clock times, whether they count a day's hours from 1.
    """

    us: NDArray[np.int64]
    rows: NDArray[np.int64]
    aware: bool = False
    zone: str | None = None
    format: str = ""
    notes: tuple[str, ...] = ()
    counted: bool = False


def read_column(
    column: pa.ChunkedArray,
    settings: ReadingSettings,
    *,
    name: str,
    location_of: LocationOf,
    clock_us: NDArray[np.int64] | None = None,
) -> ColumnTimes:
    """Read a column of times.

    Args:
        column: Text, numbers, dates or timestamps, ``[rows]``.
        settings: How dates are to be read, and the zone of times without an offset.
        name: The column's name, for messages.
        location_of: Returns where a row is, for messages.
        clock_us: Clock times that stand beside dates, in microseconds, int64 ``[rows]``: with
            them the order of the rows can tell the order of day and month.

    Raises:
        SourceError: It holds no times, or times that do not go together.
    """
    cells, rows = filled_cells(column, settings)
    if not len(cells):
        raise SourceError(f"the time column {name!r} is empty", hint="every row needs a time in it")
    if pa.types.is_temporal(cells.type):
        return _from_arrow(cells, rows, name)
    spans = spans_as_text(cells, name)
    if spans is not None:
        cells = spans
    elif is_number_type(cells.type):
        return _from_numbers(cells, None, rows, name)
    if not pa.types.is_string(cells.type):
        raise SourceError(f"the time column {name!r} holds no times", hint=_WRITE)
    distinct, codes = _distinct(cells)
    numeric = 0 if spans is not None else int(pc.sum(are_numbers(distinct)).as_py() or 0)
    if 2 * numeric > len(distinct) and few(len(distinct) - numeric, len(distinct)):
        return _from_numbers(distinct, codes, rows, name)
    notes: list[str] = []
    clock = 0 if clock_us is None else clock_us[rows]
    parsed = parse_ordered(
        distinct,
        settings,
        name=name,
        in_rows=lambda us: (us if codes is None else us[codes]) + clock,
        notes=notes,
    )
    other = _other_spans(parsed, name, notes, beside_clock=clock_us is not None)
    bad = parsed.bad | (parsed.kinds == CLOCK) | other
    kept = _kept(bad if codes is None else bad[codes], rows, name, location_of, notes)
    if kept is None:
        raise _no_time(parsed, codes, rows, name, location_of)
    places = codes if codes is not None else np.arange(len(distinct))
    places = places[kept]
    marked = Marked(
        us=parsed.us,
        marks=parsed.marks,
        names=parsed.names,
        places=places,
        rows=rows[kept],
        offsets=parsed.offsets,
    )
    us, zone, aware = resolved(marked, settings, name=name, location_of=location_of, notes=notes)
    return ColumnTimes(
        us=us,
        rows=rows[kept],
        aware=aware,
        zone=zone,
        format=_usual(parsed),
        notes=tuple(notes),
    )


def spans_as_text(cells: pa.ChunkedArray, name: str) -> pa.ChunkedArray | None:
    """Return numbers such as 202403 or 03.2024 as text where a column's name says months.

    Args:
        cells: Filled cells of any type, ``[cells]``.
        name: The column's name.

    Returns:
        The cells; None where they are something else, or no numbers.
    """
    if not is_span(name) or not len(cells):
        return None
    if pa.types.is_integer(cells.type):
        cells = cells.cast(pa.string())
    elif not pa.types.is_string(cells.type) or not pc.all(are_numbers(cells)).as_py():
        return None
    fits = few(int(np.sum(parse(cells).kinds != SPAN)), len(cells))
    years = pc.match_substring_regex(cells, r"(?:19|20)\d\d(?:\d\d)?$")
    return cells if fits and pc.all(years).as_py() else None


def _other_spans(
    parsed: Parsed, name: str, notes: list[str], *, beside_clock: bool
) -> NDArray[np.bool_]:
    """Return which cells are months among days, or days among months: they begin otherwise.

    Raises:
        SourceError: Weeks by the column's name that read as months: 2024-05; or months or weeks
            beside clock times.
    """
    spans = np.asarray(parsed.kinds == SPAN)
    if not spans.any():
        return spans
    if is_week(name) and parsed.doubtful:
        raise SourceError(
            f"the column {name!r} is called one of weeks, but its cells could be months as well",
            hint="write a week as in 2024-W05, a month as in 2024-05 in a column of another name",
        )
    if 2 * np.sum(spans) <= np.sum(~parsed.bad):
        return spans
    if beside_clock:
        raise SourceError(
            f"the column {name!r} holds months or weeks, which with a clock time beside them are "
            "no times: they do not say the day",
            hint=NO_DAY,
        )
    weeks = any("w" in written for written in parsed.patterns)
    what = "weeks, as ISO 8601 counts them," if weeks else "months or quarters"
    notes.append(f"the {what} in {name!r} were read as their first days")
    return np.asarray(~spans)


def read_clock(
    column: pa.ChunkedArray, settings: ReadingSettings, *, name: str, location_of: LocationOf
) -> ColumnTimes:
    """Read a column of clock times without a date; arguments as of :func:`read_column`.

    Raises:
        SourceError: It holds no clock times.
    """
    cells, rows = filled_cells(column, settings)
    if pa.types.is_time(cells.type):
        us = np.asarray(cells.cast(pa.time64("us")).cast(pa.int64()), dtype=np.int64)
        return ColumnTimes(us=us, rows=rows, format="hh:mm:ss")
    refusal = SourceError(
        f"the column {name!r} holds no clock times",
        hint='data.time names the columns of date and clock: data.time = ["DATE", "HOUR"]',
    )
    if is_number_type(cells.type) or (
        pa.types.is_string(cells.type) and pc.all(are_numbers(cells)).as_py()
    ):
        found = clock_of_numbers(to_numbers(cells))
        if found is None:
            raise refusal
        return ColumnTimes(us=found.us, rows=rows, format=found.format, counted=found.counted)
    if not pa.types.is_string(cells.type):
        raise refusal
    distinct, codes = _distinct(cells)
    parsed = parse(distinct)
    bad = parsed.kinds != CLOCK
    notes: list[str] = []
    kept = _kept(bad if codes is None else bad[codes], rows, name, location_of, notes)
    if kept is None:
        raise refusal
    us = (parsed.us if codes is None else parsed.us[codes])[kept]
    return ColumnTimes(us=us, rows=rows[kept], format=_usual(parsed), notes=tuple(notes))


def _distinct(cells: pa.ChunkedArray) -> tuple[pa.ChunkedArray, NDArray[np.int64] | None]:
    """Return the distinct cells and each row's; the cells as they are where most are distinct."""
    sample = cells.slice(0, _SAMPLE)
    if len(cells) > _SAMPLE and 2 * pc.count_distinct(sample).as_py() > len(sample):
        return cells, None
    encoded = cells.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    return (
        pa.chunked_array([encoded.dictionary]),
        np.asarray(encoded.indices, dtype=np.int64),
    )


def _kept(
    bad: NDArray[np.bool_],
    rows: NDArray[np.int64],
    name: str,
    location_of: LocationOf,
    notes: list[str],
) -> NDArray[np.int64] | None:
    """Return the places of the cells that are times; None if too many are not."""
    count = int(bad.sum())
    if not count:
        return np.arange(len(rows))
    if not few(count, len(rows)):
        return None
    where = location_of(int(rows[np.argmax(bad)]))
    notes.append(
        f"no times stand in {counted(count, 'cell')} of the time column {name!r} (the first: "
        f"{where}); {_their_rows(count)}"
    )
    return np.flatnonzero(~bad)


def _their_rows(count: int) -> str:
    return "its row was left out" if count == 1 else "their rows were left out"


def _no_time(
    parsed: Parsed,
    codes: NDArray[np.int64] | None,
    rows: NDArray[np.int64],
    name: str,
    location_of: LocationOf,
) -> SourceError:
    kinds = parsed.kinds if codes is None else parsed.kinds[codes]
    odd = (kinds == BAD) | (kinds == CLOCK)
    if not odd.any():
        spans = kinds == SPAN
        where = location_of(int(rows[np.argmax(spans != spans[0])]))
        return SourceError(
            f"{where}: some cells in the time column {name!r} are days and some are months or "
            "weeks, this one other than the first",
            hint="write the same of them in every row",
        )
    where = location_of(int(rows[np.argmax(odd)]))
    if not np.any(kinds == BAD):
        return SourceError(
            f"{where}: the cell in the time column {name!r} is no time, but a clock time "
            "without a date",
            hint='name the columns of date and clock: data.time = ["DATE", "HOUR"]',
        )
    return SourceError(
        f"{where}: the cell in the time column {name!r} is no time",
        hint=f"{_WRITE}, or day, month and year in numbers or with the month's name; if the column "
        "is none of times, data.rename gives it a name that says so",
    )


def _from_arrow(cells: pa.ChunkedArray, rows: NDArray[np.int64], name: str) -> ColumnTimes:
    zone = getattr(cells.type, "tz", None)
    try:
        if pa.types.is_timestamp(cells.type):
            ticks = cells.cast(pa.timestamp(cells.type.unit)) if zone is None else cells
            number = np.asarray(ticks.cast(pa.int64()), dtype=np.int64)
            per_second = {"s": 1, "ms": 1_000, "us": SECOND_US, "ns": 10**9}[cells.type.unit]
            us = (
                number // (per_second // SECOND_US)
                if per_second > SECOND_US
                else _times(number, SECOND_US // per_second)
            )
        else:
            moments = cells.cast(pa.timestamp("us"), safe=False)
            us = np.asarray(moments.cast(pa.int64()), dtype=np.int64)
    except (pa.ArrowException, OverflowError, ValueError):
        raise SourceError(
            f"the time column {name!r} holds clock times without a date, or dates out of range",
            hint="write date and time into one column, or name the columns of both: "
            'data.time = ["DATE", "HOUR"]',
        ) from None
    return ColumnTimes(
        us=us,
        rows=rows,
        aware=zone is not None,
        zone=known_zone(str(zone)) if zone else None,
        format="dates" if pa.types.is_date(cells.type) else "timestamps",
    )


def _times(number: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    if len(number) and int(np.abs(number).max()) > np.iinfo(np.int64).max // factor:
        raise OverflowError
    return number * factor


def _from_numbers(
    distinct: pa.ChunkedArray, codes: NDArray[np.int64] | None, rows: NDArray[np.int64], name: str
) -> ColumnTimes:
    numbers = to_numbers(distinct)
    every = numbers if codes is None else numbers[codes]
    found = times_of_numbers(every)
    if found is None and (units := units_since_1970(every)):
        raise SourceError(
            f"the time column {name!r} holds numbers of several units: {' and '.join(units)} since "
            "1970",
            hint="write all of them in one unit",
        )
    if found is None:
        raise SourceError(
            f"the time column {name!r} holds numbers that are no times since 1970",
            hint="write times as 2024-05-31T14:00:00+02:00, as seconds or milliseconds since "
            "1970, or rename the column if it only counts rows",
        )
    if cut := cut_to_s(distinct, found):
        raise SourceError(
            f"the numbers in the time column {name!r} were cut to {length(round(cut))}: digits of "
            "them are lost",
            hint="export them again with all digits: a spreadsheet saves what it shows, so give "
            "the column a format that shows seconds before saving, or do not open it there",
        )
    notes: tuple[str, ...] = ()
    if bad := int(found.bad.sum()):
        cells = f"{counted(bad, 'cell')} of the time column {name!r}"
        notes = (f"no times stand in {cells}; {_their_rows(bad)}",)
    read = ColumnTimes(us=found.us, rows=rows, aware=found.aware, format=found.format, notes=notes)
    return replace(read, us=found.us[~found.bad], rows=rows[~found.bad]) if bad else read


def _usual(parsed: Parsed) -> str:
    return max(parsed.patterns, key=lambda written: parsed.patterns[written], default="")
