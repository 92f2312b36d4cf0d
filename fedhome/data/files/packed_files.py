"""Files as streams of bytes, whether they lie open or packed; none unfolds without bound."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fedhome.counted import counted, was
from fedhome.data.files.file_kinds import GZIP, HEAD_BYTES, ZIP, refuse_other_kinds
from fedhome.data.files.table_file import unreadable
from fedhome.errors import SourceError

MOST_TIMES = 200
"""How many times its packed size a file may unfold to."""
MOST_BYTES = 4 * 2**30
"""How many bytes a packed file may unfold to."""
FREE_BYTES = 2**24
"""What any file may unfold to, however small it is."""
BLOCK = 1 << 20
PLAIN_TEXT = (".csv", ".tsv", ".txt")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_READABLE = (*PLAIN_TEXT, ".parquet", ".xlsx")
_BOMB_HINT = "unpack it yourself, if you know what it is, and give the file as it is"
_SYSTEM_HINT = "let the user that runs this read it, and see whether its disk is whole"
_MOST_MEMBERS = 10_000
# What the standard library raises for damaged archives, on purpose and otherwise.
_TORN = (
    *(zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, struct.error),
    *(EOFError, ValueError, LookupError, OverflowError, MemoryError),
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file that may hold a table, however it is packed.

    Args:
        name: Its name, as messages give it.
        suffix: ``.csv``, ``.tsv``, ``.txt``, ``.parquet``, ``.xlsx``, or one of `JSON_SUFFIXES`
            and `DATABASE_SUFFIXES`.
        size: Bytes that it takes on the disk, packed.
        opened: Returns its bytes from the start; errors of what reads them are typed.
        packed: How it is packed, in words; empty where it is not.
        path: Where it lies, if it is not packed.
    """

    name: str
    suffix: str
    size: int
    opened: Callable[[], BinaryIO]
    packed: str = ""
    path: Path | None = None

    def head(self, size: int = HEAD_BYTES) -> bytes:
        """Return the first bytes."""
        with self.opened() as stream:
            return stream.read(size)

    def content(self) -> bytes:
        """Return all bytes."""
        with self.opened() as stream:
            return stream.read()


def most_unfolded(size: int) -> int:
    """Return how many bytes a packed file may unfold to.

    Args:
        size: Bytes that it takes packed.
    """
    return max(FREE_BYTES, min(MOST_BYTES, MOST_TIMES * size))


def bomb(name: str, *, what: str = "unfolds to") -> SourceError:
    """Return the error for a file that grows without measure when it is read."""
    return unreadable(
        name,
        f"it {what} more than {MOST_TIMES} times its size, or more than {MOST_BYTES // 2**30} GB",
        hint=_BOMB_HINT,
    )


