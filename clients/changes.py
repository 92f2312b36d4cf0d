"""Whether something that a prediction is made of has changed: by what the file system says of it.

Nothing is read but names, sizes and times, so that a process that stays can look every second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a process that waits for changes holds nothing else
    from fedhome.clients.membership.home_folder import HomeFolder


@dataclass(frozen=True, kw_only=True)
class WatchedPaths:
    """Files and folders.

    Args:
        files: Files that may change, come or go.
        folders: Folders in which files come and go; each that is there is never written again.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]

    def state(self) -> list[Any]:
        """Return what tells one state of them from another, as plain values."""
        return [*map(_of_file, self.files), *map(_of_folder, self.folders)]


def _of_file(path: str) -> list[int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - many a second
    except OSError:
        return None  # who reads it says why it cannot
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _of_folder(path: str) -> list[Any] | None:
    try:
        return [os.stat(path).st_mtime_ns, *sorted(os.listdir(path))]  # noqa: PTH116, PTH208
    except OSError:
        return None


def paths_of(home_folder: HomeFolder, source: Path | None = None) -> WatchedPaths:
    """Return what a home's predictions are made of: its model, the fleet's, plan and readings.

    Args:
        home_folder: The home's folder.
        source: Readings in place of the home's own.

    Raises:
        RunError: There is no home in the folder.
    """
    from fedhome.clients.membership.home_folder import (  # noqa: PLC0415
        DIRECTORY,
        MODEL,
        PLAN,
        SETTINGS,
    )
    from fedhome.clients.membership.own_models import FILE, FOLDER  # noqa: PLC0415
    from fedhome.clients.recorded.readings_key import FOLDER as READINGS  # noqa: PLC0415
    from fedhome.store.disk import HOME_KEY  # noqa: PLC0415

    place, settings = home_folder.path, home_folder.settings
    files = [place / name for name in (SETTINGS, PLAN, DIRECTORY, HOME_KEY)]
    files.append(place / FOLDER / FILE)
    folders = [place / MODEL, place / READINGS]
    data = source or (Path(settings.data) if settings.data else None)
    if data is not None and (source or not folders[-1].is_dir()):
        # A database that is being written changes in the file beside it. The other such file, -shm,
        # holds no reading, and changes with every look.
        files += [data, Path(f"{data}-wal")]
        for root, _, names in os.walk(data):
            folders.append(Path(root))
            files += [Path(root, name) for name in sorted(names) if not name.endswith("-shm")]
    return WatchedPaths(files=_texts(files), folders=_texts(folders))


def _texts(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(map(str, paths))
