"""The front: TLS towards the homes, and those of Flower's paths that homes need, no others.

Flower's SuperLink answers homes, owners and its own processes at one place and does not
authenticate the latter two; so it listens at a socket that no other account reaches, and this is
the only entrance. A home registers its node here, with a claim that its identity key signs
(:mod:`fedhome.fleet.claims`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn

from fedhome.errors import FedHomeError, SecAggError, StateError
from fedhome.fleet import release_request
from fedhome.fleet.claims import MOST, Welcome
from fedhome.fleet.front_requests import ENROL, HEALTH, JOIN, LEAVE, OWNER, RELEASE, refusal
from fedhome.fleet.invites import MOST as MOST_ENROLMENT
from fedhome.fleet.owner_requests import MOST_REQUEST
from fedhome.flower.superlink import FLEET_PATHS, LINK, PUSH_OBJECT, Control
from fedhome.ops import local_socket, tls
from fedhome.ops.processes import allow_many_files
from fedhome.ops.serving import GracefulServer, gone, unless
from fedhome.server.daemon.applications import Applications
from fedhome.server.daemon.nodes import Nodes
from fedhome.server.daemon.release_door import ReleaseDoor
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.wire.exchange import ANSWER, HOLD_S, LOOK, MOST_ANSWER, MOST_LOOK

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_log = logging.getLogger("fedhome.front")
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

_MOST_HEAD = 4 << 20
_MOST = {  # bytes of a request; Flower cuts arrays into chunks of 20 MB
    PUSH_OBJECT: 48 << 20,
    ANSWER: MOST_ANSWER,
    LOOK: MOST_LOOK,
}
_WAIT_S = HOLD_S + 10.0
_MOST_CONNECTIONS = 4000  # a home has two
FORWARDED = frozenset({*FLEET_PATHS, LOOK, ANSWER})
"""The SuperLink's paths that homes reach."""
_NOT_FORWARDED = {
    b"connection",
    b"content-encoding",
    b"content-length",
    b"host",
    b"keep-alive",
    b"transfer-encoding",
    b"upgrade",
}


class Route(NamedTuple):
    """A path of our own: the function that answers it, and the most bytes of a request."""

    answer: Callable[[bytes], bytes]
    most: int


class Front:
    """An ASGI application that lets homes through to the SuperLink.

    Args:
        server_folder: The server's folder.
    """

    def __init__(self, server_folder: ServerFolder) -> None:
        self._server_folder = server_folder
        self._nodes = Nodes(server_folder.nodes)
        self._control = Control(server_folder.link)
        self._lock = asyncio.Lock()  # requests to our own paths are answered one at a time
        enrolments = Applications(server_folder)
        self._routes = {
            JOIN: Route(self._join, MOST),
            RELEASE: Route(ReleaseDoor(server_folder).answer, release_request.MOST),
            ENROL: Route(enrolments.enrol, MOST_ENROLMENT),
            LEAVE: Route(enrolments.leave, MOST_ENROLMENT),
            OWNER: Route(enrolments.owner, MOST_REQUEST),
        }
        self._link, self._waiting = (
            httpx.AsyncClient(
                base_url=LINK,
                timeout=_WAIT_S,
                transport=httpx.AsyncHTTPTransport(
                    uds=local_socket.address(server_folder.link),
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                ),
            )
            for _ in range(2)
        )
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Answer all waiting requests: the front ends."""
        self._ended.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; paths that homes do not need are not found."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if method == "POST" and path in FORWARDED:
            body = await _body(scope, receive, _MOST.get(path, _MOST_HEAD))
            if body is None:
                answer = _TOO_LARGE
            else:
                forwarded = self._forward(path, scope, body)
                answer = await unless(forwarded, gone(receive), self._ended.wait()) or _AWAY
        elif method == "POST" and (route := self._routes.get(path)):
            body = await _body(scope, receive, route.most)
            answer = _TOO_LARGE if body is None else await self._respond(route, body)
        elif method == "GET" and path == HEALTH:
            answer = await self._health()
        else:
            answer = _NOTHING
        status, headers, content = answer
        headers = [*headers, (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _forward(self, path: str, scope: Scope, body: bytes) -> Answer:
        headers = [(name, value) for name, value in scope["headers"] if name not in _NOT_FORWARDED]
        # Requests that wait have their own connections, which each short request would search.
        link = self._waiting if path == LOOK else self._link
        try:
            response = await link.post(path, content=body, headers=headers)
        except httpx.HTTPError:
            return _AWAY
        kept_headers = [(n, v) for n, v in response.headers.raw if n.lower() not in _NOT_FORWARDED]
        return response.status_code, kept_headers, response.content

    async def _respond(self, route: Route, body: bytes) -> Answer:
        async with self._lock:
            try:
                return 200, _BYTES, await asyncio.to_thread(route.answer, body)
            except StateError as error:  # the server's own trouble, and its own paths
                _log.warning("%s", error)
                return _AWAY
            except SecAggError as error:
                return 403, _JSON, refusal(error.reason, error.message, error.hint)
            except (httpx.HTTPError, FedHomeError):
                return _AWAY

    def _join(self, body: bytes) -> bytes:
        directory = self._server_folder.directory()
        _, node = self._nodes.accept(body, directory, self._control)
        return Welcome(node=node, directory=self._server_folder.directory_data).to_bytes()

    async def _health(self) -> Answer:
        try:
            response = await self._link.get(HEALTH)
        except httpx.HTTPError:
            return _AWAY
        return (200, _JSON, b'{"status": "ok"}') if response.is_success else _AWAY


_BYTES = [(b"content-type", b"application/octet-stream")]
_JSON = [(b"content-type", b"application/json")]
_NOTHING: Answer = (404, [], b"")
_TOO_LARGE: Answer = (413, [], b"")
_AWAY: Answer = (503, _JSON, b'{"status": "the server is not ready"}')


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _body(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """Return the body of a request; None if it is too large."""
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > most:
            return None
    parts, size, more = [], 0, True
    while more:
        event = await receive()
        if event["type"] != "http.request":  # the home went away
            return b""
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        more = event.get("more_body", False)
        if size > most:
            return None
    return b"".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Run the front of a server's folder until it is told to stop."""
    server_folder = ServerFolder(Path(arguments[0]))
    settings = server_folder.settings
    allow_many_files()
    front = Front(server_folder)
    config = uvicorn.Config(
        front,
        host=settings.host,
        port=settings.port,
        ssl_certfile=server_folder.tls / tls.CERTIFICATE,
        ssl_keyfile=str(server_folder.tls / tls.KEY),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
        limit_concurrency=_MOST_CONNECTIONS,
    )
    GracefulServer(config, front.end).run()
    return 0
