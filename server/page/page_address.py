"""Where the page for operators is served: a line of ``server.toml``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from fedhome.errors import RunError

_FORM = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):(\d{1,5})")
_MOST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class PageAddress:
    """Where the page is served.

    Args:
        host: An address of this machine.
        port: Its port.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it: then it needs neither TLS nor a token."""
        return ipaddress.ip_address(self.host).is_loopback

    def url(self, name: str = "") -> str:
        """Return what is typed into a browser.

        Args:
            name: Name of this machine, where the page is not served on loopback.
        """
        host = self.host if self.is_loopback or not name else name
        host = f"[{host}]" if ":" in host else host
        return f"{'http' if self.is_loopback else 'https'}://{host}:{self.port}/"


def page_address(text: str) -> PageAddress | None:
    """Return where the page is served; None: nowhere.

    >>> page_address("[::1]:8444").url()
    'http://[::1]:8444/'

    Args:
        text: An address and a port, such as ``127.0.0.1:8444``; empty: nowhere.

    Raises:
        RunError: It is neither.
    """
    if not text:
        return None
    form = _FORM.fullmatch(text) if isinstance(text, str) else None
    try:
        if form is None:
            raise ValueError(text)  # noqa: TRY301 - told below
        host = str(ipaddress.ip_address(form[1] or form[2]))
        port = int(form[3])
        if not 0 < port <= _MOST_PORT:
            raise ValueError(text)  # noqa: TRY301 - told below
    except ValueError:
        raise RunError(
            f"page = {text!r} cannot be",
            hint='it is an address of this machine and a port, such as "127.0.0.1:8444" or '
            '"[::1]:8444"; "" for no page',
        ) from None
    return PageAddress(host=host, port=port)


def beside(port: int) -> str:
    """Return where the page of a server is served unless somebody says otherwise.

    On loopback, at the port after the one for homes: two servers of one machine have two pages.

    >>> beside(8443)
    '127.0.0.1:8444'

    Args:
        port: The port for homes.
    """
    return f"127.0.0.1:{port + 1 if port < _MOST_PORT else port - 1}"
