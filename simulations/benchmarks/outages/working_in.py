"""Which processes work in a folder, as Linux's ``/proc`` tells it."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(folder: Path) -> dict[int, list[str]]:
    """Return the arguments of the processes that work in a folder, by their numbers.

    Args:
        folder: The folder; whoever names it in an argument works in it, but for this process.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if any(str(folder) in word for word in words):
            found[int(entry.name)] = words
    return found


def numbers_of(folder: Path, module: str) -> list[int]:
    """Return the processes that run a module of ours in a folder.

    Args:
        folder: The folder.
        module: The module's whole name.
    """
    return [number for number, words in processes_of(folder).items() if module in words]
