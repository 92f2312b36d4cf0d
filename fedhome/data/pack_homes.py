"""Writes a column store of homes, home after home: none but the batch at hand is in memory."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fedhome.data.homes_store import (
    ABOUT,
    FORMAT,
    INDEX,
    INDEX_SCHEMA,
    READINGS,
    TIME,
    checksum,
    is_store,
)
from fedhome.data.table import HomeTable
from fedhome.denied import paths_told
from fedhome.errors import EmptyFleetError, SourceError
from fedhome.new_folders import make_folder

_BATCH_ROWS: Final = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What was packed.

    Args:
        path: The store's folder.
        homes: How many homes are in it.
        rows: Rows of all homes.
        bytes: How long its files are together.
    """

    path: Path
    homes: int
    rows: int
    bytes: int


def pack(
    tables: Iterable[HomeTable],
    path: Path | str,
    *,
    columns: Iterable[str] = (),
    reading: Mapping[str, Mapping[str, Any]] | None = None,
) -> Packed:
    """Write homes into a store; the folder is there when all of it is, or not at all.

    Args:
        tables: The homes, each name once; they are taken one after the other.
        path: The store's folder, which must not be there, or be a store, which is replaced.
        columns: All columns that any home has; without, those of the first home.
        reading: By home, settings with which its files were read, such as ``decimal`` and
            ``rename``: its model reads other files of the home by them.

    Returns:
        What was packed.

    Raises:
        SourceError: Something else is in its place, it cannot be written, two homes have one name,
            or a home has another column.
        EmptyFleetError: There is no home.
    """
    path = Path(path)
    with paths_told(SourceError, path):
        if path.exists() and not is_store(path) and not _empty(path):
            raise SourceError(
                f"{path} is there already, and is no store of homes",
                hint="give another name: --out NAME.homes",
            )
        make_folder(path.parent)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as made:
            new = Path(made) / "new"
            make_folder(new, mode=0o700)
            packed = _write(iter(tables), new, list(columns), reading or {})
            if path.exists():
                path.replace(Path(made) / "old")
            new.replace(path)
    except OSError as error:
        raise SourceError(
            f"the store of homes {path} cannot be written: {error.strerror or error}",
            hint=f"{_free(path)} are free there",
        ) from error
    return Packed(path=path, homes=packed.homes, rows=packed.rows, bytes=packed.bytes)


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _free(path: Path) -> str:
    return f"{shutil.disk_usage(path.parent).free / 2**20:,.0f} MB"


@dataclass
class _Batch:
    """Homes that will be one record batch."""

    tables: list[HomeTable] = field(default_factory=list)
    rows: int = 0

    def record(self, schema: pa.Schema) -> pa.RecordBatch:
        arrays = [pa.array(np.concatenate([table.time_s for table in self.tables]))]
        for name in schema.names[1:]:
            parts = [
                np.asarray(table.columns[name], np.float64)
                if name in table.columns
                else np.full(table.rows, np.nan)
                for table in self.tables
            ]
            arrays.append(pa.array(np.concatenate(parts)))
        return pa.record_batch(arrays, schema=schema)


class _Kinds:
    """What homes' columns are: most homes have the same."""

    def __init__(self) -> None:
        self.all: list[Mapping[str, Any]] = []
        self._known: dict[str, int] = {}

    def number(self, table: HomeTable, reading: Mapping[str, Any]) -> int:
        kind = {
            "columns": list(table.columns),
            "time_zone": table.time_zone,
            "labels": {name: list(words) for name, words in table.labels.items()},
            "units": dict(table.units),
            "flags": sorted(table.flags),
            **({"rules": dict(table.rules)} if table.rules else {}),
            **({"reading": dict(reading)} if reading else {}),
        }
        number = self._known.setdefault(json.dumps(kind), len(self.all))
        if number == len(self.all):
            self.all.append(kind)
        return number


def _write(
    tables: Iterator[HomeTable],
    folder: Path,
    columns: list[str],
    reading: Mapping[str, Mapping[str, Any]],
) -> Packed:
    if not columns and (leading := next(tables, None)) is not None:
        columns, tables = list(leading.columns), chain([leading], tables)
    if TIME in columns:
        raise SourceError(
            f"a column is called {TIME}, as the store's own", hint="rename it: data.rename"
        )
    schema = pa.schema([(TIME, pa.int64()), *((name, pa.float64()) for name in columns)])
    kinds, index = _Kinds(), list[tuple[str, int, int, int, int, int]]()
    with pa.OSFile(str(folder / READINGS), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for number, batch in enumerate(_batches(tables)):
            first = 0
            for table in batch.tables:
                if other := set(table.columns) - set(columns):
                    more = ", ".join(sorted(other))
                    raise SourceError(
                        f"home {table.home!r} has {more}, which the first home lacks",
                        hint="name every column that any home has",
                    )
                crc = checksum(table.time_s, table.columns)
                kind = kinds.number(table, reading.get(table.home, {}))
                index.append((table.home, number, first, table.rows, kind, crc))
                first += table.rows
            writer.write_batch(batch.record(schema))
    if not index:
        raise EmptyFleetError(
            "there is no home to pack", hint="see what there is: fedhome data check"
        )
    homes = pa.table(
        [pa.array(column) for column in zip(*index, strict=True)], names=INDEX_SCHEMA.names
    ).cast(INDEX_SCHEMA)
    if len(homes["home"].unique()) != len(index):
        raise SourceError("two homes have one name", hint="each home needs a name of its own")
    with pa.OSFile(str(folder / INDEX), "wb") as sink, pa.ipc.new_file(sink, INDEX_SCHEMA) as out:
        out.write_table(homes)
    sizes = {name: (folder / name).stat().st_size for name in (READINGS, INDEX)}
    about = {
        "format": FORMAT,
        "homes": len(index),
        "kinds": kinds.all,
        "bytes": sizes,
        "sha256": hashlib.sha256((folder / INDEX).read_bytes()).hexdigest(),
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    rows = sum(one[3] for one in index)
    return Packed(path=folder, homes=len(index), rows=rows, bytes=sum(sizes.values()))


def _batches(tables: Iterable[HomeTable]) -> Iterator[_Batch]:
    batch = _Batch()
    for table in tables:
        batch.tables.append(table)
        batch.rows += table.rows
        if batch.rows >= _BATCH_ROWS:
            yield batch
            batch = _Batch()
    if batch.tables:
        yield batch
