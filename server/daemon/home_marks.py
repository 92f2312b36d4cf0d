"""How far each home's sealed state had come, as the home itself has said: backups show by it.

A home's folder that is put back whole looks sound from inside: its state and the mark beside it are
of one moment. What lies elsewhere is not put back with it. So each claim and each request for a
release says how often the home's state was saved, and what says less than before is refused.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fedhome.errors import DirectoryError, StateError
from fedhome.secagg.directory import MOST_HOMES, Directory
from fedhome.store import checksummed
from fedhome.wire.codec import Key, Message, number, several

MARKS = "marks.fh"
"""Their file, in the folder of the homes' claims."""
_KEEP_S = 60.0  # a file for all homes, so that many of them that ask cost one write
_log = logging.getLogger("fedhome.front")


@dataclass(frozen=True, kw_only=True)
class HomeMark(Message, label="home-mark", most=128):
    """What one home has said.

    Args:
        identity: Its public key: with other keys a home begins anew.
        saves: How often its state was saved, at least.
    """

    identity: Key
    saves: Annotated[int, number()]


@dataclass(frozen=True, kw_only=True)
class _AllMarks(Message, label="home-marks", most=1 << 25):
    marks: Annotated[tuple[HomeMark, ...], several(HomeMark.kind(), most=MOST_HOMES)]


class HomeMarks:
    """The marks of a fleet's homes. What is heard counts at once, and is written once a minute.

    Args:
        folder: Where their file lies.
        clock: Seconds that only ever go forward.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = folder / MARKS, clock
        self._lock = threading.Lock()
        self._saves = self._read()
        self._due, self._kept = clock(), True
        self._told = ""

    def check(self, home: str, saves: int, directory: Directory) -> None:
        """Refuse a home whose state is older than one that it has had; else remember how far it is.

        Args:
            home: A home of the directory, whose signature was verified.
            saves: How often its state was saved, as it says.
            directory: The one in force; homes that are not in it are forgotten.

        Raises:
            DirectoryError: ``rolled-back``.
        """
        identity = directory.entries[home].identity
        with self._lock:
            before = self._saves.get(identity, 0)
            if saves < before:
                raise DirectoryError(
                    f"the state of {home!r} was saved {saves} times, and it had come to {before}",
                    reason="rolled-back",
                    hint="its folder came from a backup, or its disk has lost what it wrote: an "
                    "older copy could use a key twice, so enrol the home anew, with new keys "
                    "(`fedhome reasons rolled-back` says how)",
                )
            self._saves[identity] = saves
            self._kept = self._kept and saves == before
            # Also when nothing is new: what came within the minute is still to be written.
            if not self._kept and self._clock() >= self._due:
                self._due = self._clock() + _KEEP_S
                self._keep({entry.identity for entry in directory.homes})

    def _keep(self, listed: set[bytes]) -> None:
        """Write what is known of homes; where the disk does not take it, it is tried again."""
        self._saves = {key: saves for key, saves in self._saves.items() if key in listed}
        marks = tuple(
            HomeMark(identity=key, saves=saves) for key, saves in sorted(self._saves.items())
        )
        try:
            checksummed.put(self._path, _AllMarks(marks=marks))
        except StateError as error:
            if error.message != self._told:
                self._told = error.message
                _log.warning("how far homes' states had come was not saved: %s", error)
        else:
            self._kept, self._told = True, ""

    def _read(self) -> dict[bytes, int]:
        if not self._path.exists():
            return {}
        try:
            stored = checksummed.read(self._path, _AllMarks)
        except StateError as error:
            _log.warning(
                "%s: until homes have come back, one from a backup goes unnoticed; there is "
                "nothing to do",
                error.message,
            )
            return {}
        return {mark.identity: mark.saves for mark in stored.marks}
