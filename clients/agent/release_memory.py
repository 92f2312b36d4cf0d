"""What a home remembers of the last release of each server key: ``model/<key>.seen``."""

from __future__ import annotations

from pathlib import Path

from fedhome.clients.membership.home_folder import MODEL, HomeFolder
from fedhome.errors import ReleaseError, StateError
from fedhome.registry import SeenRelease
from fedhome.store import checksummed, disk

SEEN = ".seen"


def seen_release(home_folder: HomeFolder, server: bytes) -> SeenRelease | None:
    """Return the last release of a server key that a home knows; None before the first.

    Args:
        home_folder: The home's folder.
        server: The server's public key.

    Raises:
        ReleaseError: ``seen``: the file is damaged. To forget is to take old models again: that is
            for people to decide.
        StateError: It cannot be read.
    """
    path = _path(home_folder, server)
    if not path.exists():
        return None
    try:
        seen = checksummed.read(path, SeenRelease)
    except StateError as error:
        if error.reason != "altered":
            raise
    else:
        if seen.server == server:
            return seen
    raise ReleaseError(
        f"{path} is damaged: the home cannot tell which releases it has accepted",
        reason="seen",
        hint="if you trust what the server has now, remove this file",
    )


def remember_release(home_folder: HomeFolder, seen: SeenRelease) -> None:
    """Remember a release durably, **before** its model is used.

    Args:
        home_folder: The home's folder.
        seen: The release.

    Raises:
        StateError: It cannot be written.
    """
    path = _path(home_folder, seen.server)
    if not path.parent.exists():
        with disk.errors_of(path.parent):
            path.parent.mkdir(mode=0o700)
        disk.sync(home_folder.path)
    checksummed.put(path, seen)


def _path(home_folder: HomeFolder, server: bytes) -> Path:
    return home_folder.path / MODEL / f"{server.hex()}{SEEN}"
