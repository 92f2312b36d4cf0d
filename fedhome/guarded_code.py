"""Which code of one's own a fleet's processes may run: none that another account could put there.

A plan names code as ``module:Name`` or ``file.py:Name``, and a simulation looks for it in the
current folder, too. A home's agent or a server is started anywhere, as root perhaps: there any
account may put a ``module.py`` that would run in place of the installed one that was agreed to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedhome.accounts import account_name, open_folder_above
from fedhome.errors import PluginError

_guards = 0  # of this process: how many callers want it so


@contextmanager
def guarded() -> Iterator[None]:
    """Run own code only as a fleet's processes may, in all of this process.

    None is looked for in the current folder, and `check_file` refuses what others may replace.
    """
    global _guards  # noqa: PLW0603 - it is the process that is one of a fleet's
    _guards += 1
    try:
        yield
    finally:
        _guards -= 1


def is_guarded() -> bool:
    """Return whether this process runs own code as a fleet's processes may."""
    return _guards > 0


def check_file(path: Path) -> None:
    """Refuse a file that another account may replace, where this process is `guarded`.

    The modules beside it are imported too, so its folder is held to the same; and in no folder
    above may all rename: they could put another one there once this one was looked at.

    Args:
        path: The file, without links on the way to it.

    Raises:
        PluginError: It, or its folder, belongs to another account than this one and root, or every
            account may write there, or rename in a folder above.
    """
    if not is_guarded() or os.name != "posix":
        return
    with suppress(OSError):  # who reads it says why it cannot
        _check_above(path)
        for place in (path, path.parent):
            _check_place(place, path.parent)


def _check_above(path: Path) -> None:
    above = open_folder_above(path.parent)
    if above is not None:
        raise PluginError(
            f"every account of this machine may write into {above}, and put other code in the "
            f"place of {path}",
            hint=f"chmod o-w {above}, after a look at what is in it; or chmod +t {above}, by which "
            "each account keeps what is its own; or move the code elsewhere, or install it as a "
            "package",
        )


def _check_place(place: Path, folder: Path) -> None:
    found = place.stat()
    if found.st_uid not in {0, os.geteuid()}:
        raise PluginError(
            f"{place} belongs to the account {account_name(found.st_uid)}, which could change "
            "what runs here",
            hint="run this as that account; or, after a look at what is in it, give it to "
            f"yours, or to root: chown -R {os.geteuid()} {folder}; or install the code as "
            "a package",
        )
    if found.st_mode & stat.S_IWOTH:
        raise PluginError(
            f"every account of this machine may write to {place}, and so change what runs here",
            hint=f"chmod o-w {place}, after a look at what is in it; or install the code as a "
            "package",
        )
