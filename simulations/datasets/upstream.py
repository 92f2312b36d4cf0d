"""Reading what publishers publish: folders, archives (also nested), CSV with known columns."""

from __future__ import annotations

import gzip
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from fedhome.errors import SourceError

_LARGEST_BYTES = 512 * 2**20


def find(path: Path, pattern: str) -> dict[str, bytes]:
    """Return the files whose name matches, from a folder, an archive, or a single file.

    Looks into archives inside the archive too, and unpacks ``.gz``.

    Args:
        path: A folder, a zip archive (a wheel is one), or one file.
        pattern: Regular expression for the end of the name, with ``/`` between folders
            and without ``.gz``.

    Raises:
        SourceError: Nothing matches, or it cannot be read.
    """
    wanted = re.compile(rf"(^|/){pattern}(\.gz)?$")
    files: dict[str, bytes] = {}
    try:
        for name, content in _walk(path, wanted):
            plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
            files[name.removesuffix(".gz")] = plain
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        raise SourceError(
            f"{path.name} cannot be read as a file or archive", hint="download it again"
        ) from None
    if not files:
        raise SourceError(
            f"{path.name} holds no file like {pattern}",
            hint="give the file, the archive or the folder as it was downloaded",
        )
    return dict(sorted(files.items()))


def _walk(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if file.is_file() and wanted.search(name):
            yield name, file.read_bytes()
        elif file.is_file() and zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                yield from _unzip(archive, wanted)


def _unzip(archive: zipfile.ZipFile, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    for entry in archive.infolist():
        # macOS archives carry a shadow file beside every file.
        if entry.filename.startswith("__MACOSX/") or entry.file_size > _LARGEST_BYTES:
            continue
        if wanted.search(entry.filename):
            yield entry.filename, archive.read(entry)
        elif entry.filename.endswith(".zip"):
            with archive.open(entry) as inside, tempfile.TemporaryFile() as copy:
                _copy(inside, copy)
                with zipfile.ZipFile(copy) as inner:
                    yield from _unzip(inner, wanted)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while chunk := source.read(2**20):
        target.write(chunk)


def read_columns(
    name: str,
    content: bytes,
    *,
    numbers: Sequence[str],
    text: Sequence[str] = (),
    header: Sequence[str] | None = None,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, list[str]]]:
    """Read known columns of a CSV file.

    Args:
        name: The file's name, for messages.
        content: The file.
        numbers: Columns of numbers; missing cells become NaN.
        text: Columns of text; missing cells become ``""``.
        header: Names of all columns, where the file's own first row does not say them.

    Returns:
        The columns of numbers, float64 ``[rows]``, and those of text.

    Raises:
        SourceError: A column is not there, or holds something else.
    """
    types = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(text, pa.string())
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(
                column_names=header, skip_rows=1 if header else 0, use_threads=False
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(types), column_types=types
            ),
        )
        values = {key: np.array(table[key].to_numpy(), dtype=np.float64) for key in numbers}
        words = {key: [cell or "" for cell in table[key].to_pylist()] for key in text}
    except (pa.ArrowException, ValueError) as error:
        absent = re.search(r"Column '(.*)' in include_columns does not exist", str(error))
        reason = f"it has no column {absent[1]!r}" if absent else "its cells are not as published"
        raise SourceError(
            f"{name} is not the file of this data set: {reason}", hint="download it again"
        ) from None
    return values, words


def local_seconds(name: str, texts: Sequence[str], *, utc_offset_h: float) -> NDArray[np.int64]:
    """Turn ``YYYY-MM-DD HH:MM:SS`` on a clock with a fixed offset into UTC seconds.

    Raises:
        SourceError: A text that is no such time.
    """
    try:
        clock = np.array(texts, dtype="datetime64[s]")
    except ValueError:
        clock = np.array(["NaT"], dtype="datetime64[s]")
    if bool(np.isnat(clock).any()):
        raise SourceError(
            f"{name} is not the file of this data set: a time in it is not as published",
            hint="download it again",
        )
    return clock.astype(np.int64) - round(3600 * utc_offset_h)


def as_classes(texts: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the index of each text in the sorted ``classes``; NaN for ``""``."""
    index_of = {label: float(index) for index, label in enumerate(classes)} | {"": np.nan}
    return np.array([index_of[text] for text in texts], dtype=np.float64)
