"""Numbers of sums, which rise for as long as a fleet lives: homes refuse one that has passed."""

from __future__ import annotations

from pathlib import Path

from fedhome.plan import Aggregation
from fedhome.secagg import disk
from server.scale import Scale

_AT_ONCE = 64  # reserved on disk together: a crash skips at most so many


class LastingScale(Scale):
    """A scale whose turns go on where the last process stopped.

    Args:
        settings: The plan's settings.
        path: File that holds the highest number that may have been used.
    """

    def __init__(self, settings: Aggregation, path: Path) -> None:
        self._path = path
        self._first = int(path.read_text(encoding="ascii")) if path.exists() else 0
        self._reserved = self._first
        self._turn = self._first
        super().__init__(settings)

    @property
    def turn(self) -> int:
        """The number of the last sum."""
        return self._turn

    @turn.setter
    def turn(self, value: int) -> None:
        self._turn = max(value, self._first)
        if self._turn > self._reserved:
            self._reserved = self._turn + _AT_ONCE
            disk.put(self._path, str(self._reserved).encode())
