"""Which columns hold the time: those that are named, or what names and cells tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.files.data_files import UNNAMED
from fedhome.data.times.joined_times import PARTS
from fedhome.data.times.time_cells import CLOCK, DATE, DAY_US, MOMENT, parse
from fedhome.data.times.time_names import (
    PART_NAMES,
    is_clock,
    is_exact_clock,
    is_known,
    is_plain,
    is_sure,
    may_be_numbers,
    plain_name,
    rank,
)
from fedhome.data.times.time_numbers import clock_of_numbers, few, times_of_numbers
from fedhome.data.times.time_reading import are_numbers, filled_cells, is_number_type, to_numbers
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.spelling import did_you_mean

INDEX = "__index_level_0__"
"""Name of an index without a name, as pandas writes it."""

_SAMPLE = 20_000  # cells, evenly spread, that stand for a column
_FIRST_LOOK = 500
_SHARE = 0.99
_MOST_STEPS = 10_000_000  # more are no count of rows


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


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What a sample of a column's cells shows."""

    name: str
    kind: str  # "moment", "date", "clock", "steps" (numbers, no time), "unread" (as a time) or ""
    distinct: float = 0  # share of distinct cells
    cells: int = 0  # in the sample
    aware: bool = False
    empty: bool = False
    hours: bool = False  # a clock in numbers, which may as well be a reading

    @property
    def varies(self) -> bool:
        """Whether there is more than one distinct cell, or a single row."""
        return self.distinct * self.cells > 1 or self.cells == 1

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int]:
        return rank(self.name, aware=self.aware)


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
    looks = [_look(rows[name], name, settings) for name in names]
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
    elif parts:
        listed = ", ".join(repr(name) for name in parts)
        return TimeColumns(names=parts, notes=(f"the columns {listed} together are the time",))
    elif dates:
        return _told(_best(dates), looks)
    else:
        return _none(looks)
    date, clock = pair
    note = f"the columns {date.name!r} and {clock.name!r} together are the time: date and clock"
    others, left = _others((date.name, clock.name), looks)
    return TimeColumns(names=(date.name, clock.name), others=others, notes=(note, *left))


def _listed(names: tuple[str, ...], rows: pa.Table, settings: ReadingSettings) -> TimeColumns:
    looks = [_look(rows[name], name, settings) for name in rows.column_names if name not in names]
    others, notes = _others(names, looks)
    return TimeColumns(names=names, others=others, notes=notes)


