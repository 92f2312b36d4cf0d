"""What was read from a file, for as long as the file stays the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from fedhome.ops.file_state import file_state

T = TypeVar("T")


class CachedFile(Generic[T]):
    """What was read from a file that is only ever replaced whole.

    Args:
        path: The file.
        read: Reads it; what it raises is raised, and it is asked again the next time.
    """

    def __init__(self, path: Path, read: Callable[[], T]) -> None:
        self._path, self._read = path, read
        self._cached: tuple[tuple[int, ...], T] | None = None

    def __call__(self) -> T:
        """Return what is in the file."""
        # Read before the file itself: a file that replaces it meanwhile is read the next time.
        if not (now := file_state(self._path)):
            return self._read()
        if self._cached is None or self._cached[0] != now:
            self._cached = (now, self._read())
        return self._cached[1]
