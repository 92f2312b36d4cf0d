"""The files of a home's store of readings: parts by day, each a sealed Parquet file.

::

    readings/2026-11-28.000003.fh    the third part of what was read on that day, in UTC

A part is never changed. A later one of the same day counts where both hold a reading of one moment,
and one that holds all before it takes their place. So whatever a crash leaves is a whole store.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError, StateError
from fedhome.keys.sealing import SealedFile, SealingKey
from fedhome.store import disk

MOST_BYTES: Final = 1 << 25
"""Of a part, before it is sealed."""
_NAME = re.compile(r"(\d{4,6}-\d\d-\d\d)\.(\d{6,})\.fh")


class Part(NamedTuple):
    """A file of readings of one day."""

    day: str
    number: int
    path: Path


class Parts:
    """The parts in a folder.

    Args:
        folder: The folder.
        home: The home's name: a part of another home is refused.
        key: The key of its readings (:mod:`.readings_key`).
    """

    def __init__(self, folder: Path, home: str, key: bytes) -> None:
        self.folder, self._home, self._key = folder, home, SealingKey(key)

    def listed(self, day: str | None = None) -> list[Part]:
        """Return the parts, in the order of days and of writing.

        Args:
            day: The day of which they are wanted; None: all.

        Raises:
            StateError: ``missing``, ``not-writable`` or ``disk``.
        """
        with disk.errors_of(self.folder):
            names = [path.name for path in self.folder.iterdir()]
        found = [match for match in map(_NAME.fullmatch, names) if match]
        parts = [Part(one[1], int(one[2]), self.folder / one[0]) for one in found]
        return sorted(part for part in parts if day in {None, part.day})

    def read(self, part: Part) -> HomeTable:
        """Return what a part holds.

        Raises:
            StateError: ``missing``, ``truncated``, ``altered``, ``foreign`` (of another home, day
                or number), ``format`` (of another release), ``wrong-key``, or as of `disk.read`.
        """
        from fedhome.data.files.home_parquet import read_home_back  # noqa: PLC0415 - arrow

        where = str(part.path)
        sealed = SealedFile.from_file(disk.read(part.path), purpose=_purpose(part.day), where=where)
        if (sealed.head.name, sealed.head.version) != (self._home, part.number):
            raise StateError(f"{where} is another file than its name says", reason="foreign")
        try:
            return read_home_back(self._key.open(sealed, where=where), home=self._home)
        except SourceError as error:  # its seal is sound, so this is no damage
            raise StateError(
                f"{where}: {error.message}",
                reason="format",
                hint="another release of fedhome wrote it: use that one",
            ) from None

    def write(self, tables: Mapping[str, HomeTable]) -> None:
        """Write a part for each of some days; all are durable when this returns.

        Args:
            tables: Rows by day.

        Raises:
            StateError: ``size``, or as of `disk.put`. Without room for all, none is written.
        """
        last = {part.day: part.number for part in self.listed()}
        staged: list[tuple[Path, Path]] = []
        try:
            for day, table in tables.items():
                number = last.get(day, 0) + 1
                path = self.folder / f"{day}.{number:06d}.fh"
                staged.append((disk.stage(path, self._sealed(table, day, number)), path))
        except StateError:
            for _, path in staged:
                disk.discard(path)
            raise
        for new, path in staged:
            with disk.errors_of(path):
                os.replace(new, path)  # noqa: PTH105 - a test ends the process at each step
        disk.sync(self.folder)

    def remove(self, parts: Sequence[Part]) -> None:
        """Remove parts, the first written first: what is left never counts more than it did.

        Raises:
            StateError: ``not-writable`` or ``disk``.
        """
        for part in sorted(parts):
            with disk.errors_of(part.path):
                part.path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a crash left half-written.

        Raises:
            StateError: ``not-writable`` or ``disk``.
        """
        with disk.errors_of(self.folder):
            for path in self.folder.glob(f"*{disk.NEW}"):
                path.unlink(missing_ok=True)

    def _sealed(self, table: HomeTable, day: str, number: int) -> bytes:
        from fedhome.data.files.home_parquet import write_home  # noqa: PLC0415 - arrow

        stream = io.BytesIO()
        write_home(table, stream)
        content = stream.getvalue()
        if len(content) > MOST_BYTES:
            raise StateError(
                f"the readings of {day} take {len(content):,} bytes: a day may have {MOST_BYTES:,}",
                reason="size",
                hint="record fewer columns, or one reading a second at most",
            )
        return self._key.seal(content, purpose=_purpose(day), name=self._home, version=number)


def _purpose(day: str) -> str:
    return f"home's readings of {day}"
