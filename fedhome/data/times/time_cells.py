"""Cells of text as times, all cells of one shape at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.times.time_formats import CellLayout, layout_of, pattern_of

Order = Literal["day-first", "month-first", "year-first"]
"""Order of the numbers in dates such as 03/04/2024, or 23-12-31."""

BAD, MOMENT, DATE, CLOCK, SPAN = range(5)
_KINDS = {"moment": MOMENT, "date": DATE, "clock": CLOCK, "span": SPAN}
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
_BLOCK = 500_000  # cells that are looked at together: bounds the memory
_LONGEST = 80  # bytes; no time is longer
_PLAIN = {
    **dict.fromkeys("\u00a0\u202f\u2009", " "),
    **dict.fromkeys("\u2013\u2212", "-"),
    "\u5e74": "-",
    "\u6708": "-",
    "\u65e5": "",
    "\u6642": ":",
    "\u65f6": ":",
    "\u5206": "",
    "\u00f8": "o",
    "\u00d8": "O",
}
_CENTURY = 2000
# Powers of a large odd number: two shapes of one length get the same sum about once in 2**64.
_POWERS = np.cumprod(np.full(_LONGEST, 0x9E3779B97F4A7C15, dtype=np.uint64), dtype=np.uint64)


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """Cells of text as times.

    Args:
        us: Microseconds since 1970 on the clock that the cell is written in, int64 ``[cells]``;
            since midnight where there is no date.
        kinds: ``BAD`` (no time), ``MOMENT``, ``DATE``, ``CLOCK`` or ``SPAN`` (a month, a quarter
            or a week, whose first day it is), uint8 ``[cells]``.
        marks: Index into ``names``, int16 ``[cells]``.
        names: What stands behind the clock time: ``""`` nothing, ``"+"`` an offset, which is
            taken off already, or a zone's name in capitals.
        offsets: Offsets in minutes that occur.
        doubtful: Number of cells that could as well be plain numbers or versions (1.2.23).
        separators: What stands between the numbers of dates whose order is open.
        short_years: Whether years of two digits occur in dates whose order is open.
        patterns: How cells are written, with the number of cells.
    """

    us: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    marks: NDArray[np.int16]
    names: list[str] = field(default_factory=lambda: ["", "+"])
    offsets: set[int] = field(default_factory=set)
    doubtful: int = 0
    separators: set[str] = field(default_factory=set)
    short_years: bool = False
    patterns: dict[str, int] = field(default_factory=dict)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Which cells hold no time, ``[cells]``."""
        return np.asarray(self.kinds == BAD)


def parse(cells: pa.ChunkedArray, order: Order = "day-first") -> Parsed:
    """Read cells as times; what is no time is marked, not refused.

    Args:
        cells: Text without nulls and without blanks around it, ``[cells]``.
        order: How dates are read that do not tell their order.
    """
    count = len(cells)
    us = np.zeros(count, dtype=np.int64)
    kinds = np.full(count, BAD, dtype=np.uint8)
    marks = np.zeros(count, dtype=np.int16)
    names = ["", "+"]
    offsets: set[int] = set()
    separators: set[str] = set()
    patterns: dict[str, int] = {}
    doubtful, short = 0, False
    for places, shape, digits in _shapes(cells):
        layout = layout_of(shape)
        if layout is None:
            continue
        values, fits = _values(layout, digits, order)
        us[places] = values
        kinds[places] = np.where(fits, _KINDS[layout.kind], BAD)
        if layout.name and layout.name not in names and not layout.sign:
            names.append(layout.name)
        mark = 1 if layout.sign else names.index(layout.name)
        marks[places] = mark
        if layout.sign:
            offsets |= set(np.unique(_offset(layout, digits)).tolist())
        if layout.plain or (layout.kind == "date" and layout.open_order and layout.short_year):
            doubtful += len(places)
        if layout.open_order:
            separators.add(layout.separator)
            short = short or layout.short_year
        written = pattern_of(shape, layout, order)
        patterns[written] = patterns.get(written, 0) + int(fits.sum())
    return Parsed(
        us=us,
        kinds=kinds,
        marks=marks,
        names=names,
        offsets=offsets,
        doubtful=doubtful,
        separators=separators,
        short_years=short,
        patterns=patterns,
    )


def _shapes(cells: pa.ChunkedArray) -> Iterator[tuple[NDArray[np.int64], str, NDArray[np.uint8]]]:
    """Give the places of all cells of one shape, the shape, and their bytes ``[cells, length]``."""
    first = 0
    for chunk in cells.chunks:
        for begin in range(0, len(chunk), _BLOCK):
            block = _plain_ascii(chunk.slice(begin, _BLOCK))
            for places, shape, digits in _shapes_of_block(block):
                yield places + first + begin, shape, digits
        first += len(chunk)


def _plain_ascii(block: pa.Array) -> pa.Array:
    """Return cells without accents, with plain blanks and dashes.

    Portals write narrow blanks before PM; in the East the year, the month and the day are named.
    """
    if not pc.all(pc.string_is_ascii(block)).as_py():
        for sign, plain in _PLAIN.items():
            block = pc.replace_substring(block, sign, plain)
        block = pc.utf8_normalize(block, form="NFD")  # letters, and their accents behind them
        block = pc.utf8_trim_whitespace(pc.replace_substring_regex(block, r"\p{Mn}", ""))
    return block


