"""Whose a folder of secrets is: one in which other accounts may replace what is in it is not used.

Whoever may read the files themselves: whatever is read by its path is others' to replace, such as a
plan, or the keys by which a home knows its fleet.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedhome.accounts import open_folder_above
from fedhome.errors import StateError


def check_own(folder: Path, found: os.stat_result) -> None:
    """Refuse a folder that is another account's (not root's), for root too, or open to all.

    So is one below a folder in which every account may write and rename what is not its own: it
    could put another one in its place.

    Args:
        folder: The folder.
        found: What the system says of it, as it was opened.

    Raises:
        StateError: ``permissions``.
        OSError: A folder above cannot be looked at.
    """
    if found.st_uid not in {0, os.geteuid()}:
        raise StateError(
            f"{folder} belongs to another account (number {found.st_uid}), which may replace "
            "what is in it",
            reason="permissions",
            hint="run this as that account; or, after a look at what is in it, give it to "
            f"yours: chown -R {os.geteuid()} {folder}",
        )
    if found.st_mode & stat.S_IWOTH:
        raise StateError(
            f"every account of this machine may write into {folder}, and replace what is in it",
            reason="permissions",
            hint=f"chmod o-w {folder}, after a look at what is in it; or name a folder below "
            "it, which is made for its owner alone; a disk that knows no owners is none for it",
        )
    above = open_folder_above(folder.resolve())
    if above is not None:
        raise StateError(
            f"every account of this machine may write into {above}, and put another folder in "
            f"the place of {folder}",
            reason="permissions",
            hint=f"chmod o-w {above}, after a look at what is in it; or chmod +t {above}, by "
            "which each account keeps what is its own; or move the folder elsewhere",
        )
