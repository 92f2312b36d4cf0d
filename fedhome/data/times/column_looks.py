"""What a sample of a column's cells shows: times, parts of times, or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.date_like import is_date_like
from fedhome.data.times.column_cells import are_numbers, filled_cells, is_number_type, to_numbers
from fedhome.data.times.time_cells import CLOCK, DATE, DAY_US, MOMENT, SPAN, parse
from fedhome.data.times.time_names import (
    is_clock,
    is_exact_clock,
    is_known,
    is_plain,
    is_span,
    is_sure,
    may_be_days,
    may_be_numbers,
    rank,
)
from fedhome.data.times.time_numbers import (
    SHEET_DAYS,
    NumberTimes,
    clock_of_numbers,
    few,
    times_of_numbers,
)
from fedhome.data.times.time_reading import spans_as_text
from fedhome.plan.reading_settings import ReadingSettings

SAMPLE = 20_000
"""Cells, evenly spread, that stand for a column."""

FIRST_LOOK = 500
"""Cells that tell what to look for."""

_MOST_STEPS = 10_000_000  # more are no count of rows


@dataclass(frozen=True, kw_only=True)
class ColumnLook:
    """What a sample of a column's cells shows.

    Args:
        name: The column's name.
        kind: ``moment``, ``date``, ``span`` (months, weeks), ``clock``, ``steps`` (numbers, no
            time), ``unread`` (as a time, which it must be) or nothing.
        distinct: Share of distinct cells.
        cells: How many are in the sample.
        aware: Whether its times carry an offset or are numbers since 1970.
        empty: Whether it holds nothing.
        hours: Whether it is a clock in numbers, which may as well be a reading.
    """

    name: str
    kind: str
    distinct: float = 0
    cells: int = 0
    aware: bool = False
    empty: bool = False
    hours: bool = False

    @property
    def varies(self) -> bool:
        """Whether there is more than one distinct cell, or a single row."""
        return self.distinct * self.cells > 1 or self.cells == 1

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int]:
        """By what columns are sorted: the one that stands for a row's time first."""
        return rank(self.name, aware=self.aware)


def look_at(column: pa.ChunkedArray, name: str, settings: ReadingSettings) -> ColumnLook:
    """Look at a sample of a column.

    Args:
        column: All of it, of any type, ``[rows]``.
        name: Its name.
        settings: How dates are read.
    """
    kind = column.type
    if pa.types.is_temporal(kind) and not pa.types.is_duration(kind):
        return _of_type(column, name)
    cells = sampled(column, FIRST_LOOK, settings)
    if not len(cells):
        return ColumnLook(name=name, kind="moment" if is_plain(name) else "", empty=True)
    if (spans := spans_as_text(cells, name)) is not None:
        return ColumnLook(name=name, kind="span", distinct=_distinct(spans), cells=len(spans))
    text = pa.types.is_string(cells.type)
    if is_number_type(cells.type) or (text and _mostly(are_numbers(cells))):
        return _of_numbers(sampled(column, SAMPLE, settings), name)
    if text and _kind_of_text(cells, name, settings):
        return _of_text(sampled(column, SAMPLE, settings), name, settings)
    unread = text and name not in settings.rename and _is_unread(cells, name)
    return ColumnLook(name=name, kind="unread" if unread else "")


def _is_unread(cells: pa.ChunkedArray, name: str) -> bool:
    """Tell whether text that is no time must be one: most of it is, or its name says so."""
    if 2 * _distinct(cells) <= 1:
        return False  # words that repeat may be readings under a name of times
    parsed = parse(cells)
    if 2 * int(np.isin(parsed.kinds, (MOMENT, DATE, SPAN)).sum()) - parsed.doubtful > len(cells):
        return True
    named = is_sure(name) or is_span(name)
    # Digits that never repeat are times, words around them or not.
    if named and _mostly(pc.match_substring_regex(cells, r"\d")):
        return True
    words = pc.match_substring_regex(cells, r"\p{L}{3}")  # numbers alone may be versions
    return _mostly(pc.and_(words, pa.array(is_date_like(cells.combine_chunks()))))


def sampled(column: pa.ChunkedArray, most: int, settings: ReadingSettings) -> pa.ChunkedArray:
    """Return filled cells from all over a column.

    Args:
        column: All of it, ``[rows]``.
        most: How many at most.
        settings: Which words stand for nothing.
    """
    if len(column) > most:
        places = np.unique(np.linspace(0, len(column) - 1, most).astype(np.int64))
        column = column.take(pa.array(places))
    return filled_cells(column, settings)[0]


