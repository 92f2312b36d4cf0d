"""The newest release for each home of the fleet that asks for it, and for nobody else.

Many homes ask, and there is rarely anything new: the directory and the newest release are read
when their files change, not for every question.
"""

from __future__ import annotations

from typing import NamedTuple

from fedhome.errors import RegistryError
from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.fleet.release_request import Fetch
from fedhome.registry import Registry
from fedhome.registry.vault import INDEX
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder


class ReleaseDoor:
    """Answers homes that ask for a model.

    Args:
        server_folder: The server's folder.
    """

    def __init__(self, server_folder: ServerFolder) -> None:
        self._folder = server_folder.path / MODELS
        self._directory = CachedFile(server_folder.fleet / DIRECTORY, server_folder.directory)
        self._newest = CachedFile(self._folder / INDEX, self._read)

    def answer(self, body: bytes) -> bytes:
        """Return the newest release as homes get it; nothing for a home that has it.

        Args:
            body: As `fedhome.fleet.release_request.Fetch.sign` wrote it.

        Raises:
            SecAggError: No request that a home of the fleet signed just now.
            RegistryError: The registry cannot be read.
        """
        fetch = Fetch.verify(body, self._directory())
        newest = self._newest()
        if newest is None or newest.hash == fetch.have:
            return b""
        return newest.package

    def _read(self) -> _Newest | None:
        try:
            registry = Registry.open(self._folder)
            release = registry.find("latest")
            return _Newest(release.hash, registry.package(release))
        except RegistryError as error:
            if error.reason in {"missing", "unknown"}:  # no round has made a model yet
                return None
            raise


class _Newest(NamedTuple):
    hash: bytes
    package: bytes
