"""What is newest at a server: its directory, its release, and its signed word that they are.

Many homes ask, and there is rarely anything new: files are read when they change, not for every
question, and a word holds for an hour unless something changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from fedhome.errors import DirectoryError, RegistryError
from fedhome.fleet.freshness import Freshness
from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.fleet.server_move import MOST as MOST_MOVE
from fedhome.fleet.server_move import MOVE
from fedhome.fleet.server_secret import SERVER_FILE
from fedhome.keys.signing import ServerKeys
from fedhome.registry import Registry, Release
from fedhome.registry.release import NONE
from fedhome.registry.vault import INDEX
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.publishing import MODELS, registry_folder
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.store import disk

SAID_ANEW_S = 3600.0
"""After how long the server says anew what is newest, though nothing has changed."""
_KEPT = 16  # spans of missed releases that are remembered, at most 4 MiB each


class NewestRelease:
    """The newest release, and what is asked for with it.

    Args:
        registry: The registry.
        release: Its newest release.
    """

    def __init__(self, registry: Registry, release: Release) -> None:
        self.number, self.hash = release.number, release.hash
        self._registry, self._release = registry, release
        # Homes that were away together ask for the same ones.
        self.missed = lru_cache(maxsize=_KEPT)(registry.missed)
        self._package: bytes | None = None

    def package(self) -> bytes:
        """Return the release as homes get it.

        Raises:
            RegistryError: The model cannot be read.
        """
        if self._package is None:
            self._package = self._registry.package(self._release)
        return self._package


class Newest:
    """Knows what is newest, and says so.

    Args:
        server_folder: The server's folder.
        keys: Returns the server's keys; None: those in its folder.
        clock: Unix time, s.
    """

    def __init__(
        self,
        server_folder: ServerFolder,
        *,
        keys: Callable[[], ServerKeys] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._clock = server_folder.path / MODELS, clock
        self.directory = CachedFile(server_folder.fleet / DIRECTORY, server_folder.directory)
        self._keys = keys or CachedFile(server_folder.fleet / SERVER_FILE, server_folder.keys)
        self.move = CachedFile(server_folder.fleet / MOVE, lambda: _move_in(server_folder))
        self._releases: tuple[bytes, CachedFile[NewestRelease | None]] | None = None
        self._said: tuple[Freshness, bytes] | None = None

    def release(self) -> NewestRelease | None:
        """Return the newest release of the key that the directory names; None before the first.

        Raises:
            SecAggError: There is no directory, or it cannot be read.
            RegistryError: The registry cannot be read.
        """
        server = self.directory().server
        if self._releases is None or self._releases[0] != server:
            cached = CachedFile(self._folder / INDEX, lambda: self._read(server))
            self._releases = (server, cached)
        return self._releases[1]()

    def head(self) -> tuple[int, bytes]:
        """Return number and hash of the newest release; 0 and zeros before the first.

        Raises:
            SecAggError: As `release`.
            RegistryError: As `release`.
        """
        newest = self.release()
        return (newest.number, newest.hash) if newest else (0, NONE)

    def statement(self) -> bytes:
        """Return the server's word on what is newest, as homes get it.

        Raises:
            SecAggError: As `release`; or ``server``: the directory names another key.
            RegistryError: As `release`.
        """
        directory, (number, release) = self.directory(), self.head()
        said = Freshness.of(directory, now=self._clock(), number=number, release=release)
        if self._said is None or not _same(self._said[0], said):
            keys = self._keys()
            if keys.public != directory.server:
                raise DirectoryError(
                    "the directory names another server's key",
                    reason="server",
                    hint="the owner copies the folder server/ to this server again, as fleet/",
                )
            self._said = (said, said.sign(keys))
        return self._said[1]

    def _read(self, server: bytes) -> NewestRelease | None:
        try:
            folder = registry_folder(self._folder, server)
            if folder is None:
                return None
            registry = Registry.open(folder)
            return NewestRelease(registry, registry.find("latest"))
        except RegistryError as error:
            if error.reason in {"missing", "unknown"}:  # no round has made a model yet
                return None
            raise


def _move_in(server_folder: ServerFolder) -> bytes:
    """Return the owner's word on where this server moves; empty where there is none."""
    path = server_folder.fleet / MOVE
    return disk.read(path)[:MOST_MOVE] if path.exists() else b""


def _same(before: Freshness, now: Freshness) -> bool:
    """Whether a word says the same as another one, and not long before."""
    what = (before.directory, before.number, before.release)
    late = not 0 <= now.time - before.time <= SAID_ANEW_S
    return what == (now.directory, now.number, now.release) and not late
