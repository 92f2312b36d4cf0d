"""Who may see the page, and what they are answered: an ASGI application that only reads.

Other accounts of the machine, other machines and the pages of other sites in somebody's browser all
reach a port. Hence: nothing changes anything; a request must name this machine as its host (a
site whose name was made to lead here does not: DNS rebinding); no other site's page may read,
embed or frame an answer; and where the port is not for this machine alone, a token is wanted.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from fedhome.fleet.front_requests import HEALTH
from fedhome.ops.door_server import VISITOR
from fedhome.ops.doors import Visitor
from fedhome.ops.serving import Receive, Scope, Send
from fedhome.server.daemon.health import PAGE_IS_UP
from fedhome.server.page.page_token import permits

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What the page may load: nothing but the style that is in it."""

_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_TEXT = "text/plain; charset=utf-8"
_ASK = ((b"www-authenticate", b'Basic realm="fedhome", charset="UTF-8"'),)
_ALLOW = ((b"allow", b"GET, HEAD"),)
_VIEWER = "viewer"

Headers = tuple[tuple[bytes, bytes], ...]


class Resource(NamedTuple):
    """Something to see.

    Args:
        kind: Its media type.
        make: Makes it; may take a while, in a thread.
    """

    kind: str
    make: Callable[[], bytes]


class _Answer(NamedTuple):
    status: int
    kind: str
    content: bytes
    headers: Headers = ()


class PageDoor:
    """An ASGI application that shows what there is to see.

    Args:
        resources: What there is, by path.
        names: Names by which this machine may be called, beside ``localhost`` and any address.
        token: What whoever looks must know; empty: nothing.
    """

    def __init__(
        self, resources: Mapping[str, Resource], *, names: Collection[str], token: str
    ) -> None:
        self._resources, self._token = resources, token
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] != "http":
            return
        visitor: Visitor = scope.get("state", {}).get(VISITOR) or Visitor()
        answer = await self._answer(scope, visitor)
        content = answer.content
        headers = [
            (b"content-type", answer.kind.encode()),
            (b"content-length", str(len(content)).encode()),
            *_ALWAYS,
            *answer.headers,
        ]
        if not visitor.name:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else content
        await send({"type": "http.response.body", "body": body})
        visitor.dismiss()

    async def _answer(self, scope: Scope, visitor: Visitor) -> _Answer:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._is_called(hosts[0]):
            return _Answer(421, _TEXT, b"this server is called otherwise\n")
        if scope["method"] not in {"GET", "HEAD"}:
            return _Answer(405, _TEXT, b"there is nothing to change here\n", _ALLOW)
        if scope["path"] == HEALTH:
            return _Answer(200, _TEXT, PAGE_IS_UP.encode())
        if self._token and not permits(_authorization(scope), self._token):
            return _Answer(401, _TEXT, b"the token is in page.token of the server's folder\n", _ASK)
        visitor.is_known(_VIEWER)
        resource = self._resources.get(scope["path"])
        if resource is None:
            return _Answer(404, _TEXT, b"there is / and /metrics\n")
        return _Answer(200, resource.kind, await asyncio.to_thread(resource.make))

    def _is_called(self, host: bytes) -> bool:
        """Whether a request's ``Host`` names this machine; its port may be that of a tunnel."""
        text = host.decode("ascii", errors="replace").lower()
        name, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            name, port = text, "0"
        if not port.isdigit():
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def _authorization(scope: Scope) -> bytes:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return found[0] if len(found) == 1 else b""
