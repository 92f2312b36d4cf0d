"""The process that serves the page: it reads, and nothing waits for it or ends with it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from fedhome.errors import RunError
from fedhome.ops.certificate_files import CertificateFiles
from fedhome.ops.door_server import DoorServer, door_config
from fedhome.ops.doors import DoorLimits
from fedhome.ops.plain_log import log_plainly
from fedhome.ops.tls import terms_of
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.page.fleet_metrics import metrics_text
from fedhome.server.page.page_address import PageAddress, page_address
from fedhome.server.page.page_content import PageReader
from fedhome.server.page.page_door import PageDoor, Resource
from fedhome.server.page.page_token import token_of
from fedhome.server.page.page_view import page_html

METRICS_PATH = "/metrics"
_PAGE_KIND = "text/html; charset=utf-8"
_METRICS_KIND = "text/plain; version=0.0.4; charset=utf-8"
_LIMITS = DoorLimits(strangers=64, strangers_each=32, known=64, known_each=64)
_AGAIN_S = 5.0
_log = logging.getLogger("fedhome.page")


def door_of(server_folder: ServerFolder, address: PageAddress) -> PageDoor:
    """Return what a server shows, and to whom.

    Args:
        server_folder: The server's folder.
        address: Where it is shown.

    Raises:
        StateError: The token can neither be read nor written.
    """
    reader = PageReader(server_folder)
    wanted = server_folder.settings.page_token or not address.is_loopback
    return PageDoor(
        {
            "/": Resource(_PAGE_KIND, lambda: page_html(reader.read()).encode()),
            METRICS_PATH: Resource(_METRICS_KIND, lambda: metrics_text(reader.read())),
        },
        names=terms_of(server_folder.tls).names,
        token=token_of(server_folder.path) if wanted else "",
    )


def serve_page(server_folder: ServerFolder, address: PageAddress) -> DoorServer:
    """Return the server of a folder's page, which can be run.

    Args:
        server_folder: The server's folder.
        address: Where it listens; off loopback with TLS, by the server's certificate.

    Raises:
        StateError: As `door_of`.
    """
    config = door_config(door_of(server_folder, address), host=address.host, port=address.port)
    if address.is_loopback:
        return DoorServer(config, lambda: None, _LIMITS)
    certificate = CertificateFiles(server_folder.tls)
    config.ssl = certificate.context()
    return DoorServer(config, lambda: None, _LIMITS, certificate.renewed)


def main(arguments: Sequence[str]) -> int:
    """Serve the page of a server's folder until it is told to stop."""
    log_plainly("fedhome.door")
    server_folder = ServerFolder(Path(arguments[0]))
    address = page_address(server_folder.settings.page)
    if address is None:
        raise RunError("this server has no page", hint='say where in server.toml: page = "…"')
    told = False
    while error := _taken(address):
        if not told:
            _log.warning(
                "the page cannot be served at %s:%d: %s; it is tried again every %.0f s. Another "
                "program has the port: end it, or change `page` in server.toml",
                address.host,
                address.port,
                error,
                _AGAIN_S,
            )
        told = True
        time.sleep(_AGAIN_S)
    serve_page(server_folder, address).run()
    return 0


def _taken(address: PageAddress) -> str:
    """Return why nobody can listen at an address; empty if one can."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        socket.create_server((address.host, address.port), family=family).close()
    except OSError as error:
        return str(error) if error.errno is None else os.strerror(error.errno)
    return ""
