"""What a command says where the account that typed it may not look."""

from __future__ import annotations

import os
from pathlib import Path

from fedhome.ops.accounts import account_name


def told_denied(error: PermissionError) -> tuple[str, str]:
    """Return in words what was not permitted, and what to do about it.

    Args:
        error: Of the file or folder that it names.
    """
    here = account_name(os.geteuid())
    if error.filename is None:
        return f"{error.strerror or error}, to the account {here}", "run it as another account"
    path = Path(os.fsdecode(error.filename)).absolute()
    what = f"{path}: the account {here} may not look there, or not write"
    owner = _owner(path)
    if owner in {here, ""}:
        return what, "its permissions say who may: `ls -ld` shows them for each folder on the way"
    return what, f"it is {owner}'s: run the command as that account, such as by `sudo -u {owner}`"


def _owner(path: Path) -> str:
    """Return who owns a path, or the first folder above it of which that can be told."""
    for one in (path, *path.parents):
        try:
            return account_name(one.stat().st_uid)
        except OSError:
            continue
    return ""
