"""A run's table, read from a folder that may be somebody else's.

Parquet says in two megabytes that a row is there thirty million times, or that a long text is, and
what Arrow makes of a file is not looked at by itself: a place that lies outside of it is read too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_FREE_BYTES: Final = 1 << 28
_MOST_TIMES: Final = 200  # a table of scores takes some five times its file
_VALUE_BYTES: Final = 8


def read_kept_table(path: Path) -> pa.Table:
    """Return a table of plain columns.

    Args:
        path: The Parquet file.

    Raises:
        OSError: It cannot be read.
        ArrowException: It is damaged.
        ValueError: It would take more than 200 times its size and more than 256 MiB, or a column
            of it has values within values, which no table of a run has.
    """
    most = max(_FREE_BYTES, _MOST_TIMES * path.stat().st_size)
    with pq.ParquetFile(path) as file:
        schema, found = file.schema_arrow, file.metadata
    if any(pa.types.is_nested(field.type) for field in schema):
        raise ValueError(path)
    groups = [found.row_group(place) for place in range(found.num_row_groups)]
    if any(group.num_rows < 0 or group.total_byte_size < 0 for group in groups):
        raise ValueError(path)
    most -= sum(
        max(group.num_rows * len(schema) * _VALUE_BYTES, group.total_byte_size) for group in groups
    )
    texts = [field.name for field in schema if _is_text(field.type)]
    tables = [schema.empty_table()]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for group in range(len(groups) if most >= 0 else 0):
            table = file.read_row_group(group, use_threads=False)
            table.validate(full=True)
            most -= sum(_text_bytes(table.column(name)) for name in texts)
            if most < 0:
                break
            tables.append(table.cast(schema))
    if most < 0:
        raise ValueError(path)
    return pa.concat_tables(tables)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return how many bytes the words of a coded column take, written out."""
    return sum(
        pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
        for chunk in column.chunks
    )