def _mostly(which: pa.ChunkedArray) -> bool:
    return few(len(which) - int(pc.sum(which).as_py() or 0), len(which))


def _distinct(column: pa.ChunkedArray) -> float:
    return float(pc.count_distinct(column).as_py() / max(len(column), 1))


def _of_type(column: pa.ChunkedArray, name: str) -> ColumnLook:
    if pa.types.is_time(column.type):
        return ColumnLook(name=name, kind="clock", distinct=_distinct(column), cells=len(column))
    aware = getattr(column.type, "tz", None) is not None
    sample = column.slice(0, SAMPLE).drop_null()
    kind = "moment"
    if not aware and len(sample):
        try:
            day = pc.floor_temporal(sample, unit="day")
            kind = "date" if pc.all(pc.equal(day, sample)).as_py() else "moment"
        except pa.ArrowException:
            kind = "moment"
    return ColumnLook(
        name=name,
        kind=kind,
        distinct=_distinct(sample),
        cells=len(sample),
        aware=aware,
        empty=not len(sample),
    )


def _of_numbers(cells: pa.ChunkedArray, name: str) -> ColumnLook:
    """Numbers are times by their name only: readings, too, lie in the range of seconds."""
    numbers = to_numbers(cells)
    if may_be_numbers(name) or may_be_days(name):
        found = times_of_numbers(numbers)
        if found is not None and _is_named(found, name):
            midnights = not found.aware and not np.any(found.us % DAY_US)
            return ColumnLook(
                name=name,
                kind="date" if midnights else "moment",
                distinct=_distinct(cells),
                cells=len(cells),
                aware=found.aware,
            )
    if is_clock(name) and is_exact_clock(name):
        clock = clock_of_numbers(numbers)
        if clock is not None:
            return ColumnLook(
                name=name, kind="clock", distinct=_distinct(cells), cells=len(cells), hours=True
            )
    return ColumnLook(name=name, kind="steps" if is_plain(name) and _count(numbers) else "")


def _is_named(found: NumberTimes, name: str) -> bool:
    """Tell whether a column's name is one of such times: few numbers are days of a spreadsheet."""
    if found.format != SHEET_DAYS:
        return may_be_numbers(name)
    return is_plain(name) or (may_be_days(name) and bool(np.all(np.diff(found.us) >= 0)))


def _count(numbers: NDArray[np.float64]) -> bool:
    """Whether numbers count rows or steps: small whole ones that never fall."""
    whole = bool(np.all(numbers == np.floor(numbers)) and np.all(np.abs(numbers) <= _MOST_STEPS))
    return whole and bool(np.all(np.diff(numbers) >= 0))


def _kind_of_text(cells: pa.ChunkedArray, name: str, settings: ReadingSettings) -> str:
    """Return what at least 99 of a hundred cells are."""
    first = settings.dates or "day-first"
    parsed = parse(cells, first)
    if parsed.separators and parsed.bad.any() and not settings.dates:
        others = [parse(cells, "month-first")]
        others += [parse(cells, "year-first")] if parsed.short_years else []
        parsed = min([parsed, *others], key=lambda one: int(one.bad.sum()))
    doubtful = parsed.doubtful * 2 > len(cells)
    if doubtful and not (is_known(name) or is_clock(name) or is_span(name)):
        return ""
    counts = np.bincount(parsed.kinds, minlength=SPAN + 1)
    if few(len(cells) - int(counts[SPAN]), len(cells)):
        return "span"
    moments, dates, clocks = (int(counts[kind]) for kind in (MOMENT, DATE, CLOCK))
    if few(len(cells) - moments - dates, len(cells)):
        good = ~parsed.bad
        naive = bool(np.all(parsed.marks[good] == 0))
        midnights = naive and not np.any(parsed.us[good] % DAY_US)
        return "date" if midnights else "moment" if naive else "aware"
    if few(len(cells) - clocks, len(cells)) and (not doubtful or is_exact_clock(name)):
        return "clock"
    return ""


def _of_text(cells: pa.ChunkedArray, name: str, settings: ReadingSettings) -> ColumnLook:
    kind = _kind_of_text(cells, name, settings)
    aware = kind == "aware"
    return ColumnLook(
        name=name,
        kind="moment" if aware else kind,
        distinct=_distinct(cells),
        cells=len(cells),
        aware=aware,
    )
