"""A column that names each row's unit: it is written behind the readings of another column."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fedhome.data.columns.units import unit_named
from fedhome.plan.reading_settings import ReadingSettings

_NAMES = {
    *("unit", "units", "uom", "unit_of_measurement", "unit_of_measure", "einheit", "unite"),
    *("unité", "eenheid", "unidad", "unita", "unità", "unidade", "enhed", "enhet"),
}
_MOST_UNITS = 100  # different ones in a column
_NUMBER = r"^[+\-\x{2212}]?[\d.,' \x{a0}\x{202f}]*\d[\d.,' \x{a0}\x{202f}]*([eE][+-]?\d+)?$"


def with_row_units(
    rows: pa.Table, settings: ReadingSettings, value: str = "", *, leave: Sequence[str] = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """Write each row's unit behind its number, where a column holds nothing but units.

    What cells say of their units is read, and converted, like that of any other file.

    Args:
        rows: All columns.
        settings: Which sign cells are read with as decimal sign.
        value: The column of numbers; empty where the file tells it: it is called as the column of
            units without its last word, or is the only one of numbers.
        leave: Columns that are no readings.

    Returns:
        The rows without columns of units, and a sentence about each; the same rows and nothing
        where there is none, where it is open of what or of no number, or where all rows have one
        unit and its name does not say of what.
    """
    told: tuple[str, ...] = ()
    for name in rows.column_names:
        of = _called(name)
        if name in (*leave, value) or of is None:
            continue
        readings = [other for other in rows.column_names if other not in (*leave, name)]
        named = [other for other in readings if of and other.casefold() == of]
        if not _are_units(rows[name], least=1 if named else 2):
            continue
        numbers = [other for other in readings if _has_numbers(rows[other])]
        which = [value] if value else named or numbers
        if len(which) != 1 or not _has_numbers(rows[which[0]]):
            continue
        cells = _as_read(rows[which[0]], settings)
        number = pc.match_substring_regex(cells, _NUMBER)
        unit = pc.fill_null(_text(rows[name]), "")
        both = pc.if_else(number, pc.binary_join_element_wise(cells, unit, " "), cells)
        place = rows.column_names.index(which[0])
        told += (f"the column {name!r} says in which unit each row of {which[0]!r} is",)
        rows = rows.set_column(place, which[0], both).drop_columns([name])
    return rows, told


def name_of_units(name: str) -> bool:
    """Tell whether a column's name says that units are in it, and not of what."""
    return _called(name) == ""


def _called(name: str) -> str | None:
    """Return what a column's units are of, by its name; empty if that is open; None if of none."""
    plain = name.strip().casefold()
    if plain in _NAMES:
        return ""
    of, _, last = re.sub(r"[\s_.-]+", " ", plain).rpartition(" ")
    return plain[: len(of)] if of and last in _NAMES else None


def _are_units(column: pa.ChunkedArray, least: int) -> bool:
    """Tell whether a column holds this many units or more, and nothing else."""
    cells = _text(column)
    if not pa.types.is_string(cells.type) or not len(cells):
        return False
    words = pc.unique(cells).to_pylist()
    known = {unit_named(word) for word in words if word}
    return len(words) <= _MOST_UNITS and "" not in known and len(known) >= least


def _has_numbers(column: pa.ChunkedArray) -> bool:
    cells = _text(column)
    return bool(pc.any(pc.match_substring_regex(cells, _NUMBER)).as_py())


def _as_read(column: pa.ChunkedArray, settings: ReadingSettings) -> pa.ChunkedArray:
    """Return a column as text; numbers by type with the decimal sign that text is read with."""
    comma = settings.decimal == "," or (settings.thousands == "." and not settings.decimal)
    typed = pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    return pc.replace_substring(_text(column), ".", ",") if typed and comma else _text(column)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    simple = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if not (simple or number or pa.types.is_decimal(column.type)):
        return pa.chunked_array([pa.nulls(len(column), pa.string())])
    return pc.utf8_trim_whitespace(column.cast(pa.string()))
