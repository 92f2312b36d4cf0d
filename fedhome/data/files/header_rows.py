"""Which of a file's first rows is its header, by what the rows below it hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from fedhome.data.columns.month_names import MONTH, WEEK, WEEKDAY, without_accents

Row = Sequence[str]
CellKind = Literal["number", "time", "missing", "word"]

_MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "nan", "null", "none", "unknown", "unavailable", "-", "--", "?", ".")
)
_TIME = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\.?([T ][^,;|\t]*)?"
    r"|\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?"
    r"|\d{1,2}[ .-]{1,2}[^\W\d]{3,9}\.?[ -]\d{2,4}([T ][^,;|\t]*)?"
    r"|[^\W\d]{3,9}\.? \d{1,2},? \d{4}([T ,][^,;|\t]*)?"
)
# A day or a month by its name, a month in digits, a quarter, a week; letters are as MONTH has them.
_NAMED = re.compile(
    rf"{WEEKDAY}(?:\d{{1,2}}\S{{0,2}}[-/. ]{{1,2}}(?:DE )?)?{MONTH}\.?[-/., ]{{1,2}}"
    r"(?:DEL? )?\d{4}(?:[T ,][^;|\t]*)?"
    rf"|\d{{4}}[-/ ]{{0,2}}(?:{MONTH}|Q\d|{WEEK}[ -]?\d{{1,2}})|\d{{4}}[-/](?:0[1-9]|1[0-2])"
    r"|Q\d[-/ ]\d{4}|(?:0?[1-9]|1[0-2])/\d{4}"
    rf"|(?:{WEEK}[ -]?\d{{1,2}}|\d{{1,2}}\.? ?{WEEK})[-/., ]{{1,2}}\d{{4}}"
)
_YEAR = re.compile(r"\d{4}")
# Also with a currency before it or a short unit behind it; what it says is not asked here. A
# number sign makes a name: "#1".
_NUMBER = re.compile(
    r"[^\w\s+#-]?\s?[+-]?(\d[\d.,'\u00a0\u202f ]*|[.,]\d+)([eE][+-]?\d+)?\s?[^\d,;|\t]{0,4}"
    r"|[+-]?inf(inity)?",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"[\[(](?P<inside>[^\[\]()]{1,20})[\])]|"
    r"[kKMGmµu]?(Wh?|VA|var|VAh|varh|V|A|J|Hz|Pa|bar|g|L|l)|%|°|°?[CFK]|[dD]eg ?[CFK]|lux|lx|"
    r"pp[mb]|m[23²³]|m3/h|m³/h|l/h|L/h|m/s|km/h|mph|mm|cm|m|km|W/m[2²]|kWh/h|h|min|s|ms|hPa|psi|"
    r"therms?|CCF|ft3|gal|EUR|USD|GBP|CHF|€|\$|£|ct|ct/kWh|EUR/kWh|dB|dBA|µg/m[3³]|°"
)
_NO_UNIT = re.compile(
    r"-*|UTC|GMT|local|ISO ?8601|[YyMDdHhms:./T -]{4,}",
    re.IGNORECASE,
)
# What a logger made of the readings of a step: TOA5, a format of Campbell Scientific's ("Campbell
# Scientific File Formats" in the manual of LoggerNet), has a row of these below names and units.
_PROCESSED = frozenset(
    ("avg", "smp", "tot", "max", "min", "std", "tmx", "tmn", "med", "mom", "cov", "wvc", "hst")
)
_TYPED = 0.6  # share of a column's cells that are of a kind, for it to be the column's
_FAR = 100  # rows in which the header is looked for
_NEAR = 3  # rows below the header, none of which looks like one


def kind_of_cell(cell: str) -> CellKind:
    """Return what a cell looks like; what it says is for others to read."""
    cell = cell.strip()
    if len(cell) > 40:  # noqa: PLR2004  (longer than any time or number)
        return "word"
    return _kind_of_short_cell(cell)


# The same cells are looked at with each separator, and for several questions.
@lru_cache(maxsize=1 << 14)
def _kind_of_short_cell(cell: str) -> CellKind:
    if cell.lower() in _MISSING:
        return "missing"
    if _TIME.fullmatch(cell):
        return "time"
    if _NUMBER.fullmatch(cell):
        return "number"
    named = _YEAR.search(cell) and _NAMED.fullmatch(without_accents(cell))
    return "time" if named else "word"


@dataclass(frozen=True, kw_only=True)
class Header:
    """Where a table's header is.

    Args:
        row: Its place among the rows that were given.
        names: Its cells, without blanks around them.
        units: Units by place of the column, of the row below the header.
        below: How many rows between the header and the readings say what its columns are: one of
            units, and of a data logger's file one of what became of the readings of a step.
    """

    row: int
    names: tuple[str, ...]
    units: dict[int, str] = field(default_factory=dict)
    below: int = 0


def kinds_of_columns(rows: Sequence[Row], width: int) -> list[CellKind | None]:
    """Return what most cells of each column look like in the lower half, or quarter, of some rows.

    Args:
        rows: Rows of that width.
        width: How many columns.

    Returns:
        ``number`` or ``time`` for each column; None for words, or nothing at all.
    """
    times = Counter(tuple(row) for row in rows)
    # A header that comes again and again, in files that were put together, is no reading.
    rows = [row for row in rows if times[tuple(row)] == 1 or not _is_of_words(row)] or rows
    for share in (2, 4):  # of a table that is hardly longer than what stands above it, the end
        kinds = _kinds(rows[len(rows) - max(1, len(rows) // share) :], width)
        if any(kinds):
            break
    return kinds


def _is_of_words(row: Row) -> bool:
    return all(kind_of_cell(cell) == "word" for cell in row)


def _kinds(rows: Sequence[Row], width: int) -> list[CellKind | None]:
    kinds: list[CellKind | None] = []
    for place in range(width):
        counts = Counter(kind_of_cell(row[place]) for row in rows)
        filled = counts.total() - counts["missing"]
        kinds.append(
            next(
                (kind for kind in ("time", "number") if counts[kind] >= max(1, _TYPED * filled)),
                None,
            )
        )
    return kinds


def find_header(rows: Sequence[Row], kinds: Sequence[CellKind | None]) -> Header | None:
    """Return the header among a table's first rows, all of one width; None if there is none.

    The header is the last of the rows that hold words where the columns hold numbers or times
    and that stand above all rows of readings: lines of names and addresses stand before it.

    Args:
        rows: The first rows, those of readings included.
        kinds: What :func:`kinds_of_columns` says of them.
    """
    if not any(kinds):
        return _header(rows, 0) if rows else None
    near = rows[:_FAR]
    unlike = [_is_unlike(row, kinds) for row in near]
    for place, is_unlike in enumerate(unlike):
        if is_unlike and not any(unlike[place + 1 : place + 1 + _NEAR]):
            break
    else:
        return _header(rows, 0) if near and _has_no_time(near[0], kinds) else None
    place, below, units = _above_units(near, unlike, place, kinds)
    same = next(index for index in range(place + 1) if list(near[index]) == list(near[place]))
    first = near[place + 1 + below :][:1]
    if same and any(not _matches(row, kinds) for row in first):
        return None  # that row may be the header as well
    if any(_is_reading(row, kinds) for row in near[:same]):
        return None
    return _header(rows, same, units, below=below)


def _header(
    rows: Sequence[Row], place: int, units: dict[int, str] | None = None, *, below: int = 0
) -> Header:
    names = tuple(name.strip() for name in rows[place])
    return Header(row=place, names=names, units=units or {}, below=below)


def _above_units(
    rows: Sequence[Row], unlike: Sequence[bool], last: int, kinds: Sequence[CellKind | None]
) -> tuple[int, int, dict[int, str]]:
    """Return where the names are, how many rows below say what they are, and the units.

    Args:
        rows: The first rows.
        unlike: Which of them hold no readings.
        last: The last of these.
        kinds: What the columns hold.
    """
    if last > 1 and all(unlike[last - 2 : last]) and _is_processing(rows[last]):
        return last - 2, 2, _units_among(rows[last - 1])
    if not last or not unlike[last - 1]:
        return last, 0, {}
    above, row = rows[last - 1], rows[last]
    if units := _units(row):
        return last - 1, 1, units
    # What stands for a unit of the time is a word: "Datum;°C;kWh" below a row that names all.
    others = [cell for cell, kind in zip(row, kinds, strict=True) if kind != "time"]
    named = {cell.strip().casefold() for cell in above}
    names_all = len(named) == len(above) and all(kind_of_cell(cell) == "word" for cell in above)
    if len(others) < len(row) and names_all and _units(others) and not _units_among(above):
        return last - 1, 1, _units_among(row)
    return last, 0, {}


def _is_processing(row: Row) -> bool:
    words = {cell.strip().casefold() for cell in row} - {""}
    return bool(words) and words <= _PROCESSED and not row[0].strip()


def _units_among(row: Row) -> dict[int, str]:
    """Return those of a row's cells that are units, by place."""
    return {place: unit for place, cell in enumerate(row) for unit in _units([cell]).values()}


