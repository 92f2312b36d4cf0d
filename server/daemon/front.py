"""The front: TLS towards the homes, and those of Flower's paths that homes need, no others.

Flower's SuperLink answers homes, owners and its own processes at one place and does not
authenticate the latter two; so it listens at a socket that no other account reaches, and this is
the only entrance. A home registers its node here, with a claim that its identity key signs
(:mod:`fedhome.fleet.claims`).

Of a request of a stranger, the head is read and nothing else, or 4 KiB where the body is what
shows who it is. What is large passes through in pieces: the next is received when the last is sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import httpx

from fedhome.errors import FedHomeError, LinkError, RegistryError, SecAggError, StateError
from fedhome.fleet import release_request
from fedhome.fleet.claims import MOST, Claim, Welcome
from fedhome.fleet.front_requests import ENROL, HEALTH, JOIN, LEAVE, OWNER, RELEASE, refusal
from fedhome.fleet.invites import MOST as MOST_ENROLMENT
from fedhome.fleet.owner_requests import MOST_REQUEST, PERMIT
from fedhome.flower.request_signature import RequestSignature
from fedhome.flower.superlink import FLEET_PATHS, PUSH_MESSAGES, PUSH_OBJECT, Control
from fedhome.installed_build import installed_build
from fedhome.ops.certificate_files import CertificateFiles
from fedhome.ops.door_server import DoorServer, door_config
from fedhome.ops.local_answer import LocalAnswer
from fedhome.ops.plain_log import log_plainly
from fedhome.ops.processes import allow_many_files
from fedhome.ops.serving import Receive, Scope, Send, unless
from fedhome.ops.socket_client import SocketClient
from fedhome.ops.sparing_log import log_sparingly
from fedhome.ops.turns import BusyError, Turns
from fedhome.server.daemon.applications import Applications
from fedhome.server.daemon.front_limits import limits_for
from fedhome.server.daemon.front_request import (
    CLOSE,
    HUNG_UP,
    TOO_LARGE,
    FrontRequest,
    Headers,
    RefusedError,
)
from fedhome.server.daemon.health import Health
from fedhome.server.daemon.home_marks import HomeMarks
from fedhome.server.daemon.known_nodes import KnownNodes
from fedhome.server.daemon.newest import Newest
from fedhome.server.daemon.nodes import Nodes
from fedhome.server.daemon.release_door import ReleaseDoor
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.status import status_of
from fedhome.server.daemon.status_sources import StatusSources
from fedhome.server.daemon.told_status import STATUS
from fedhome.server.daemon.turned_away import TurnedAway
from fedhome.wire.exchange import ANSWER, HOLD_S, LOOK, MOST_ANSWER, MOST_LOOK

_log = logging.getLogger("fedhome.front")
Answer = tuple[int, Headers, bytes]

_MOST_FORWARDED = 1 << 16  # the others hold names and numbers
_MOST = {  # bytes of a request; Flower cuts arrays into chunks of 20 MB
    PUSH_MESSAGES: 4 << 20,
    PUSH_OBJECT: 48 << 20,
    ANSWER: MOST_ANSWER,
    LOOK: MOST_LOOK,
}
_WHOLE = 1 << 16  # bytes of a request that is forwarded at once
_WAIT_S = HOLD_S + 10.0
_DOORS = 4  # of our own requests that are answered side by side
_BUSY_FROM = 8  # requests of a run at the SuperLink, from which on the others have one turn
_MOST_WAITING, _PATIENCE_S = 256, 10.0  # whoever asks gives up after 15 s
_TELL_S = 60.0
_OK = 200
_HEALTH_S = 1.0  # how long an answer about that holds
FORWARDED = frozenset({*FLEET_PATHS, LOOK, ANSWER})
"""The SuperLink's paths that homes reach."""
_NOT_FORWARDED = {b"connection", b"content-length", b"expect", b"host", b"keep-alive"}
_NOT_FORWARDED |= {b"te", b"trailer", b"transfer-encoding", b"upgrade"}  # of one connection each


class Route(NamedTuple):
    """A path of our own.

    Args:
        answer: The function that answers it.
        most: Bytes of a request, at most.
        rank: Where more come than can be answered, those with a lower one have their turn first.
        lock: Requests with the same one are answered one at a time; None: side by side.
    """

    answer: Callable[[bytes], bytes]
    most: int
    rank: int
    lock: asyncio.Lock | None = None


