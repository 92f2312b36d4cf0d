"""How a server's folder is made from what the fleet's owner gives it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from fedhome.errors import RunError, StateError
from fedhome.fleet.admission import INVITER, SERVER
from fedhome.fleet.entries import Anchor
from fedhome.fleet.owner_folder import ANCHOR, CARD, DIRECTORY
from fedhome.fleet.owner_keys import AUTHORITY
from fedhome.fleet.server_secret import SERVER_FILE, SERVER_KEY, server_keys
from fedhome.ops import tls
from fedhome.secagg.directory import Directory
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.store import disk

_NEEDED = (SERVER_FILE, SERVER_KEY, ANCHOR)
_FILES = (*_NEEDED, INVITER, DIRECTORY)  # no others: the authority's key stays with the owner
_PRIVATE = {SERVER_FILE, SERVER_KEY}
_HOST, _MOST_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"), 253


def make_server(
    folder: Path | str,
    *,
    hosts: Sequence[str],
    port: int,
    listen: str,
    fleet: Path | str,
    page: str = "",
) -> ServerFolder:
    """Make a server's folder with its part of the fleet, and its card.

    Args:
        folder: Made if it is not there.
        hosts: Host names and addresses by which homes reach it, the first on its card.
        port: The front's port.
        listen: Address that the front listens on.
        fleet: The owner's folder, which gets the card too; or a copy of its part ``server/``.
        page: Where the page for operators is served; empty: nowhere.

    Raises:
        RunError: What should be a host is none.
        StateError: There is no server's part of a fleet, or the folder cannot be used.
        DirectoryError: The directory is not one of this fleet's.
    """
    for host in (listen, *hosts):
        _check_host(host)
    owner = Path(fleet)
    is_owner = (owner / AUTHORITY).exists()
    files = _files(owner / SERVER if is_owner else owner, owner)
    if is_owner and (owner / DIRECTORY).exists():
        files[DIRECTORY] = owner / DIRECTORY
    _check(files)
    settings = ServerSettings(host=listen, port=port, page=page)
    server_folder = ServerFolder.create(folder, settings, names=hosts)
    for name, path in files.items():
        mode = 0o600 if name in _PRIVATE else 0o644
        disk.put(server_folder.fleet / name, disk.read(path), mode=mode)
    if is_owner:
        disk.put(owner / CARD, disk.read(server_folder.card_path), mode=0o644)
    return server_folder


def renew_server(
    server_folder: ServerFolder, hosts: Sequence[str] = ()
) -> tuple[tls.CertificateTerms, bool]:
    """Renew a server's certificate; its card too, where the first host is another.

    Args:
        server_folder: The server's folder.
        hosts: Host names and addresses by which homes reach it, the first on its card; none: as
            they are.

    Returns:
        What the certificate says now, and whether the card is another.

    Raises:
        RunError: What should be a host is none, or there is no server.
        StateError: As `fedhome.ops.tls.renew_certificate`.
    """
    for host in hosts:
        _check_host(host)
    port, before = server_folder.settings.port, server_folder.card
    terms = tls.renew_certificate(server_folder.tls, hosts)
    if hosts:
        server_folder.write_card(hosts[0], port)
    return terms, server_folder.card != before


def host_of(server_folder: ServerFolder) -> str:
    """Return the host on a server's card, which homes connect to."""
    return server_folder.card.server.rpartition(":")[0].strip("[]")


def is_owners(folder: Path | str) -> bool:
    """Whether a folder is the owner's own, with the authority's key."""
    return (Path(folder) / AUTHORITY).exists()


def _files(part: Path, fleet: Path) -> dict[str, Path]:
    """Return the files of the server's part of a fleet, by name."""
    for name in _NEEDED:
        if not (part / name).exists():
            raise StateError(
                f"there is no fleet in {fleet}: {part / name} is missing",
                reason="missing",
                hint="make one with `fedhome fleet init OWNER`, then name OWNER, or a copy of "
                "its folder server/, with --fleet",
            )
    return {name: part / name for name in _FILES if (part / name).exists()}


def _check(files: dict[str, Path]) -> None:
    """Check that keys open and the directory is valid, before anything is made."""
    server_keys(files[SERVER_KEY].parent)
    anchor = Anchor.from_text(disk.read(files[ANCHOR]).decode(errors="replace"))
    if DIRECTORY in files:
        Directory.verify(disk.read(files[DIRECTORY]), anchor.root)


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host) or len(host) > _MOST_HOST:
            raise RunError(
                f"{host!r} is neither a host name nor an address",
                hint="give it without https:// and without a port, such as hub.example",
            ) from None
