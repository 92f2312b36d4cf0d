"""Clocks of twelve hours whose AM or PM stands in a column of its own."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fedhome.data.times.column_cells import plain_column
from fedhome.data.times.time_names import is_clock

_HALF = r"^(?:[aApP]\.? ?[mM]\.?)?$"
_CLOCK = r"^(?:|(?:.*[T ])?(?:0?[1-9]|1[0-2]):\d{2}(?::\d{2}(?:[.,]\d+)?)?)$"
_HOUR = r"^(?:|0?[1-9]|1[0-2])$"
_FIRST_LOOK = 100


def with_half_days(rows: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Write AM and PM, where a column holds nothing else, behind the clock times of another one.

    A row that has but one of the two has no time.

    Args:
        rows: All columns.

    Returns:
        The rows, without the column of AM and PM, and a sentence about it; the same rows and
        nothing where there is no such column.
    """
    names = rows.column_names
    half = next((name for name in names if _holds(rows[name], _HALF)), None)
    if half is None:
        return rows, ()
    clocks = [
        name
        for name in names
        if name != half
        and (_holds(rows[name], _CLOCK) or (is_clock(name) and _holds(rows[name], _HOUR)))
    ]
    if not clocks:
        return rows, ()
    place = names.index(half)
    clock = min(clocks, key=lambda name: abs(names.index(name) - place))
    parts = [_filled(rows[clock]), _filled(rows[half])]
    both = pc.binary_join_element_wise(*parts, " ")
    note = f"the column {half!r} says in which half of the day the clock times in {clock!r} are"
    return rows.set_column(names.index(clock), clock, both).drop_columns([half]), (note,)


def _holds(column: pa.ChunkedArray, pattern: str) -> bool:
    """Tell whether a column of text holds nothing but cells of a pattern, and some of them."""
    cells = plain_column(column)
    if not pa.types.is_string(cells.type):
        return False
    for some in (cells.slice(0, _FIRST_LOOK), cells):
        like = pc.match_substring_regex(pc.utf8_trim_whitespace(some), pattern)
        if not pc.all(like).as_py():
            return False
    return bool(pc.any(pc.not_equal(pc.utf8_trim_whitespace(cells), "")).as_py())


def _filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    cells = pc.utf8_trim_whitespace(plain_column(column))
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