class Front:
    """An ASGI application that lets homes through to the SuperLink.

    Args:
        server_folder: The server's folder.
        turned_away: Notes whose claims are refused; None: nobody asks for them.
    """

    def __init__(self, server_folder: ServerFolder, turned_away: TurnedAway | None = None) -> None:
        self._server_folder = server_folder
        self._nodes = Nodes(server_folder.nodes, turned_away=turned_away)
        self.known = KnownNodes(server_folder, self._nodes)
        self._control = Control(server_folder.link)
        self._applications = Applications(server_folder)
        files = asyncio.Lock()
        self._newest = Newest(server_folder)
        self._marks = HomeMarks(server_folder.nodes)
        release = ReleaseDoor(self._newest, self._marks).answer
        self._routes = {
            OWNER: Route(self._applications.owner, MOST_REQUEST, 0, files),
            LEAVE: Route(self._applications.leave, MOST_ENROLMENT, 0, files),
            RELEASE: Route(release, release_request.MOST, 1, asyncio.Lock()),
            JOIN: Route(self._join, MOST, 2),
            ENROL: Route(self._applications.enrol, MOST_ENROLMENT, 3, files),
        }
        self._turns = Turns(self._at_once, most=_MOST_WAITING, patience_s=_PATIENCE_S)
        self._forwarding = 0  # requests of homes at the SuperLink, but for those that wait there
        self._shed_told = -math.inf
        self._owner = asyncio.Lock()  # what the owner sends is large: one at a time
        self._link = SocketClient(server_folder.link, wait_s=_WAIT_S)
        self._health: tuple[float, Answer] = (-math.inf, _AWAY)
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
        request = FrontRequest(scope, receive, send)
        try:
            answer = await self._answer(request)
            if answer is not None:
                await request.answer(*answer)
        except RefusedError as refused:
            if refused.status != HUNG_UP:
                await request.answer(refused.status, [], b"")

    async def _answer(self, request: FrontRequest) -> Answer | None:
        """Return the answer to a request; None where it is on its way already."""
        request.check_length()
        if request.method == "POST" and request.path in FORWARDED:
            if not self._is_a_homes(request):
                return _NOT_SIGNED
            return await self._forward(request)
        if request.method == "POST" and (route := self._routes.get(request.path)):
            if request.path != OWNER:
                return await self._respond(request, route)
            async with self._owner:
                return await self._respond_to_owner(request, route)
        if request.method == "GET" and request.path == HEALTH:
            return await self._answer_health()
        return _NOTHING

    def _is_a_homes(self, request: FrontRequest) -> bool:
        """Whether the node of a home of the directory signed a request, by its head.

        The SuperLink checks each signature again, and that the node is the one that it names.
        """
        signature = RequestSignature.read(request.headers)
        home = None if signature is None else self.known.home_of(signature.key)
        if signature is None or home is None:
            return False
        visitor = request.visitor
        if (visitor.name, visitor.proof) != (home, signature.key):
            if not signature.holds():
                return False
            visitor.is_known(home, signature.key)
        return True

    async def _forward(self, request: FrontRequest) -> Answer | None:
        path, most = request.path, _MOST.get(request.path, _MOST_FORWARDED)
        headers = [(name, value) for name, value in request.headers if name not in _NOT_FORWARDED]
        body: bytes | AsyncIterator[bytes] = request.pieces(most)
        if request.size is not None and request.size <= _WHOLE:
            body = await request.body(most)
        elif request.size is not None:
            headers.append((b"content-length", str(request.size).encode()))
        weight = int(path != LOOK)
        self._forwarding += weight
        try:
            response = await unless(
                self._link.send(path, headers, body), request.hung_up(), self._ended.wait()
            )
        except LinkError:
            return _AWAY
        finally:
            self._forwarding -= weight
        if response is None:
            return _AWAY
        try:
            # Its own pieces, as they come: what is not read yet waits at the SuperLink.
            kept = [one for one in response.headers if one[0] not in _NOT_PASSED_BACK]
            await request.begin(response.status, kept)
            async for piece in response.pieces():
                await request.go_on(piece)
            await request.go_on(b"", more=False)
        except LinkError:  # half an answer is none
            request.visitor.show_out()
        finally:
            response.close()
        return None

    async def _respond_to_owner(self, request: FrontRequest, route: Route) -> Answer:
        """Read what the owner has announced, and respond; nobody else's body is read."""
        try:
            permit = request.header(PERMIT.encode("ascii"))
            size = await asyncio.to_thread(self._applications.permit, permit)
        except FedHomeError as error:
            return _refused(error)
        if request.size != size:
            raise RefusedError(TOO_LARGE)
        request.visitor.is_known(_one_time(request))
        return await self._respond(request, route)

    async def _respond(self, request: FrontRequest, route: Route) -> Answer:
        body = await request.body(route.most)
        try:
            content = await unless(self._in_turn(route, body), request.hung_up())
        except BusyError:
            self._tell_shed()
            return _BUSY
        except (httpx.HTTPError, FedHomeError) as error:
            return _refused(error)
        if content is None:  # nobody waits for it any more
            raise RefusedError(HUNG_UP)
        # What it sent was signed: it has the time that a long answer takes.
        request.visitor.is_known(_one_time(request))
        return 200, [*_BYTES, CLOSE], content

    async def _in_turn(self, route: Route, body: bytes) -> bytes:
        """Answer when it is this request's turn.

        Raises:
            BusyError: That is not in time.
        """
        async with self._turns.turn(route.rank), route.lock or nullcontext():
            return await asyncio.to_thread(route.answer, body)

    def _at_once(self) -> int:
        """How many of our own requests are answered side by side: one while a run is busy."""
        return 1 if self._forwarding >= _BUSY_FROM else _DOORS

    def _tell_shed(self) -> None:
        """Tell of requests that were refused, seldom: a storm must not fill the log."""
        now = asyncio.get_running_loop().time()
        if now >= self._shed_told + _TELL_S:
            self._shed_told = now
            _log.warning(
                "more homes join than can be answered: %d were told to come back (they do so by "
                "themselves); questions of a run go first",
                self._turns.refused,
            )
            self._turns.refused = 0

    def _join(self, body: bytes) -> bytes:
        directory = self.known.directory

        def check(claim: Claim) -> None:
            self.known.check(claim)
            self._marks.check(claim.home, claim.saves, directory)

        claim, node = self._nodes.accept(body, directory, self._control, check)
        self.known.note(claim)
        return Welcome(
            node=node,
            directory=self._server_folder.directory_data,
            freshness=self._newest.statement(),
        ).to_bytes()

    async def _answer_health(self) -> Answer:
        """Return how the SuperLink is, or was just now: anybody may ask, as often as they like."""
        now = asyncio.get_running_loop().time()
        if now > self._health[0] + _HEALTH_S:
            self._health = (now, await self._ask_health())
        return self._health[1]

    async def _ask_health(self) -> Answer:
        try:
            response = await self._link.send(HEALTH, method="GET")
        except LinkError:
            return _AWAY
        try:
            async for _ in response.pieces():
                pass
        except LinkError:
            return _AWAY
        finally:
            response.close()
        return (200, _JSON, b'{"status": "ok"}') if response.status == _OK else _AWAY


