"""Files of readings as Arrow tables: CSV with every cell as text, Parquet as it is typed."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedhome.errors import SourceError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
UNNAMED = "(unnamed)"
"""Name of a first column that has none in its file, such as an index that pandas wrote."""
LAYOUT_HINT = (
    "a data folder holds one CSV (.csv, .csv.gz) or Parquet file, or one sub-folder of such "
    "files, for each home; each file has a header row, a column `time` and one column per reading"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """The rows of one home's files, in the order of the files.

    Args:
        rows: All rows; cells of CSV files are text.
        files: Name and number of rows of each file, in the order of ``rows``.
        notes: What was left out, in plain sentences.
        places: Place of each row among the rows of all files, from 0, where some of the files'
            rows were left out; None where each row stands at its own.
    """

    rows: pa.Table
    files: tuple[tuple[str, int], ...]
    notes: tuple[str, ...] = ()
    places: NDArray[np.int64] | None = None

    def location(self, row: int) -> str:
        """Return the file and the row in it, counted from 1 below the header, of a row."""
        place = row if self.places is None else int(self.places[row])
        for name, count in self.files:
            if place < count:
                return f"{name}, row {place + 1}"
            place -= count
        raise IndexError(row)


def is_data_file(path: Path) -> bool:
    """Tell whether a path names a file that :func:`read_files` can read."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """Return a file's name without its suffix (``.csv.gz`` is one), a folder's name as it is."""
    suffix = next((end for end in SUFFIXES if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(suffix)]


def read_files(path: Path) -> Raw:
    """Read one file, or all data files of a folder one below the other in the order of names.

    Raises:
        SourceError: No such file or folder, nothing in it, or a file that cannot be read.
    """
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.is_file() and is_data_file(file))
        if not paths:
            raise SourceError(f"{path} holds no CSV or Parquet file", hint=LAYOUT_HINT)
    elif path.exists():
        paths = [path]
    else:
        raise SourceError(f"{path}: there is no such file or folder", hint=LAYOUT_HINT)
    tables, notes = [], []
    for file in paths:
        table, note = _parquet(file) if file.name.lower().endswith(".parquet") else _csv(file)
        tables.append(table)
        notes += note
    try:
        rows = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        raise SourceError(
            f"{path}: the files of this home disagree about what their columns hold",
            hint="give a column of the same name the same kind of content in all files of a home, "
            "and keep to one format, CSV or Parquet",
        ) from None
    sizes = tuple((file.name, table.num_rows) for file, table in zip(paths, tables, strict=True))
    return Raw(rows=rows, files=sizes, notes=tuple(dict.fromkeys(notes)))


def _csv(path: Path) -> tuple[pa.Table, list[str]]:
    header, *rest = re.split(rb"\r\n|\n|\r", _content(path).lstrip(b"\r\n"), maxsplit=1)
    try:
        text = header.decode("utf-8")
        # A header has no free text, so the commonest separator in it is the separator.
        separator = max(",;\t", key=text.count)
        names = [name.strip() for name in next(csv.reader([text], delimiter=separator), [])]
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not text in UTF-8") from None
    except csv.Error:
        raise _unreadable(path, "its header row cannot be read") from None
    if not any(names) or all(_NUMBER.fullmatch(name) for name in names if name):
        raise SourceError(f"{path.name} has no header row", hint=LAYOUT_HINT)
    _refuse_twins(path, names)
    keys = [name or f"\0{index}" for index, name in enumerate(names)]
    body = rest[0] if rest else b""
    if body.strip(b"\r\n"):
        table = _cells(path, body, keys, separator)
    else:
        table = pa.table({key: pa.array([], pa.string()) for key in keys})
    unnamed = [key for key in keys if key.startswith("\0")]
    notes = [f"{path.name}: a column without a name was left out"] if unnamed else []
    return table.drop_columns(unnamed), notes


def _cells(path: Path, body: bytes, names: Sequence[str], separator: str) -> pa.Table:
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(body),
            read_options=pyarrow.csv.ReadOptions(column_names=list(names), use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string())
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        # The parser's own message quotes the row, which is private.
        row = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        reason = (
            f"row {row[1]} has {row[3]} cells, but the header has {row[2]}"
            if row
            else "its rows are not CSV in UTF-8"
        )
        raise _unreadable(path, reason) from None
    if separator == ";":
        table = pa.table(
            {
                name: pc.replace_substring_regex(table[name], r"^(\s*[+-]?\d+),(\d+\s*)$", r"\1.\2")
                for name in table.column_names
            }
        )
    return table


def _parquet(path: Path) -> tuple[pa.Table, list[str]]:
    try:
        table = pq.read_table(pa.BufferReader(_content(path)), use_threads=False)
        table.validate(full=True)
        names = table.column_names
    except (pa.ArrowException, OSError, ValueError):
        raise _unreadable(path, "it is not a whole Parquet file") from None
    _refuse_twins(path, names)
    return table, []


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
    except (zlib.error, EOFError, gzip.BadGzipFile):
        raise _unreadable(path, "it is not a whole gzip file") from None
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from None
    if not data:
        raise _unreadable(path, "it is empty")
    return data.removeprefix(b"\xef\xbb\xbf")


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    twins = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twins:
        raise SourceError(
            f"{path.name} has several columns of the name {', '.join(map(repr, twins))}",
            hint="give every column a name of its own",
        )


def _unreadable(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"{path.name} cannot be read: {reason}",
        hint="save it again as CSV in UTF-8 with a header row, or as Parquet",
    )
