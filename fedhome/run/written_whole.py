"""Files of a run that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fedhome.denied import check_ordinary
from fedhome.errors import RunError, StateError
from fedhome.run.kept_table import read_kept_table
from fedhome.run.model_file import unreadable
from fedhome.store import disk

_MOST_TEXT = 1 << 29  # bytes: how a hundred thousand homes' files were read


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a power cut, sees the old one or the new one.

    Raises:
        RunError: It cannot be written; what was there before is untouched.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with new.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        if os.name == "posix":
            # The rename itself is only durable once the folder is on the disk.
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        with suppress(OSError):  # such as on a disk that became read-only
            new.unlink(missing_ok=True)
        raise RunError(
            f"{path} cannot be written: {error.strerror}",
            hint="the run's folder must exist and be writable, and the disk must not be full",
        ) from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet, as :func:`write_atomically` writes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(path, sink.getvalue().to_pybytes())


def read_whole(path: Path) -> bytes:
    """Return a file's bytes: the folder may be somebody else's, and the file a hole of terabytes.

    Raises:
        RunError: It is missing, no ordinary file, longer than 512 MiB, or cannot be read.
    """
    try:
        return disk.read(path, most=_MOST_TEXT)
    except StateError as error:
        if error.reason == "missing":
            raise unreadable(path, FileNotFoundError()) from None
        raise RunError(error.message, hint=error.hint) from None


def read_table(path: Path) -> pa.Table:
    """Return a table.

    Raises:
        RunError: It is missing or damaged, or grows without measure when it is read.
    """
    try:
        check_ordinary(RunError, path)
        return read_kept_table(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise unreadable(path, error) from None
