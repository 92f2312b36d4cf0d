"""The newest release for each home of the fleet that asks for it, and for nobody else.

A home that has missed releases gets their manifests too, so that it can walk the chain. Many homes
ask, and there is rarely anything new: directory and newest release are read when their files
change, not for every question.
"""

from __future__ import annotations

from functools import lru_cache

from fedhome.errors import RegistryError
from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.fleet.release_request import MOST_MISSED, Fetch, ReleaseResponse
from fedhome.registry import Registry, Release
from fedhome.registry.vault import INDEX
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder

_KEPT = 16  # spans of missed releases that are remembered, at most 4 MiB each


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
        """Return the newest release, and the manifests of those that a home has missed.

        Args:
            body: As `fedhome.fleet.release_request.Fetch.sign` wrote it.

        Returns:
            A `ReleaseResponse`; it is empty for a home that has the newest release.

        Raises:
            SecAggError: No request that a home of the fleet signed just now.
            RegistryError: The registry cannot be read.
        """
        fetch = Fetch.verify(body, self._directory())
        newest = self._newest()
        if newest is None or newest.hash == fetch.have:
            return ReleaseResponse(missed=(), release=b"").to_bytes()
        # A home that knows none begins with the newest.
        first, last = fetch.seen + 1, newest.number - 1 if fetch.seen else 0
        enough = last < first + MOST_MISSED
        missed = newest.missed(first, last if enough else first + MOST_MISSED - 1)
        return ReleaseResponse(missed=missed, release=newest.package if enough else b"").to_bytes()

    def _read(self) -> _Newest | None:
        try:
            registry = Registry.open(self._folder)
            release = registry.find("latest")
            return _Newest(registry, release, registry.package(release))
        except RegistryError as error:
            if error.reason in {"missing", "unknown"}:  # no round has made a model yet
                return None
            raise


class _Newest:
    """The newest release, and those before it as they are asked for.

    Args:
        registry: The registry.
        release: Its newest release.
        package: The same as homes get it.
    """

    def __init__(self, registry: Registry, release: Release, package: bytes) -> None:
        self.number, self.hash, self.package = release.number, release.hash, package
        # Homes that were away together ask for the same ones.
        self.missed = lru_cache(maxsize=_KEPT)(registry.missed)