def _shapes_of_block(
    block: pa.Array,
) -> Iterator[tuple[NDArray[np.int64], str, NDArray[np.uint8]]]:
    _, offset_buffer, data_buffer = block.buffers()
    if data_buffer is None or not len(block):
        return
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[block.offset :][: len(block) + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8)
    starts, lengths = offsets[:-1], np.diff(offsets)
    for length in np.unique(lengths).tolist():
        if not 0 < length <= _LONGEST:
            continue
        places = np.flatnonzero(lengths == length)
        content = np.lib.stride_tricks.sliding_window_view(data, length)[starts[places]]
        shapes = _as_shapes(content)
        if bool(np.all(shapes == shapes[0])):
            yield places, shapes[0].tobytes().decode("latin-1"), content
            continue
        sums = np.zeros(len(places), dtype=np.uint64)
        for place in range(length):
            sums += shapes[:, place] * _POWERS[place]
        _, firsts, groups = np.unique(sums, return_index=True, return_inverse=True)
        by_group = np.argsort(groups, kind="stable")
        for first, members in zip(
            firsts.tolist(), np.split(by_group, np.cumsum(np.bincount(groups))[:-1]), strict=True
        ):
            yield places[members], shapes[first].tobytes().decode("latin-1"), content[members]


def _as_shapes(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return cells' bytes in capitals, with a 0 for every digit."""
    table = np.arange(256, dtype=np.uint8)
    table[ord("1") : ord("9") + 1] = ord("0")
    table[ord("a") : ord("z") + 1] -= 32  # from small letters to capitals, in ASCII
    table[ord("\t")] = ord(" ")
    return table[content]


def _values(
    layout: CellLayout, digits: NDArray[np.uint8], order: Order
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the cells of one layout in microseconds, and which of them make sense."""
    fits = np.ones(len(digits), dtype=bool)
    us = np.zeros(len(digits), dtype=np.int64)
    if layout.kind != "clock":
        days, fits = _days(layout, digits, order)
        us += days * DAY_US
    if layout.kind in {"moment", "clock"}:
        clock, right = _clock(layout, digits)
        us += clock
        fits &= right
    if layout.sign:
        minutes = _offset(layout, digits)
        us -= minutes * 60 * SECOND_US
        fits &= np.abs(minutes) < 24 * 60
    return us, fits


def _number(
    layout: CellLayout, part: str, digits: NDArray[np.uint8], most: int = 12
) -> NDArray[np.int64]:
    first, end = layout.spans[part]
    number = np.zeros(len(digits), dtype=np.int64)
    for place in range(first, min(end, first + most)):
        number = number * 10 + (digits[:, place].astype(np.int64) - ord("0"))
    return number


def _days(
    layout: CellLayout, digits: NDArray[np.uint8], order: Order
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    year = _number(layout, "y", digits)
    if "w" in layout.spans:
        return _days_of_weeks(layout, digits, year)
    if not layout.open_order:
        day = _number(layout, "d", digits) if "d" in layout.spans else np.ones_like(year)
        if "q" in layout.spans:
            month = 3 * _number(layout, "q", digits) - 2
        else:
            named = layout.month
            month = np.full(len(digits), named) if named else _number(layout, "m", digits)
    else:
        first, second = _number(layout, "a", digits), _number(layout, "b", digits)
        if order == "year-first" and layout.short_year:
            year, month, day = first, second, year
        else:
            day, month = (second, first) if order == "month-first" else (first, second)
    if layout.short_year:
        year = year + _CENTURY
    fits = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)  # noqa: PLR2004  (months of a year)
    months = np.where(fits, (year - 1970) * 12 + month - 1, 0)
    begin = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return begin + day - 1, fits & (day <= after - begin)


def _days_of_weeks(
    layout: CellLayout, digits: NDArray[np.uint8], year: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return days of weeks as ISO 8601 counts them: a year's first one has its first Thursday."""
    week = _number(layout, "w", digits)
    day = _number(layout, "wd", digits) if "wd" in layout.spans else np.ones_like(week)
    fits = (year >= 1) & (week >= 1) & (day >= 1) & (day <= 7)  # noqa: PLR2004  (days of a week)
    begin = np.where(fits, year - 1970, 0).astype("datetime64[Y]").astype("datetime64[D]")
    fourth = begin.astype(np.int64) + 3  # of January: it is in the first week of every year
    monday = fourth - (fourth + 3) % 7 + 7 * (week - 1)  # 1970 began with a Thursday
    of_year = (monday + 3).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return monday + day - 1, fits & (of_year == year)


def _clock(
    layout: CellLayout, digits: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    nothing = np.zeros(len(digits), dtype=np.int64)
    hour = _number(layout, "H", digits)
    minute = _number(layout, "M", digits) if "M" in layout.spans else nothing
    second = _number(layout, "S", digits) if "S" in layout.spans else nothing
    finer = nothing
    if "f" in layout.spans:
        first, end = layout.spans["f"]
        finer = _number(layout, "f", digits, most=6) * 10 ** max(0, 6 - (end - first))
    fits = (minute < 60) & (second < 60)  # noqa: PLR2004  (of an hour, of a minute)
    if layout.half:
        fits &= hour <= 12  # noqa: PLR2004  (hours on the dial)
        hour = hour % 12 + (12 if layout.half == "P" else 0)
    # 24:00 is the midnight at the end of the day.
    fits &= (hour < 24) | ((hour == 24) & (minute == 0) & (second == 0) & (finer == 0))  # noqa: PLR2004
    return ((hour * 60 + minute) * 60 + second) * SECOND_US + finer, fits


def _offset(layout: CellLayout, digits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the offsets of cells, in minutes."""
    minutes = _number(layout, "oh", digits) * 60
    if "om" in layout.spans:
        minutes += _number(layout, "om", digits)
    return -minutes if layout.sign == "-" else minutes
