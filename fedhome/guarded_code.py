"""Which code of one's own a fleet's processes may run: none that another account could put there.

A plan names code as ``module:Name`` or ``file.py:Name``, and a simulation looks for it in the
current folder, too. A home's agent or a server is started anywhere, as root perhaps: there any
account may put a ``module.py`` that would run in place of the installed one that was agreed to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedhome.accounts import account_name
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

    The modules beside it are imported too, so its folder is held to the same.

    Args:
        path: The file, without links on the way to it.

    Raises:
        PluginError: It, or its folder, belongs to another account than this one and root, or every
            account may write there.
    """
    if not is_guarded() or os.name != "posix":
        return
    for place in (path, path.parent):
        try:
            found = place.stat()
        except OSError:
            return  # who reads it says why it cannot
        if found.st_uid not in {0, os.geteuid()}:
            raise PluginError(
                f"{place} belongs to the account {account_name(found.st_uid)}, which could change "
                "what runs here",
                hint="after a look at what is in it, give it to the account that runs this, or to "
                f"root: chown -R {os.geteuid()} {path.parent}; or install the code as a package",
            )
        if found.st_mode & stat.S_IWOTH:
            raise PluginError(
                f"every account of this machine may write to {place}, and so change what runs here",
                hint=f"chmod o-w {place}, after a look at what is in it; or install the code as a "
                "package",
            )