class _Guarded(io.RawIOBase):
    """Bytes of a stream whose own errors become typed ones, and whose length is bounded."""

    def __init__(self, stream: BinaryIO, *, name: str, kind: str, most: int | None) -> None:
        self._stream, self._name, self._kind, self._left = stream, name, kind, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with typed_errors(self._name, self._kind):
            data = self._stream.read(len(buffer))
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise bomb(self._name)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextmanager
def typed_errors(name: str, kind: str) -> Iterator[None]:
    """Turn what reading a file raises into a :class:`~fedhome.errors.SourceError`.

    Args:
        name: The file's name.
        kind: What it should be, such as "gzip file".
    """
    try:
        yield
    except NotImplementedError:
        reason = f"its {kind} is packed in a way that is not known here"
        raise unreadable(name, reason, hint="pack it as the usual .zip or .csv.gz") from None
    except RuntimeError:
        raise unreadable(name, "it is locked by a password", hint="save it without one") from None
    except _TORN:
        raise unreadable(name, f"it is not a whole {kind}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise unreadable(name, reason, hint=_SYSTEM_HINT) from None


def _stream(
    opened: BinaryIO, *, name: str, kind: str = "file", most: int | None = None
) -> BinaryIO:
    return io.BufferedReader(_Guarded(opened, name=name, kind=kind, most=most), BLOCK)


def sources_of(path: Path, *, inside: str = "") -> tuple[list[Source], list[str]]:
    """Return the files of tables in a file: itself, or what an archive holds; and notes.

    Args:
        path: An existing file.
        inside: Name of the folder that it is one of, for messages; empty: it is read alone.

    Raises:
        SourceError: It cannot be opened, or is not what its name says.
    """
    name, lower = f"{inside}/{path.name}" if inside else path.name, path.name.lower()
    with typed_errors(name, "file"):
        size = path.stat().st_size

    def plain() -> BinaryIO:
        with typed_errors(name, "file"):
            return _stream(path.open("rb"), name=name)

    with plain() as stream:
        head = stream.read(HEAD_BYTES)
    if lower.endswith(".gz"):
        refuse_other_kinds(name, head, GZIP)
        return [_gzip(path, size, name)], []
    if lower.endswith(".zip"):
        refuse_other_kinds(name, head, ZIP)
        return _members(path, size, name)
    known = (*_READABLE, *JSON_SUFFIXES, *DATABASE_SUFFIXES)
    suffix = next((end for end in known if lower.endswith(end)), ".csv")
    return [Source(name=name, suffix=suffix, size=size, opened=plain, path=path)], []


def _gzip(path: Path, size: int, name: str) -> Source:
    inner = path.name[: -len(".gz")].lower()
    suffix = next((end for end in (*PLAIN_TEXT, *JSON_SUFFIXES) if inner.endswith(end)), ".csv")

    def opened() -> BinaryIO:
        with typed_errors(name, "gzip file"):
            stream = gzip.open(path, "rb")  # noqa: SIM115  (closed with what wraps it)
        most = most_unfolded(size)
        return _stream(stream, name=name, kind="gzip file", most=most)  # type: ignore[arg-type]

    return Source(name=name, suffix=suffix, size=size, opened=opened, packed="gzip")


def _members(path: Path, size: int, name: str) -> tuple[list[Source], list[str]]:
    with typed_errors(name, "zip archive"), zipfile.ZipFile(path) as archive:
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(files) > _MOST_MEMBERS:
        raise unreadable(name, f"it holds {len(files)} files", hint=_BOMB_HINT)
    if sum(entry.file_size for entry in files) > most_unfolded(size):
        raise bomb(name)
    visible = [entry for entry in files if not _hidden(entry.filename)]
    tables = sorted(
        (entry for entry in visible if entry.filename.lower().endswith(_READABLE)),
        key=lambda entry: entry.filename,
    )
    words = [entry for entry in tables if entry.filename.lower().endswith(".txt")]
    if len(words) < len(tables):  # a text beside tables is about them
        tables = [entry for entry in tables if entry not in words]
    if not tables:
        raise unreadable(
            name,
            "no CSV, Parquet or xlsx file is in the archive",
            hint="pack the files of one home, without archives inside",
        )
    names = [entry.filename for entry in tables]
    if len(set(names)) < len(names):
        raise unreadable(name, "two files in it have the same name", hint=_BOMB_HINT)
    others = len(visible) - len(tables)
    notes = [f"{name}: {counted(others, 'file')} in it without a table {was(others)} left out"]
    alone = len(tables) == 1
    sources = [
        _member(path, size, entry, name if alone else f"{name}/{entry.filename}")
        for entry in tables
    ]
    return sources, notes if others else []


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _member(path: Path, size: int, entry: zipfile.ZipInfo, name: str) -> Source:

    def opened() -> BinaryIO:
        with typed_errors(name, "zip archive"):
            archive = zipfile.ZipFile(path)
            try:
                stream = archive.open(entry)
            finally:
                archive.close()  # the member keeps the file open for itself
        most = most_unfolded(size)
        return _stream(stream, name=name, kind="zip archive", most=most)  # type: ignore[arg-type]

    lower = entry.filename.lower()
    suffix = next(end for end in _READABLE if lower.endswith(end))
    return Source(name=name, suffix=suffix, size=size, opened=opened, packed="zip")
