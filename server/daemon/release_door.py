"""The newest release for each home of the fleet that asks for it, and for nobody else.

Many homes ask, and there is rarely anything new: the directory and the newest release are read
when their files change, not for every question.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from fedhome.errors import RegistryError
from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.fleet.release_request import Fetch
from fedhome.registry import Registry
from fedhome.registry.vault import INDEX
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder

T = TypeVar("T")


class ReleaseDoor:
    """Answers homes that ask for a model.

    Args:
        server_folder: The server's folder.
    """

    def __init__(self, server_folder: ServerFolder) -> None:
        self._folder = server_folder.path / MODELS
        self._directory = _CachedFile(server_folder.fleet / DIRECTORY, server_folder.directory)
        self._newest = _CachedFile(self._folder / INDEX, self._read)

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


class _CachedFile(Generic[T]):
    """What was read from a file, for as long as the file stays the same.

    Args:
        path: The file, which is only ever replaced whole.
        read: Reads it.
    """

    def __init__(self, path: Path, read: Callable[[], T]) -> None:
        self._path, self._read = path, read
        self._cached: tuple[tuple[int, ...], T] | None = None

    def __call__(self) -> T:
        try:
            stat = self._path.stat()
        except OSError:
            return self._read()
        # Read before the file itself: a file that replaces it meanwhile is read the next time.
        now = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._cached is None or self._cached[0] != now:
            self._cached = (now, self._read())
        return self._cached[1]
