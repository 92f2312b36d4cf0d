"""How a server is: what its front and its SuperLink answer on this machine."""

from __future__ import annotations

import ssl
from typing import NamedTuple, Self

import httpx

from fedhome.fleet.front_requests import HEALTH
from fedhome.ops import local_socket, tls
from fedhome.server.daemon.server_folder import ServerFolder

LOOPBACK = "127.0.0.1"
SERVICES = {
    "link": "fedhome.server.daemon.superlink_process",
    "front": "fedhome.server.daemon.front",
}
"""The processes that a server keeps alive, by their names: what runs in each."""

_EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - compared, not bound
_WAIT_S = 5.0


class Up(NamedTuple):
    """Which of the server's processes answer."""

    front: bool
    link: bool


class Health:
    """Asks a server how it is; a context manager.

    Args:
        server_folder: The server's folder.
    """

    def __init__(self, server_folder: ServerFolder) -> None:
        settings = server_folder.settings
        context = ssl.create_default_context(cafile=server_folder.tls / tls.CA)
        context.check_hostname = False  # it is ours by its authority, whatever its names are
        self._client = httpx.Client(verify=context, timeout=_WAIT_S, trust_env=False)
        host = _EVERYWHERE.get(settings.host, settings.host)
        host = f"[{host}]" if ":" in host else host
        self._front = f"https://{host}:{settings.port}{HEALTH}"
        self._link = server_folder.link
        self._link_client = httpx.Client(
            transport=httpx.HTTPTransport(uds=local_socket.address(self._link)), timeout=_WAIT_S
        )

    def ask(self) -> Up:
        """Return which processes answer."""
        front = _status(self._client, self._front)
        # Asked only if it listens: httpx leaves a socket open that finds nobody.
        there = local_socket.is_open(self._link)
        link = _status(self._link_client, f"http://superlink{HEALTH}") if there else 0
        # Without a SuperLink the front still answers, with an error.
        return Up(front=front > 0, link=httpx.codes.is_success(link))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._link_client.close()


def _status(client: httpx.Client, address: str) -> int:
    try:
        return client.get(address).status_code
    except httpx.HTTPError:
        return 0
