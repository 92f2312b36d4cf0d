"""A run's log that another process goes on writing: each line of it is read and checked once."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from fedhome.errors import EventLogError
from fedhome.run.events import FIRST, Event, events_in


class GrowingLog:
    """Reads one log again and again, or another one from its start; threads may share it.

    What was read stays as it was read: who wants to know whether a log was altered since reads it
    whole (:func:`fedhome.run.events.read_events`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin(Path(), 0)

    def _begin(self, path: Path, inode: int) -> None:
        self._path, self._inode, self._read, self._last = path, inode, 0, FIRST
        self._events: list[Event] = []

    def read(self, path: Path) -> Sequence[Event]:
        """Return the events of a log so far; none before it is begun.

        A last line without its end is left for the next time.

        Args:
            path: The log.

        Raises:
            EventLogError: It cannot be read, or the first bad line with what is wrong.
        """
        with self._lock:
            try:
                with path.open("rb") as file:
                    state = os.fstat(file.fileno())
                    # A log only ever grows: one that is shorter was put back from a copy.
                    same = (path, state.st_ino) == (self._path, self._inode)
                    if not same or state.st_size < self._read:
                        self._begin(path, state.st_ino)
                    file.seek(self._read)
                    lines = file.readlines()
            except FileNotFoundError:
                self._begin(Path(), 0)
                return ()
            except OSError as error:
                raise EventLogError(
                    f"{path} cannot be read: {type(error).__name__}", hint="is this a run's folder?"
                ) from error
            whole = [line for line in lines if line.endswith(b"\n")]
            if whole:
                first = len(self._events)
                self._events += events_in(path, whole, first=first, prev=self._last)
                self._last = hashlib.sha256(whole[-1][:-1]).hexdigest()
                self._read += sum(map(len, whole))
            return tuple(self._events)