def _matches(row: Row, kinds: Sequence[CellKind | None]) -> list[tuple[CellKind, bool]]:
    """Return, for each cell that is not missing, its column's kind and whether it is of it."""
    pairs = [(kind, kind_of_cell(cell)) for cell, kind in zip(row, kinds, strict=True) if kind]
    return [(kind, kind == found) for kind, found in pairs if found != "missing"]


def _is_unlike(row: Row, kinds: Sequence[CellKind | None]) -> bool:
    matches = _matches(row, kinds)
    return bool(matches) and not any(same for _, same in matches)


def _is_reading(row: Row, kinds: Sequence[CellKind | None]) -> bool:
    matches = _matches(row, kinds)
    return bool(matches) and all(same for _, same in matches)


def _has_no_time(row: Row, kinds: Sequence[CellKind | None]) -> bool:
    """Tell whether a row has words where times are, or where most numbers are: "date,1,2,3"."""
    matches = _matches(row, kinds)
    times = [same for kind, same in matches if kind == "time"]
    return not all(times) if times else 2 * sum(same for _, same in matches) < len(matches)


def _units(row: Row) -> dict[int, str]:
    """Return the units in a row of nothing but units, by place; none for any other row."""
    units = {}
    for place, cell in enumerate(cell.strip() for cell in row):
        if unit := _UNIT.fullmatch(cell):
            units[place] = (unit["inside"] or cell).strip()
        elif not _NO_UNIT.fullmatch(cell.strip("[]() ")):
            return {}
    return units
