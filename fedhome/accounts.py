"""Accounts of this machine: their names, and folders in which all of them may rename."""

from __future__ import annotations

import pwd
import stat
from pathlib import Path


def account_name(number: int) -> str:
    """Return an account's name; its number where it has none, as in a container."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def open_folder_above(path: Path) -> Path | None:
    """Return the topmost folder above in which every account may rename what is not its own.

    It could put something else in the place of what is below. None: there is no such folder.

    Args:
        path: A file or folder, without links on the way to it.

    Raises:
        OSError: A folder above cannot be looked at.
    """
    for above in reversed(path.parents):  # from above: what is below may be taken away meanwhile
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return above
    return None
