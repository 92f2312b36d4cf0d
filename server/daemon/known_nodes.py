"""Which home signs with a node's key: the front asks before it reads anything of a request."""

from __future__ import annotations

import threading

from fedhome.errors import DirectoryError, SecAggError
from fedhome.fleet.claims import RETIRED, Claim
from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.secagg.directory import Directory
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.nodes import Nodes
from fedhome.server.daemon.server_folder import ServerFolder


class KnownNodes:
    """The homes of the directory by the keys of the nodes that they claimed.

    Claims are read when the directory changes. Between that they change by homes that join, and
    those are accepted by the process that asks here (`note`).

    Args:
        server_folder: The server's folder.
        nodes: The claims.
    """

    def __init__(self, server_folder: ServerFolder, nodes: Nodes) -> None:
        self._nodes = nodes
        self._read = CachedFile(server_folder.fleet / DIRECTORY, server_folder.directory)
        self._directory: Directory | None = None
        self._homes: dict[bytes, str] = {}
        self._keys: dict[str, bytes] = {}
        self._lock = threading.Lock()  # homes join in several threads

    @property
    def directory(self) -> Directory:
        """The directory that is in force.

        Raises:
            SecAggError: There is none, or it cannot be read.
        """
        return self._read()

    def home_of(self, key: bytes) -> str | None:
        """Return the home whose node has a key; None for one that no home claimed.

        Args:
            key: The node's public key, PEM.
        """
        try:
            directory = self.directory
        except SecAggError:
            return None
        if directory is not self._directory:
            with self._lock:
                if directory is not self._directory:  # else another thread has read them meanwhile
                    claims = list(self._nodes.claims(directory))
                    # Put in place whole: who asks meanwhile is known by what was read before.
                    self._homes = {claim.node_key: claim.home for claim in claims}
                    self._keys = {claim.home: claim.node_key for claim in claims}
                    self._directory = directory
        return self._homes.get(key)

    def check(self, claim: Claim) -> None:
        """Refuse a claim of a node that another home has claimed.

        Whoever signs a claim need not have the node's key: it could take the other's messages,
        shut it out, and get its node unregistered.

        Raises:
            DirectoryError: `RETIRED`.
        """
        if self.home_of(claim.node_key) not in {None, claim.home}:
            raise DirectoryError(
                f"{claim.home!r} claims the node of another home",
                reason=RETIRED,
                hint="it makes another key for itself",
            )

    def note(self, claim: Claim) -> None:
        """Take a claim for the last of its home, which has one node at a time."""
        with self._lock:
            self._note(claim)

    def _note(self, claim: Claim) -> None:
        self._homes.pop(self._keys.get(claim.home, b""), None)
        self._homes[claim.node_key] = claim.home
        self._keys[claim.home] = claim.node_key