_NOT_PASSED_BACK = _NOT_FORWARDED - {b"content-length"}
_BYTES = [(b"content-type", b"application/octet-stream")]
_JSON = [(b"content-type", b"application/json")]
_NOTHING: Answer = (404, [], b"")
_NOT_SIGNED: Answer = (401, [], b"")
_BUSY: Answer = (503, [*_JSON, (b"retry-after", b"5")], b'{"status": "the server is busy"}')
_AWAY: Answer = (503, _JSON, b'{"status": "the server is not ready"}')


def _refused(error: Exception) -> Answer:
    if isinstance(error, StateError | RegistryError):  # the server's own trouble, and its own paths
        _log.warning("%s", error)
        return _AWAY
    if isinstance(error, SecAggError):
        return 403, _JSON, refusal(error.reason, error.message, error.hint)
    return _AWAY


def _one_time(request: FrontRequest) -> str:
    """Return a name for a visitor that is known for one answer: it shares its place with nobody."""
    return f"{request.path} {id(request.visitor)}"


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def serve(server_folder: ServerFolder, turned_away: TurnedAway | None = None) -> DoorServer:
    """Return the server of a folder's front, which can be run.

    Args:
        server_folder: The server's folder.
        turned_away: Notes whose claims are refused; None: nobody asks for them.
    """
    settings = server_folder.settings
    front = Front(server_folder, turned_away)
    config = door_config(front, host=settings.host, port=settings.port)
    certificate = CertificateFiles(server_folder.tls)
    config.ssl = certificate.context()
    try:
        homes = len(front.known.directory.names)
    except SecAggError:  # the owner has signed none yet
        homes = 0
    limits = limits_for(allow_many_files(), homes)
    return DoorServer(config, front.end, limits, certificate.renewed)


def main(arguments: Sequence[str]) -> int:
    """Run the front of a server's folder until it is told to stop."""
    server_folder = ServerFolder(Path(arguments[0]))
    log_plainly("fedhome.front", "fedhome.door")
    _log.info("this is fedhome %s", installed_build())
    sources = StatusSources(server_folder)
    with Health(server_folder) as health:

        def status() -> bytes:
            told = status_of(server_folder, health=health, sources=sources)
            return json.dumps(told.as_json()).encode()

        with LocalAnswer(server_folder.path / STATUS, status, _log):
            door = serve(server_folder, sources.turned_away)
            log_sparingly("fedhome.front", "fedhome.door", "uvicorn.error")
            door.run()
    return 0
