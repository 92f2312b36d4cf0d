"""A column's cells before they are read as times: plain text, numbers, or nothing."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.text_numbers import trimmed
from fedhome.plan.reading_settings import ReadingSettings

_NOTHING = pa.scalar(None, pa.string())
_NO_TIME = ("", "na", "n/a", "#n/a", "nan", "nat", "null", "none", "<na>", "-", "unknown")
_NUMBER = r"^[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?$"


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with text of any storage as plain strings."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return column if kind == column.type else column.cast(kind)


def is_number_type(kind: pa.DataType) -> bool:
    """Tell whether a column's cells are numbers by type."""
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def are_numbers(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell which cells of text are numbers, ``[cells]``."""
    return pc.match_substring_regex(cells, _NUMBER)


def to_numbers(cells: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return numbers of any type, or written as text, as float64 ``[cells]``; NaN for no number."""
    if pa.types.is_string(cells.type):
        cells = pc.if_else(are_numbers(cells), pc.replace_substring(cells, ",", "."), _NOTHING)
    return np.array(cells.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def filled_cells(
    column: pa.ChunkedArray, settings: ReadingSettings
) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
    """Return the cells that hold something, text without blanks around it, and their rows."""
    column = plain_column(column)
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        marked = (pc.starts_with(column, sign) for sign in ("'", '"', "="))
        if any(pc.any(which).as_py() for which in marked):
            column = trimmed(column)
        missing = pc.is_in(pc.utf8_lower(column), value_set=_no_times(settings.na_values))
        if pc.any(missing).as_py():
            column = pc.if_else(missing, pa.scalar(None, pa.string()), column)
    rows = np.flatnonzero(column.is_valid().to_numpy())
    return column.drop_null() if column.null_count else column, rows


@lru_cache(maxsize=8)
def _no_times(na_values: tuple[str, ...]) -> pa.Array:
    return pa.array([*_NO_TIME, *(word.lower() for word in na_values)], pa.string())
