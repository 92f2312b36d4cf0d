"""From the cells of a column to numbers, flags or words: the whole column decides which.

Nothing is guessed: what can be read in two ways is refused, with the setting that decides it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.column_read import Column, ColumnRead
from fedhome.data.columns.durations import seconds_of_text
from fedhome.data.columns.missing import missing_numbers
from fedhome.data.columns.odd_values import LARGEST_WHOLE, number_column
from fedhome.data.columns.text_column import read_text
from fedhome.data.columns.units import unit_of_name
from fedhome.plan.reading_settings import ReadingSettings

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def read_cells(
    cells: pa.ChunkedArray,
    *,
    name: str,
    settings: ReadingSettings,
    location_of: Callable[[int], str],
    numeric: bool = False,
) -> ColumnRead:
    """Read one column.

    Args:
        cells: Of any Arrow type, ``[rows]``: text as a file has it, or typed.
        name: The column's name.
        settings: ``decimal`` and ``thousands`` are obeyed where they are set, ``na_values`` are
            missing readings.
        location_of: Returns where a row is, for messages.
        numeric: Whether the column must hold numbers, as a regression's target does: words are
            refused then, and so is what holds no readings.

    Raises:
        SourceError: Cells that can be read in two ways, that contradict one another or the
            settings, or words where numbers were meant, with the row; never with its content.
    """
    column = Column(name=name, settings=settings, location_of=location_of, numeric=numeric)
    cells = _stored(cells)
    kind = cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _text(cells, column)
    if pa.types.is_null(kind) or (len(cells) and cells.null_count == len(cells)):
        return ColumnRead(values=np.full(len(cells), np.nan), kind="empty")
    if pa.types.is_boolean(kind):
        return ColumnRead(
            values=_floats(cells.cast(pa.uint8())), kind="flag", format="true and false"
        )
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _numbers(cells, column)
    if pa.types.is_duration(kind):
        seconds = _floats(cells.cast(pa.int64())) / _PER_SECOND[kind.unit]
        return number_column(seconds, column, unit="s", format="durations")
    clock = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind)
    what = "dates or times, which are no readings" if clock else "neither numbers nor text"
    return column.left_out(len(cells), f"holds {what}")


def _text(cells: pa.ChunkedArray, column: Column) -> ColumnRead:
    lengths = seconds_of_text(cells, column.settings)
    if lengths is None:
        return read_text(cells, column)
    return number_column(lengths, column, unit="s", format="durations of ISO 8601")


def _stored(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as what its storage stands for."""
    if isinstance(cells.type, pa.BaseExtensionType):
        cells = pa.chunked_array([chunk.storage for chunk in cells.chunks], cells.type.storage_type)
    if pa.types.is_run_end_encoded(cells.type):
        cells = pa.chunked_array(
            [pc.run_end_decode(chunk) for chunk in cells.chunks], cells.type.value_type
        )
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    return cells


def _numbers(cells: pa.ChunkedArray, column: Column) -> ColumnRead:
    kind = cells.type
    values = _floats(cells)
    if missing := set(missing_numbers(column.settings.na_values).tolist()):
        values[np.isin(values, list(missing))] = np.nan
    whole = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0)
    too_large = int((np.abs(values) >= LARGEST_WHOLE).sum()) if whole else 0
    return number_column(
        values,
        column,
        unit=unit_of_name(column.name),
        format="whole numbers" if whole else "numbers",
        too_large=too_large,
    )


def _floats(cells: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_float16(cells.type):
        cells = cells.cast(pa.float32())
    return np.array(cells.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
