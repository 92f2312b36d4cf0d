"""What a server's status is read from: who asks often keeps it, since most of it stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.registry import Registry, Release
from fedhome.registry.vault import INDEX
from fedhome.run.growing_log import GrowingLog
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.turned_away import TurnedAway

if TYPE_CHECKING:
    from fedhome.server.daemon.nodes import Nodes


class StatusSources:
    """The files of a server that its status is read from, each read when it changes.

    Args:
        server_folder: The server's folder.

    Attributes:
        directory: Returns the directory that is in force.
        releases: Returns the registry's releases.
        log: Reads the log of the run in progress on, from where it was read last.
        turned_away: Homes whose claims the front refused: it alone knows of them.
    """

    def __init__(self, server_folder: ServerFolder) -> None:
        self._folder = server_folder.nodes
        models = server_folder.path / MODELS
        self.directory = CachedFile(server_folder.fleet / DIRECTORY, server_folder.directory)
        self.releases: CachedFile[Sequence[Release]] = CachedFile(
            models / INDEX, lambda: Registry.open(models).releases()
        )
        self.log = GrowingLog()
        self.turned_away = TurnedAway()

    @cached_property
    def nodes(self) -> Nodes:
        """The claims of homes; each is checked once."""
        from fedhome.server.daemon.nodes import Nodes  # noqa: PLC0415 - Flower takes a second

        return Nodes(self._folder)
