"""A home's readings as a Parquet file of fedhome's own layout: read back without guessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedhome.data.table import HomeTable

TIME = "time"
"""The column of times; nothing else can be called so."""
UNIT = b"unit"
"""Where a column's unit stands in the metadata of its field."""


def write_home(table: HomeTable, path: Path) -> None:
    """Write a home's readings as a Parquet file, to be read back the same.

    Args:
        table: The readings; classes are written as their words. Rows without times of their own
            are written without a column of times.
        path: The file.
    """
    fields, arrays = [], []
    if not table.timeless:
        kind = pa.timestamp("s", tz=table.time_zone)
        fields.append(pa.field(TIME, kind))
        arrays.append(pa.array(table.time_s, kind))
    for name, values in table.columns.items():
        unit = table.units.get(name)
        array = _cells(values, table.labels.get(name), flag=name in table.flags)
        metadata = {UNIT: unit.encode()} if unit else None
        fields.append(pa.field(name, array.type, metadata=metadata))
        arrays.append(array)
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path)


def _cells(values: NDArray[np.float64], words: tuple[str, ...] | None, *, flag: bool) -> pa.Array:
    missing = np.isnan(values)
    if words is None:
        return pa.array(values == 1 if flag else values, mask=missing)
    indices = pa.array(np.where(missing, 0, values).astype(np.int32), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))
