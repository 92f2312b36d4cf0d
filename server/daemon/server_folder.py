"""The server's folder: its settings, and what it must not forget.

::

    server.toml     address, port
    fleet/          from the owner: server.fh, server.key, fleet.pub; and directory.fh
    tls/            ca.pem (for the homes), certificate.pem, key.pem, ca.key (fedhome.ops.tls)
    server.card     for the owner: how homes reach this server, and know it
    link/           the SuperLink's socket, for this account alone (see fedhome.ops.local_socket);
                    the secret of whoever may run a ServerApp; what Flower stores
    nodes/          each home's claim of its node, as it signed it; and how far its state had come
                    (:mod:`.home_marks`)
    turns           the highest number of a sum, so that no number is used twice
    serials         one-time keys of homes that were used in this epoch, for the same reason
    left-out        homes that runs ask nothing more, and why
    status/         the socket at which the front tells how the server is (:mod:`.told_status`)
    runs/           a folder for each run (:mod:`fedhome.run.folder`)
    current         the run in progress, or how the last one ended (:mod:`.current_run`)
    schedule.toml   when runs begin by themselves (:mod:`.run_schedule`)
    models/         the registry of releases (:mod:`fedhome.server.daemon.publishing`)
    page.token      what whoever looks at the page must know (:mod:`fedhome.server.page`)
    logs/           the logs of the processes

The SuperLink's state is in none of these: it is kept in memory alone. What counts of a run is its
own checkpoint, and what is in flight when a SuperLink ends is requested anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedhome.errors import DirectoryError, RunError, StateError
from fedhome.fleet.cards import Card
from fedhome.fleet.entries import Anchor
from fedhome.fleet.owner_folder import ANCHOR, CARD, DIRECTORY
from fedhome.fleet.server_secret import server_keys
from fedhome.keys.signing import ServerKeys
from fedhome.new_folders import make_folder
from fedhome.ops import tls
from fedhome.secagg.directory import Directory
from fedhome.server.page.page_address import page_address
from fedhome.store import disk
from fedhome.store.settings_file import read_settings, write_settings

SETTINGS, SECRET = "server.toml", "secret"
NO_DIRECTORY = "no-directory"
_SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The server's settings.

    Args:
        host: Address that the front listens on.
        port: Its port.
        keep_runs: How many of the newest runs stay in ``runs/``; 0: all.
        keep_releases: How many of the newest releases keep their model; the list of all stays.
        keep_log_mb: Length of a log, MB, after which it begins anew; its last part stays.
        page: Where the page for operators is served (:mod:`fedhome.server.page`); empty: nowhere.
        page_token: Whether the page wants its token on loopback too; elsewhere it always does.

    Raises:
        RunError: One of them cannot be.
    """

    host: str
    port: int
    keep_runs: int = 50
    keep_releases: int = 20
    keep_log_mb: int = 8
    page: str = ""
    page_token: bool = False

    def __post_init__(self) -> None:
        for name, least in (("keep_runs", 0), ("keep_releases", 1), ("keep_log_mb", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise RunError(
                    f"{name} = {value!r} cannot be",
                    hint=f"in {SETTINGS}, {name} is {least} or more",
                )
        if not isinstance(self.page_token, bool):
            raise RunError(
                f"page_token = {self.page_token!r} cannot be",
                hint=f"in {SETTINGS}, page_token is true or false",
            )
        page_address(self.page)


class ServerFolder:
    """A server's folder.

    Args:
        folder: Its path.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder).resolve()
        self.fleet = self.path / "fleet"
        self.tls = self.path / "tls"
        self.link = self.path / "link"
        self.nodes = self.path / "nodes"
        self.runs = self.path / "runs"
        self.card_path = self.path / CARD
        self.logs = self.path / "logs"
        self.left_out = self.path / "left-out"

    @classmethod
    def create(
        cls, folder: Path | str, settings: ServerSettings, *, names: Sequence[str]
    ) -> ServerFolder:
        """Make a server's folder; what the owner gives goes into ``fleet/``.

        Args:
            folder: Made if it is not there.
            settings: Its settings.
            names: Host names and addresses by which homes reach it; the first is on its card.

        Raises:
            StateError: ``exists``, or it cannot be written.
        """
        server_folder = cls(folder)
        if (server_folder.path / SETTINGS).exists():
            raise StateError(
                f"{folder} holds a server already", reason="exists", hint="name another folder"
            )
        for part in (
            server_folder.path,
            server_folder.fleet,
            server_folder.link,
            server_folder.nodes,
            server_folder.runs,
            server_folder.logs,
        ):
            with disk.errors_of(part):
                make_folder(part, mode=0o700)
        tls.make_certificates(server_folder.tls, names)
        server_folder.write_card(names[0], settings.port)
        disk.put(server_folder.link / SECRET, os.urandom(_SECRET_BYTES))
        write_settings(server_folder.path / SETTINGS, settings)
        return server_folder

    def write_card(self, name: str, port: int) -> None:
        """Write the server's card.

        Args:
            name: Host name or address by which homes reach it.
            port: The front's port.

        Raises:
            StateError: It cannot be written.
        """
        host = f"[{name}]" if ":" in name else name
        card = Card(server=f"{host}:{port}", authorities=disk.read(self.tls / tls.CA))
        disk.put(self.card_path, f"{card.to_text()}\n".encode(), mode=0o644)

    @property
    def settings(self) -> ServerSettings:
        """The server's settings.

        Raises:
            RunError: There is no server in this folder, or its settings are damaged.
        """
        return read_settings(self.path / SETTINGS, ServerSettings, made_by="fedhome server init")

    @property
    def secret(self) -> bytes:
        """What a process must know to run a ServerApp."""
        return disk.read(self.link / SECRET)

    @property
    def card(self) -> Card:
        """How homes reach this server, and know it."""
        return Card.from_text(disk.read(self.card_path).decode())

    @property
    def anchor(self) -> Anchor:
        """What the fleet is known by."""
        return Anchor.from_text(disk.read(self.fleet / ANCHOR).decode())

    @property
    def directory_data(self) -> bytes:
        """The fleet's directory, as its owner signed it.

        Raises:
            DirectoryError: ``no-directory``: the owner has signed none yet.
        """
        if not (self.fleet / DIRECTORY).exists():
            raise DirectoryError(
                "this fleet's server has no directory yet",
                reason=NO_DIRECTORY,
                hint="the owner signs the first one once enough homes have enrolled: "
                "`fedhome fleet admit`",
            )
        return disk.read(self.fleet / DIRECTORY)

    def directory(self) -> Directory:
        """Return the fleet's directory.

        Raises:
            StateError: A file is missing.
            DirectoryError: ``no-directory``, or it is not one of this fleet's.
        """
        return Directory.verify(self.directory_data, self.anchor.root)

    def keys(self) -> ServerKeys:
        """Return the server's keys.

        Raises:
            RunError: There is no server in this folder, or its settings are damaged.
            StateError: Its part of the fleet is not there, or cannot be read.
        """
        _ = self.settings  # where there is no server at all, that is what is told
        return server_keys(self.fleet)
