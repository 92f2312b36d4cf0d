"""What the agent and its worker know of a home's store of readings: its key, and its state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fedhome.keys.derivation import hkdf
from fedhome.store import disk

FOLDER: Final = "readings"
"""The store of readings in a home's folder."""
UNFINISHED: Final = "readings.new"
"""A first filling of it that is not whole yet, or that a crash left."""
NOTHING_YET: Final = (
    "nothing is recorded yet: the home adds nothing to what is learnt until `fedhome client "
    "record` brings readings; `fedhome client inspect` shows which columns it needs"
)
"""What a home says whose store is empty."""
_PURPOSE = b"fedhome/readings/1"


def readings_key(home_folder: Path) -> bytes:
    """Return the key of a home's readings, 32 bytes, which opens nothing else.

    Args:
        home_folder: The home's folder.

    Raises:
        StateError: As of `disk.read_key`.
    """
    return hkdf(disk.read_key(home_folder / disk.HOME_KEY), b"", _PURPOSE)


def lacks_readings(home_folder: Path) -> bool:
    """Return whether a home has a store of readings in which nothing was recorded yet.

    Args:
        home_folder: The home's folder.

    Raises:
        StateError: As of `disk.read`.
    """
    state = store_state(home_folder)
    return state is not None and not any(name[0].isdigit() for name, _ in state)


def store_state(home_folder: Path) -> tuple[tuple[str, int], ...] | None:
    """Return what tells one state of a home's store from another; None where it has none.

    Args:
        home_folder: The home's folder.

    Raises:
        StateError: As of `disk.read`.
    """
    store = home_folder / FOLDER
    if not store.is_dir():
        return None
    with disk.errors_of(store):
        files = [one for one in os.scandir(store) if not one.name.endswith(disk.NEW)]
        return tuple(sorted((one.name, one.stat().st_mtime_ns) for one in files))
