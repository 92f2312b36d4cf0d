"""Files that grow, and folders that get new ones, into a home's store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedhome.clients.recorded.arriving_lines import ArrivingLines
from fedhome.clients.recorded.recording import JSON_LINES, Recorded, Recorder
from fedhome.clients.recorded.streams import PatientWrites
from fedhome.data.files.data_files import is_data_file
from fedhome.errors import DataError, SourceError

_TEXT: Final = (".csv", ".tsv", ".txt", *JSON_LINES)
_BLOCK = 1 << 22  # bytes of a file that are read together

Told = Callable[[Path, int | None, Recorded], None]
"""Takes a file, how many of its lines have come, and what became of the last: on the disk now."""


@dataclass
class _Growing:
    """How far a file of text was read."""

    lines: ArrivingLines
    identity: int
    offset: int = 0


class FollowedFiles:
    """What grows: a file, or the files of a folder.

    A text file is read on from where it ended; whole lines alone count. Other files are recorded
    whole, again when they have changed. What a store knows already is not written again, so that
    nothing need be remembered between two starts.

    Args:
        path: The file or folder.
        recorder: What records.
        told: Is called when readings are on the disk, and not before.
        fault: Takes in words what cannot be recorded, or is waited for.
        pause: Waits for seconds; what it returns is true where it is to be given up.
    """

    def __init__(
        self,
        path: Path,
        recorder: Recorder,
        told: Told,
        fault: Callable[[str], None],
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._path, self._recorder, self._told, self._fault = path, recorder, told, fault
        self._writes = PatientWrites(recorder, fault, pause=pause)
        self._growing: dict[Path, _Growing] = {}
        self._whole: dict[Path, list[tuple[int, int]]] = {}
        self._faults: dict[Path, str] = {}

    def look(self) -> None:
        """Record what is there that was not at the last look.

        Raises:
            SourceError: The file or folder is not there.
            StateError: The store cannot be used.
        """
        try:
            files = self._files()
        except OSError as error:
            self._tell_once(self._path, f"{error.strerror}; it is tried again")
            return
        if self._path not in files:  # a folder; what is wrong with a file is known below
            self._faults.pop(self._path, None)
        for path in files:
            try:
                if path.name.lower().endswith(_TEXT):
                    self._read_on(path)
                else:
                    self._read_whole(path)
            except FileNotFoundError:
                continue  # it went between two looks
            except OSError as error:
                self._tell_once(path, f"{error.strerror}; it is tried again")
            except DataError as error:
                self._tell_once(path, error.with_hint)
            else:
                self._faults.pop(path, None)

    def _tell_once(self, path: Path, why: str) -> None:
        if self._faults.get(path) != why:
            self._faults[path] = why
            self._fault(f"{path}: {why}")

    def _files(self) -> list[Path]:
        if self._path.is_dir():
            return sorted(path for path in self._path.iterdir() if _is_followed(path))
        if not self._path.exists():
            raise SourceError(
                f"{self._path}: there is no such file or folder",
                hint="name one that is there; it may still be empty",
            )
        return [self._path]

    def _read_on(self, path: Path) -> None:
        with path.open("rb") as file:
            there = path.stat()
            known = self._growing.get(path)
            if known and (known.identity != there.st_ino or there.st_size < known.offset):
                self._fault(f"{path} was begun anew, and is read from its beginning")
                known = None
            if known is None:
                known = _Growing(lines=self._recorder.lines(path.name), identity=there.st_ino)
            file.seek(known.offset)
            for block in _whole_lines(file.read, there.st_size - known.offset):
                batch = known.lines.take(block.splitlines())
                # Only now, so that a file of which nothing can be made out is tried anew.
                self._growing[path] = known
                known.offset += len(block)
                done = self._writes.kept(batch, known.lines.lines)
                if batch.table is not None or batch.refused:
                    self._told(path, known.lines.lines, done)

    def _read_whole(self, path: Path) -> None:
        state = _state(path)
        if self._whole.get(path) == state:
            return
        self._whole[path] = state  # also where it cannot be read: it is tried when it has changed
        self._told(path, None, self._recorder.file(path))


def _state(path: Path) -> list[tuple[int, int]]:
    """Return what tells one state of a file from another: of a database, also what waits for it."""
    waits = path.with_name(f"{path.name}-wal")
    stats = [path.stat(), *([waits.stat()] if waits.exists() else [])]
    return [(one.st_size, one.st_mtime_ns) for one in stats]


def _is_followed(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    return path.name.lower().endswith(JSON_LINES) or is_data_file(path)


def _whole_lines(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Yield what a file has more, in blocks that end with a line."""
    rest = b""
    while size > 0 and (data := read(min(_BLOCK, size))):
        size -= len(data)
        block = rest + data
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        if end:
            yield block[:end]
