"""The server's folder: what it is told once, and what it must not forget.

::

    server.toml     address, ports
    fleet/          from the owner: server.fh, server.key, fleet.pub; and directory.fh
    tls/            ca.pem (for the homes), certificate.pem, key.pem
    link/           Flower's database; the secret of whoever may run a ServerApp
    nodes/          each home's claim of its node, as it signed it
    turns           sums that were asked for, so that none is asked for twice
    logs/           what the processes say
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fedhome import tls
from fedhome.enrolment import Anchor
from fedhome.errors import RunError, StateError
from fedhome.fleet import ANCHOR, DIRECTORY, server_keys
from fedhome.secagg import disk
from fedhome.secagg.directory import Directory, ServerKeys

SETTINGS, SECRET = "server.toml", "secret"
_SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the server is told once.

    Args:
        host: Address that the front listens on.
        port: Its port.
        link_port: Port of the SuperLink, on loopback.
        database: Keep Flower's state in ``link/``, so that a round in flight outlives the
            SuperLink; without it, requests cost half as much and that round is asked anew.
    """

    host: str
    port: int
    link_port: int
    database: bool = True


class Place:
    """A server's folder.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).resolve()
        self.fleet = self.folder / "fleet"
        self.tls = self.folder / "tls"
        self.link = self.folder / "link"
        self.nodes = self.folder / "nodes"
        self.logs = self.folder / "logs"

    @classmethod
    def create(cls, folder: Path | str, settings: Settings, *, names: Sequence[str]) -> Place:
        """Make a server's folder; what the owner gives goes into ``fleet/``.

        Args:
            folder: Made if it is not there.
            settings: What it is told.
            names: Host names and addresses by which homes reach it.

        Raises:
            StateError: ``exists``, or it cannot be written.
        """
        place = cls(folder)
        if (place.folder / SETTINGS).exists():
            raise StateError(f"{folder} holds a server already", reason="exists")
        for part in (place.fleet, place.link, place.nodes, place.logs):
            with disk.errors_of(part):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
        tls.make_certificates(place.tls, names)
        disk.put(place.link / SECRET, os.urandom(_SECRET_BYTES))
        disk.put(place.folder / SETTINGS, tomli_w.dumps(vars(settings)).encode())
        return place

    @property
    def settings(self) -> Settings:
        """What the server was told.

        Raises:
            RunError: There is no server in this folder, or its settings are damaged.
        """
        path = self.folder / SETTINGS
        try:
            return Settings(**tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RunError(
                f"{path} cannot be used: {error}", hint="make it with `fedhome server init`"
            ) from None

    @property
    def secret(self) -> bytes:
        """What a process must know to run a ServerApp."""
        return disk.read(self.link / SECRET)

    @property
    def directory_data(self) -> bytes:
        """The fleet's directory, as its owner signed it."""
        return disk.read(self.fleet / DIRECTORY)

    def directory(self) -> Directory:
        """Return the fleet's directory.

        Raises:
            StateError: A file is missing.
            DirectoryError: The directory is not one of this fleet's.
        """
        anchor = Anchor.from_text(disk.read(self.fleet / ANCHOR).decode())
        return Directory.verify(self.directory_data, anchor.authority)

    def keys(self) -> ServerKeys:
        """Return the server's keys."""
        return server_keys(self.fleet)
