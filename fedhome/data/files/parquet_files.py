"""Parquet files as Arrow tables, a group of rows after the other, and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fedhome.data.columns.units import unit_named
from fedhome.data.files.home_parquet import UNIT
from fedhome.data.files.packed_files import MOST_TIMES, Source, bomb
from fedhome.data.files.table_file import FileTable, named, unreadable

_FREE_BYTES = 2**28
_VALUE_BYTES = 8
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_SIMPLE = (
    *_TEXT,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_temporal,
    pa.types.is_null,
)


def read_parquet(source: Source) -> Sequence[FileTable]:
    """Read a Parquet file; numbers and times as they are typed, words as plain text.

    Columns that hold neither (lists, structures, bytes) are not read, which a note tells.

    Args:
        source: The file.

    Raises:
        SourceError: It is no whole Parquet file, or grows without measure when it is read.
    """
    try:
        rows, left_out, units = _rows(source)
    except (pa.ArrowException, OSError, ValueError, MemoryError, TypeError, KeyError):
        raise unreadable(source.name, "it is not a whole Parquet file") from None
    what = "it holds" if len(left_out) == 1 else "they hold"
    note = f"left out, because {what} neither numbers nor text: {', '.join(left_out)}"
    notes = (f"{source.name}: {note}",) if left_out else ()
    words = f"Parquet, in {source.packed}" if source.packed else "Parquet"
    return [FileTable(name=source.name, rows=rows, format=words, notes=notes, units=units)]


def _rows(source: Source) -> tuple[pa.Table, list[str], dict[str, str]]:
    data = source.content() if source.path is None else b""

    def opened(**options: list[str]) -> pq.ParquetFile:
        return pq.ParquetFile(source.path or pa.BufferReader(data), **options)

    with opened() as plain:
        metadata, schema = plain.metadata, plain.schema_arrow
    kinds = [_value_type(field.type) for field in schema]
    wanted = [
        field.name
        for field, kind in zip(schema, kinds, strict=True)
        if any(is_kind(kind) for is_kind in _SIMPLE)
    ]
    words = [
        field.name
        for field, kind in zip(schema, kinds, strict=True)
        if any(is_kind(kind) for is_kind in _TEXT)
    ]
    names = named(source.name, schema.names)
    most = max(_FREE_BYTES, MOST_TIMES * source.size)
    _refuse_bombs(source.name, metadata, columns=len(wanted), most=most)
    tables = []
    with opened(read_dictionary=words) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=wanted, use_threads=False)
            table.validate(full=True)
            table, most = _decoded(source.name, table, most)
            tables.append(table)
        if not tables:
            tables = [file.schema_arrow.empty_table().select(wanted)]
            tables = [_decoded(source.name, tables[0], most)[0]]
    rows = pa.concat_tables(tables)
    called = dict(zip(schema.names, names, strict=True))
    rows = rows.rename_columns([called[name] for name in rows.column_names])
    units = {
        called[field.name]: unit
        for field in schema
        if (unit := unit_named((field.metadata or {}).get(UNIT, b"").decode(errors="replace")))
    }
    return rows, [called[name] for name in schema.names if name not in wanted], units


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _refuse_bombs(name: str, metadata: pq.FileMetaData, *, columns: int, most: int) -> None:
    """Refuse a file whose values take much more room than it does.

    What the metadata say of a single column is not asked: of a damaged file that ends the process.
    """
    total = 0
    for place in range(metadata.num_row_groups):
        group = metadata.row_group(place)
        if group.num_rows < 0 or group.total_byte_size < 0:
            raise unreadable(name, "it is not a whole Parquet file")
        total += max(group.num_rows * columns * _VALUE_BYTES, group.total_byte_size)
        if total > most:
            raise bomb(name, what="takes")


def _decoded(name: str, table: pa.Table, most: int) -> tuple[pa.Table, int]:
    """Return a table with plain text for coded words, and how many bytes more may follow."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        kind = _value_type(field.type)
        if pa.types.is_dictionary(field.type):
            for chunk in column.chunks:
                lengths = pc.binary_length(chunk.dictionary.cast(pa.large_string()))
                most -= pc.sum(lengths.take(chunk.indices)).as_py() or 0
                if most < 0:
                    raise bomb(name, what="takes")
        if any(is_kind(kind) for is_kind in _TEXT):
            kind = pa.string()
        if kind != field.type:
            table = table.set_column(place, field.name, column.cast(kind))
    return table, most