def _others(
    names: tuple[str, ...], looks: Sequence[_Look]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that hold times but are not the time, and a sentence about them."""
    others = tuple(
        look.name
        for look in looks
        if look.name not in names
        and not look.empty
        and look.kind in {"moment", "date", "clock"}
        and not look.hours
    )
    if not others:
        return (), ()
    listed = ", ".join(map(repr, others))
    many = "hold times, too, and were" if len(others) > 1 else "holds times, too, and was"
    return others, (f"{listed} {many} left out",)


def is_clock_column(column: pa.ChunkedArray, name: str, settings: ReadingSettings) -> bool:
    """Tell whether a column holds clock times without a date."""
    return _look(column, name, settings).kind == "clock"


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


def _look(column: pa.ChunkedArray, name: str, settings: ReadingSettings) -> _Look:
    """Look at a sample of a column."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _of_type(column, name)
    if pa.types.is_time(kind):
        return _Look(name=name, kind="clock", distinct=_distinct(column), cells=len(column))
    cells = _sampled(column, _FIRST_LOOK, settings)
    if not len(cells):
        return _Look(name=name, kind="moment" if is_plain(name) else "", empty=True)
    text = pa.types.is_string(cells.type)
    if is_number_type(cells.type) or (text and _mostly(are_numbers(cells))):
        return _of_numbers(_sampled(column, _SAMPLE, settings), name)
    if text and _kind_of_text(cells, name, settings):
        return _of_text(_sampled(column, _SAMPLE, settings), name, settings)
    # Words that repeat may be readings under a name of times; digits that never do are times.
    sure = text and is_sure(name) and name not in settings.rename
    digits = sure and _mostly(pc.match_substring_regex(cells, r"\d"))
    return _Look(name=name, kind="unread" if digits and 2 * _distinct(cells) > 1 else "")


def _sampled(column: pa.ChunkedArray, most: int, settings: ReadingSettings) -> pa.ChunkedArray:
    """Return up to so many filled cells from all over a column."""
    if len(column) > most:
        places = np.unique(np.linspace(0, len(column) - 1, most).astype(np.int64))
        column = column.take(pa.array(places))
    return filled_cells(column, settings)[0]


def _mostly(which: pa.ChunkedArray) -> bool:
    return few(len(which) - int(pc.sum(which).as_py() or 0), len(which))


def _distinct(column: pa.ChunkedArray) -> float:
    return float(pc.count_distinct(column).as_py() / max(len(column), 1))


def _of_type(column: pa.ChunkedArray, name: str) -> _Look:
    aware = getattr(column.type, "tz", None) is not None
    sample = column.slice(0, _SAMPLE).drop_null()
    kind = "moment"
    if not aware and len(sample):
        try:
            day = pc.floor_temporal(sample, unit="day")
            kind = "date" if pc.all(pc.equal(day, sample)).as_py() else "moment"
        except pa.ArrowException:
            kind = "moment"
    return _Look(
        name=name,
        kind=kind,
        distinct=_distinct(sample),
        cells=len(sample),
        aware=aware,
        empty=not len(sample),
    )


def _of_numbers(cells: pa.ChunkedArray, name: str) -> _Look:
    """Numbers are times by their name only: readings, too, lie in the range of seconds."""
    numbers = to_numbers(cells)
    if may_be_numbers(name):
        found = times_of_numbers(numbers)
        if found is not None and (is_plain(name) or found.format != "days of a spreadsheet"):
            midnights = not found.aware and not np.any(found.us % DAY_US)
            return _Look(
                name=name,
                kind="date" if midnights else "moment",
                distinct=_distinct(cells),
                cells=len(cells),
                aware=found.aware,
            )
    if is_clock(name) and is_exact_clock(name):
        clock = clock_of_numbers(numbers)
        if clock is not None:
            return _Look(
                name=name, kind="clock", distinct=_distinct(cells), cells=len(cells), hours=True
            )
    return _Look(name=name, kind="steps" if is_plain(name) and _count(numbers) else "")


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
    if doubtful and not (is_known(name) or is_clock(name)):
        return ""
    counts = np.bincount(parsed.kinds, minlength=CLOCK + 1)
    moments, dates, clocks = (int(counts[kind]) for kind in (MOMENT, DATE, CLOCK))
    if few(len(cells) - moments - dates, len(cells)):
        good = ~parsed.bad
        naive = bool(np.all(parsed.marks[good] == 0))
        midnights = naive and not np.any(parsed.us[good] % DAY_US)
        return "date" if midnights else "moment" if naive else "aware"
    if few(len(cells) - clocks, len(cells)) and (not doubtful or is_exact_clock(name)):
        return "clock"
    return ""


def _of_text(cells: pa.ChunkedArray, name: str, settings: ReadingSettings) -> _Look:
    kind = _kind_of_text(cells, name, settings)
    aware = kind == "aware"
    return _Look(
        name=name,
        kind="moment" if aware else kind,
        distinct=_distinct(cells),
        cells=len(cells),
        aware=aware,
    )


def _best(looks: Sequence[_Look]) -> _Look:
    """Return the column that stands for a row's time, among those that hold times."""
    most = max(look.distinct for look in looks)
    return min((look for look in looks if 2 * look.distinct >= most), key=lambda look: look.rank)


def _pair(dates: Sequence[_Look], clocks: Sequence[_Look]) -> tuple[_Look, _Look] | None:
    """Return the columns of date and clock, if they belong together."""
    if not dates or not clocks:
        return None
    date = min(dates, key=lambda look: look.rank)
    clock = min(clocks, key=lambda look: look.rank)
    # A day's single row can have a clock time for another reason, such as that of its peak.
    repeats = date.distinct < 1
    return (date, clock) if repeats or is_exact_clock(clock.name) else None


def _together(rows: pa.Table, pair: tuple[_Look, _Look]) -> float:
    """Return the share of distinct times among the rows of a pair."""
    date, clock = (rows[look.name].slice(0, _SAMPLE) for look in pair)
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
        cells = _sampled(rows[name], _FIRST_LOOK, settings)
        numbers = is_number_type(cells.type) or (
            pa.types.is_string(cells.type) and bool(pc.all(are_numbers(cells)).as_py())
        )
        if not numbers or not len(cells):
            break
        found.append(name)
    return tuple(found) if len(found) >= 3 else ()  # noqa: PLR2004  (year, month, day)


def _told(best: _Look, looks: Sequence[_Look]) -> TimeColumns:
    """Return a column, and a sentence unless every user would have expected it."""
    notes = []
    if not is_plain(best.name):
        reason = "its name says so" if is_known(best.name) else "it holds times"
        called = "the first column, which has no name," if best.name == UNNAMED else repr(best.name)
        notes.append(f"{called} was taken for the time: {reason}")
    others, left = _others((best.name,), looks)
    return TimeColumns(names=(best.name,), others=others, notes=(*notes, *left))


def _none(looks: Sequence[_Look]) -> TimeColumns:
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
    return TimeColumns(names=(), notes=tuple(notes))
