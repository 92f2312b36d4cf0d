"""Files of readings as Arrow tables: text with every cell as text, Parquet as it is typed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.files.csv_files import looks_like_table, read_text
from fedhome.data.files.file_kinds import (
    HEAD_BYTES,
    JSON,
    PARQUET,
    SQLITE,
    ZIP,
    kind_of,
    refuse_other_kinds,
)
from fedhome.data.files.home_assistant_database import is_home_assistants, of_database
from fedhome.data.files.home_assistant_table import read_home_assistant
from fedhome.data.files.json_files import looks_like_records, read_json
from fedhome.data.files.packed_files import (
    DATABASE_SUFFIXES,
    JSON_SUFFIXES,
    Source,
    sources_of,
)
from fedhome.data.files.parquet_files import read_parquet
from fedhome.data.files.table_file import FileTable
from fedhome.data.files.workbooks import read_workbook
from fedhome.data.told_once import some
from fedhome.errors import SourceError

SUFFIXES = (
    *(".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".zip", ".xlsx", ".parquet"),
    *JSON_SUFFIXES,
    *(f"{suffix}.gz" for suffix in JSON_SUFFIXES),
    *DATABASE_SUFFIXES,
)
_OF_HOMES = "homes.toml"  # says how homes are read, where a folder is of several
LAYOUT_HINT = (
    "a data folder holds one file of readings (.csv, .tsv, .txt, .csv.gz, .zip, .xlsx, .parquet, "
    ".json, .jsonl, or Home Assistant's .db), or one sub-folder of such files, for each home; each "
    "file has a header row, a column of times and one column per reading"
)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """The rows of one home's files, in the order of the files.

    Args:
        rows: All rows; cells of text files are text. A column without a name is called
            :data:`UNNAMED`, further ones ``(unnamed) 2`` and so on.
        files: Name and number of rows of each file, in the order of ``rows``; of a folder's files
            with the name of the folder before it.
        notes: What was assumed or left out, in plain sentences.
        formats: How each file was written, in a few plain words.
        units: Units by column, where a row below a header gives them.
        places: Place of each row among the rows of all files, from 0, where some of the files'
            rows were left out; None where each row stands at its own.
    """

    rows: pa.Table
    files: tuple[tuple[str, int], ...]
    notes: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    places: NDArray[np.int64] | None = None
    time: str = ""

    def location(self, row: int) -> str:
        """Return the file and the row in it, counted from 1 below the header, of a row."""
        if not 0 <= row < self.rows.num_rows:
            raise IndexError(row)
        place = row if self.places is None else int(self.places[row])
        for name, count in self.files:
            if place < count:
                return f"{name}, row {place + 1}"
            place -= count
        raise IndexError(row)

    def taken(self, rows: NDArray[np.int64]) -> Raw:
        """Return some of the rows, which keep their places in the files.

        Args:
            rows: Numbers of the rows that are wanted, in the order in which they are. [rows]
        """
        places = rows if self.places is None else self.places[rows]
        return Raw(
            rows=self.rows.take(pa.array(rows)),
            files=self.files,
            notes=self.notes,
            formats=self.formats,
            units=self.units,
            places=np.asarray(places, dtype=np.int64),
            time=self.time,
        )


def is_data_file(path: Path) -> bool:
    """Tell whether a path names a file that :func:`read_files` can read.

    A ``.txt`` file is one if a table stands in it, a ``.json`` file if objects for readings do, and
    a database if it is Home Assistant's.
    """
    name = path.name.lower()
    if name.startswith(".") or not name.endswith(SUFFIXES):
        return False
    if name.endswith(DATABASE_SUFFIXES) and path.is_file():
        return is_home_assistants(path)
    look = looks_like_table if name.endswith(".txt") else looks_like_records
    open_name = name.removesuffix(".gz")
    if not (name.endswith(".txt") or open_name.endswith(JSON_SUFFIXES)) or not path.is_file():
        return True
    try:
        return look(sources_of(path)[0][0])
    except SourceError:
        return False


@contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder that cannot be looked into into a `SourceError`.

    Args:
        folder: Its path, for messages.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise SourceError(
            f"{folder} cannot be looked into: {why}",
            hint="let the user that runs this read the folder and what is in it, or take it away",
        ) from None


def stem(path: Path) -> str:
    """Return a file's name without its suffix (``.csv.gz`` is one), a folder's name as it is."""
    lower = path.name.lower()
    suffix = max((end for end in SUFFIXES if lower.endswith(end)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def read_files(path: Path, *, step: str = "", used: Collection[str] | None = None) -> Raw:
    """Read one file, or all data files of a folder one below the other in the order of names.

    Where a folder holds a database of Home Assistant, as its own folder does, it alone is read.

    Args:
        path: A text table (``.csv``, ``.tsv``, ``.txt``, each also as ``.gz``), a ``.zip`` of one
            home's files, a workbook (``.xlsx``), a Parquet file, JSON (:mod:`.json_files`, also as
            ``.gz``), a database of Home Assistant, or a folder of such files.
        step: The plan's ``data.step``, for a database, which has no rows of its own.
        used: Columns that will be used: others of a database are not read. None: all may be.

    Raises:
        SourceError: No such file or folder, nothing in it, or a file that cannot be read.
    """
    notes: list[str] = []
    with folder_errors(path):
        is_folder, there = path.is_dir(), path.exists()
    if is_folder:
        with folder_errors(path):
            paths = sorted(file for file in path.iterdir() if file.is_file() and is_data_file(file))
            if not paths:
                raise SourceError(f"{path} holds no file of readings", hint=_what_there_is(path))
            databases = [file for file in paths if file.name.lower().endswith(DATABASE_SUFFIXES)]
            paths = databases or paths
            notes += _beside(path, paths)
    elif there and not path.is_file():  # whoever opens a pipe waits for ever for its other end
        raise SourceError(
            f"{path} is a pipe, a device or a socket, and no file",
            hint="save what it gives as a file; a home records what comes with "
            "`COMMAND | fedhome client record HOME -`",
        )
    elif there:
        paths = [path]
    else:
        raise SourceError(f"{path}: there is no such file or folder", hint=LAYOUT_HINT)
    tables: list[FileTable] = []
    for file in paths:
        sources, said = sources_of(file, inside=path.name if is_folder else "")
        notes += said
        for source in sources:
            tables += _read(source, step, used)
    notes += [note for table in tables for note in table.notes]
    try:
        rows = pa.concat_tables([table.rows for table in tables], promote_options="permissive")
    except pa.ArrowException:
        raise SourceError(
            f"{path}: the files of this home disagree about what their columns hold",
            hint="give a column of the same name the same kind of content in all files of a home, "
            "and keep to one format, such as CSV",
        ) from None
    return Raw(
        rows=rows,
        files=tuple((table.name, table.length) for table in tables),
        notes=tuple(dict.fromkeys(notes)),
        formats=tuple(table.format for table in tables),
        units=_units(tables),
        places=_places(tables),
        time=tables[0].time,
    )


_READERS: Mapping[str, Callable[[Source], Sequence[FileTable]]] = {
    ".parquet": read_parquet,
    ".xlsx": read_workbook,
    **dict.fromkeys(JSON_SUFFIXES, read_json),
}
_KINDS = {
    ".parquet": PARQUET,
    ".xlsx": ZIP,
    **dict.fromkeys(JSON_SUFFIXES, JSON),
    **dict.fromkeys(DATABASE_SUFFIXES, SQLITE),
}


def _read(source: Source, step: str, used: Collection[str] | None) -> Sequence[FileTable]:
    refuse_other_kinds(source.name, source.head(), _KINDS.get(source.suffix))
    if source.suffix in DATABASE_SUFFIXES:
        return read_home_assistant(source, step=step, used=used)
    reader = _READERS.get(source.suffix)
    return [read_text(source)] if reader is None else reader(source)


def _beside(folder: Path, read: Sequence[Path]) -> list[str]:
    """Return a note of what else is in a folder of data files, if there is anything."""
    others = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if path not in read
        and not path.name.startswith(".")
        and path.name != _OF_HOMES
        and not of_database(path)
    )
    return [f"in {folder.name}/, left out: {some(others)}"] if others else []


def _what_there_is(folder: Path) -> str:
    """Return the hint for a folder without a data file: where some are, or what its files are."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        with folder_errors(inner):
            there = any(is_data_file(file) for file in inner.iterdir() if file.is_file())
        if there:
            return (
                f"folders in a home's folder are not looked into, but {inner} holds such files: "
                "name that folder as the source where each file of it is a home, or move the "
                f"files up into {folder} where all are of one home"
            )
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            try:
                with file.open("rb") as stream:
                    kind = kind_of(stream.read(HEAD_BYTES))
            except OSError:
                continue
            if kind is not None:
                return f"{folder.name}/{file.name} is {kind.words}: {kind.hint}"
    return LAYOUT_HINT


def _units(tables: Sequence[FileTable]) -> dict[str, str]:
    units: dict[str, str] = {}
    for table in tables:
        for name, unit in table.units.items():
            if units.setdefault(name, unit) != unit:
                raise SourceError(
                    f"{table.name} gives column {name!r} in {unit}, a file before it in "
                    f"{units[name]}",
                    hint="give a column of the same name the same unit in all files of a home",
                )
    return units


def _places(tables: Sequence[FileTable]) -> NDArray[np.int64] | None:
    if all(table.places is None for table in tables):
        return None
    places, start = [], 0
    for table in tables:
        own = np.arange(table.rows.num_rows) if table.places is None else table.places
        places.append(own.astype(np.int64) + start)
        start += table.length
    return np.concatenate(places)
