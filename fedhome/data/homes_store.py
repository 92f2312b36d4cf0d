"""A column store of many homes, mapped into memory: one home is read without the others.

A folder of three files: ``readings.arrow`` (Arrow's file format, not compressed: each home is a
slice of one record batch), ``homes.arrow`` (a row a home: where its slice lies, and its checksum)
and ``about.json`` (what homes' columns are, the files' sizes, and a checksum of the index). Source:
https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.errors import PlanError, SourceError, StateError
from fedhome.plan.own_reading import reading_of
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.store import disk

READINGS: Final = "readings.arrow"
INDEX: Final = "homes.arrow"
ABOUT: Final = "about.json"
FORMAT: Final = 1
TIME: Final = "fedhome:time_s"
"""The column of the time axis; homes' own columns have other names."""
INDEX_SCHEMA: Final = pa.schema(
    {"home": pa.string(), "batch": pa.int32(), "first": pa.int64(), "rows": pa.int64()}
    | {"kind": pa.int32(), "crc": pa.uint32()}
)
_MOST_ABOUT: Final = 1 << 28  # bytes: a line for each kind of home
_AGAIN = "write it again: fedhome data pack FOLDER"


def is_store(source: str | Path) -> bool:
    """Tell whether a path is a folder that `pack` wrote."""
    try:
        return (Path(source) / ABOUT).is_file() and (Path(source) / INDEX).is_file()
    except OSError:
        return False


def checksum(times: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> int:
    """Return the CRC-32 of a home's readings: its times, then its columns in their order."""
    found = zlib.crc32(np.ascontiguousarray(times, np.int64).view(np.uint8).data)
    for values in columns.values():
        found = zlib.crc32(np.ascontiguousarray(values, np.float64).view(np.uint8).data, found)
    return found


class HomesStore:
    """Homes of a store; their readings stay on the disk until they are asked for.

    Args:
        path: The store's folder.
        most: At most this many homes, the first by name; None: all.

    Raises:
        SourceError: It is no store, is of another version, or was changed.
    """

    def __init__(self, path: Path | str, *, most: int | None = None) -> None:
        self.path = Path(path)
        about = self._about()
        self._kinds: list[Mapping[str, Any]] = about["kinds"]
        index = self._index(about)
        if most is not None:
            index = index.slice(0, most)
        self._names: tuple[str, ...] = tuple(index["home"].to_pylist())
        self._batch, self._first, self._rows, self._kind, self._crc = (
            index[name].to_numpy() for name in ("batch", "first", "rows", "kind", "crc")
        )
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(self.path / READINGS)))
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(READINGS, str(error)) from None
        names = set(self._reader.schema.names)
        if lacking := {TIME, *(c for kind in self._kinds for c in kind["columns"])} - names:
            raise self._damaged(READINGS, f"it lacks {', '.join(sorted(lacking))}")
        for field in self._reader.schema:
            if field.type != (pa.int64() if field.name == TIME else pa.float64()):
                raise self._damaged(READINGS, f"{field.name} is {field.type}")

    @property
    def names(self) -> Sequence[str]:
        """Names of all homes, in their order."""
        return self._names

    @property
    def reading(self) -> dict[str, Mapping[str, Any]]:
        """Settings with which homes' files were read, by home; none for those with the usual."""
        found = (self._kinds[int(kind)].get("reading") for kind in self._kind)
        return {name: own for name, own in zip(self._names, found, strict=True) if own}

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of each home, int64 ``[homes]``."""
        return np.asarray(self._rows)

    def tables(self, homes: NDArray[np.int64]) -> list[HomeTable]:
        """Return some homes' readings, as views of what is mapped.

        Args:
            homes: Their positions in ``names``, int64 ``[homes]``.

        Raises:
            SourceError: A home's readings are damaged.
        """
        return [self._table(int(home)) for home in homes]

    def _table(self, home: int) -> HomeTable:
        kind = self._kinds[int(self._kind[home])]
        try:
            batch = self._reader.get_batch(int(self._batch[home]))
            batch.validate()  # columns as long as they say: else what lies beyond them is read
            part = batch.slice(int(self._first[home]), int(self._rows[home]))
            if part.num_rows != self._rows[home]:
                raise self._damaged(READINGS, f"home {self._names[home]!r} lies beyond its end")
            times = part.column(TIME).to_numpy()
            columns = {name: part.column(name).to_numpy() for name in kind["columns"]}
            if checksum(times, columns) != self._crc[home]:
                raise self._damaged(READINGS, f"home {self._names[home]!r} was changed")
            return HomeTable(
                home=self._names[home],
                time_s=times,
                columns=columns,
                time_zone=kind["time_zone"],
                labels={name: tuple(words) for name, words in kind["labels"].items()},
                units=kind["units"],
                flags=frozenset(kind["flags"]),
                rules=kind.get("rules", {}),
            )
        except (pa.ArrowException, IndexError, OSError, ValueError) as error:
            raise self._damaged(READINGS, str(error)) from None
        except (KeyError, TypeError, AttributeError):
            raise self._damaged(ABOUT, "it says too little") from None

    def _about(self) -> Mapping[str, Any]:
        try:
            about = json.loads(disk.read(self.path / ABOUT, most=_MOST_ABOUT))
            version = about["format"]
        except (StateError, ValueError, KeyError, TypeError, RecursionError):
            raise self._damaged(ABOUT, "it cannot be read") from None
        if version != FORMAT:
            raise SourceError(
                f"the store of homes {self.path} is of format {version}, not {FORMAT}", hint=_AGAIN
            )
        match about:
            case {"kinds": [*kinds], "bytes": {**lengths}, "sha256": str(sha256)}:
                about = {"kinds": kinds, "sha256": sha256}
            case _:
                raise self._damaged(ABOUT, "it says too little")
        if not all(map(_names_columns, kinds)):
            raise self._damaged(ABOUT, "it says too little")
        for kind in kinds:
            try:
                reading_of(ReadingSettings(), dict(kind.get("reading", {})))
            except (PlanError, TypeError, ValueError) as error:
                raise self._damaged(ABOUT, f"how files are read: {error}") from None
        for name in (READINGS, INDEX):
            found = self.path / name
            if not found.is_file() or found.stat().st_size != lengths.get(name):
                raise self._damaged(
                    name, f"it is not {lengths.get(name)} bytes long, as when it was written"
                )
        return about

    def _index(self, about: Mapping[str, Any]) -> pa.Table:
        try:
            content = disk.read(self.path / INDEX)
        except StateError as error:
            raise self._damaged(INDEX, error.message) from None
        if hashlib.sha256(content).hexdigest() != about["sha256"]:
            raise self._damaged(INDEX, "it was changed since it was written")
        try:
            index = pa.ipc.open_file(pa.BufferReader(content)).read_all()
            index.validate(full=True)  # Arrow reads what a file says, also beyond its end
        except (OSError, pa.ArrowException, ValueError) as error:
            raise self._damaged(INDEX, str(error)) from None
        if index.schema != INDEX_SCHEMA or not index.num_rows:
            raise self._damaged(INDEX, "it is no index of homes")
        if any(column.null_count for column in index.columns):
            raise self._damaged(INDEX, "it says too little")
        return index

    def _damaged(self, name: str, why: str) -> SourceError:
        return SourceError(f"the store of homes {self.path} is damaged: {name}: {why}", hint=_AGAIN)


def _names_columns(kind: object) -> bool:
    match kind:
        case {"columns": [*names]}:
            return all(isinstance(name, str) for name in names)
        case _:
            return False
