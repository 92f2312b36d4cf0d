"""How a server is: what its front and its SuperLink answer on this machine."""

from __future__ import annotations

import ssl
from typing import NamedTuple, Self

import httpx

from fedhome.fleet.front_requests import HEALTH
from fedhome.ops import local_socket, tls
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.page.page_address import page_address

LOOPBACK = "127.0.0.1"
SERVICES = {
    "link": "fedhome.server.daemon.superlink_process",
    "front": "fedhome.server.daemon.front",
}
"""The processes that a server keeps alive, by their names: what runs in each."""
PAGE, PAGE_MODULE = "page", "fedhome.server.page.page_process"
"""The one more where there is a page for operators: nothing waits for it."""
PAGE_IS_UP = "the page of a fedhome server"
"""What the page answers whoever asks how it is."""

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
        self._front = f"https://{_reached(settings.host)}:{settings.port}{HEALTH}"
        page = page_address(settings.page)
        self._page = ""
        if page is not None:
            scheme = "http" if page.is_loopback else "https"
            self._page = f"{scheme}://{_reached(page.host)}:{page.port}{HEALTH}"
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

    def page(self) -> bool:
        """Whether the page for operators answers; no: there may be none."""
        if not self._page:
            return False
        try:
            return self._client.get(self._page).text == PAGE_IS_UP
        except httpx.HTTPError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._link_client.close()


def _reached(host: str) -> str:
    """Return a host as this machine reaches it, as an address has it."""
    host = _EVERYWHERE.get(host, host)
    return f"[{host}]" if ":" in host else host


def _status(client: httpx.Client, address: str) -> int:
    try:
        return client.get(address).status_code
    except httpx.HTTPError:
        return 0
