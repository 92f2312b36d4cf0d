"""New folders: whatever the umask, no other account may exchange what is made in them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

PARENT: Final = 0o755
"""Of folders that are made on the way to one: others may look into them, and write nothing."""


def make_folder(path: Path, *, mode: int = PARENT) -> None:
    """Make a folder, with those above it that are not there; one that is there stays as it is.

    Python's own makes those above with a mode of its own, 0777. Without a umask, as in containers
    and cron jobs, every account could then put other files in the place of what is below them.

    Args:
        path: The folder.
        mode: Its mode where it is made, less the umask; that of those above is `PARENT`.

    Raises:
        FileExistsError: There is something else.
        OSError: It cannot be made.
        ValueError: It is a name that no folder can have.
    """
    try:
        path.mkdir(mode)
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_folder(path.parent)
        with suppress(FileExistsError):  # another process made it at the same moment
            path.mkdir(mode)
    except OSError:
        if not path.is_dir():
            raise
