"""The SuperLink's side of :mod:`fedhome.wire.exchange`, in front of Flower's own app.

A home is authenticated by Flower's code and answered by Flower's handlers, as if it had sent the
requests one by one; what is left out is the way through Flower's web application for each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from flwr.proto.fleet_pb2 import (
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.runtime_pb2 import PushAppMessagesRequest, PushAppMessagesResponse
from flwr.supercore.error import http_error_translator
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.servicer.fleet import fleet_handlers
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value
from starlette.concurrency import run_in_threadpool

from fedhome.errors import WireError
from fedhome.flower.exchange_handlers import Coming, authenticate, is_its_own, take
from fedhome.ops.serving import gone, unless
from fedhome.wire.exchange import ANSWER, CHANGES, LOOK, Answer, Changes, Found, Look

_AT_ONCE = 8  # messages that are put together; the run's own requests need threads too
_ASKED, _STORED = "/v1/runtime/push-messages", "/v1/runtime/push-object"
_LEFT = "/v1/fleet/deactivate-node"
_REPLIED = "/v1/fleet/push-messages"
_SENT = frozenset({_REPLIED, "/v1/fleet/push-object"})
_HEARD = frozenset({_ASKED, _STORED, _LEFT})
_MOST_COMING = 100_000
_OK = 200

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Hold:
    """A home's question that waits for a message.

    Attributes:
        news: Set when there is a message, or `over`.
        over: Whether it is to wait no more: the home has asked anew, or goes away.
    """

    def __init__(self) -> None:
        self.news, self.over = asyncio.Event(), False

    def end(self) -> None:
        """Let it wait no more."""
        self.over = True
        self.news.set()


class Exchange:
    """An ASGI application that answers what is ours, and leaves the rest to Flower's.

    Args:
        app: Flower's SuperLink.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._holds: dict[int, _Hold] = {}
        self._coming: dict[str, int] = {}  # messages that are not whole yet, and their nodes
        self._sent = 0  # how often homes have sent something
        self._news = asyncio.Event()
        self._ended = False
        self._whole = asyncio.Semaphore(_AT_ONCE)
        self._doors = {LOOK: self._look, ANSWER: self._answer, CHANGES: self._changes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "") if scope["type"] == "http" else ""
        door = self._doors.get(path)
        if door is not None:
            request = Request({**scope, "app": self._app}, receive, send)
            response = await http_error_translator(request, _told_of_nonsense(door))
            await response(scope, receive, send)
        elif path in _HEARD:
            await self._overheard(path, scope, receive, send)
        elif path in _SENT:
            if path == _REPLIED:
                receive = await _own_words(receive)
            sending = _Sending(send)
            await self._app(scope, receive, sending)
            if sending.status == _OK:
                self._change()
        else:
            await self._app(scope, receive, send)

    def end(self) -> None:
        """Answer whoever waits, and let nobody wait any more: the server ends."""
        self._ended = True
        for hold in self._holds.values():
            hold.end()
        self._news.set()

    async def _look(self, request: Request) -> Response:
        look = Look.from_bytes(await _body(request))
        pull = PullMessagesRequest.FromString(look.pull)
        await run_in_threadpool(authenticate, request, pull)
        wanted = self._held(request, pull, look.wait_ms / 1000)
        pulled = await unless(wanted, gone(request.receive))
        if pulled is None or not pulled.messages_list:
            return _reply(Found(pulled=b"").to_bytes())
        message = Coming(get_linkstate(request), pull.node, pulled)
        await message.gather(self._whole)
        found = message.found(known=look.run)
        return _reply(found.to_bytes())

    async def _held(
        self, request: Request, pull: PullMessagesRequest, wait_s: float
    ) -> PullMessagesResponse | None:
        """Wait until there is a message for a node; None if there is none."""
        node, state = pull.node.node_id, get_linkstate(request)
        if node in self._holds:
            self._holds[node].end()
        hold = self._holds[node] = _Hold()
        deadline = time.monotonic() + wait_s
        try:
            while not (hold.over or self._ended):
                hold.news.clear()
                pulled = await run_in_threadpool(
                    fleet_handlers.pull_messages, pull, state, state.object_store
                )
                left_s = deadline - time.monotonic()
                if pulled.messages_list or left_s <= 0:
                    return pulled
                try:
                    await asyncio.wait_for(hold.news.wait(), left_s)
                except TimeoutError:
                    return None
        finally:
            if self._holds.get(node) is hold:
                del self._holds[node]
        return None

    async def _answer(self, request: Request) -> Response:
        answer = Answer.from_bytes(await _body(request))
        push = PushMessagesRequest.FromString(answer.push)
        taken = await run_in_threadpool(take, request, push, answer)
        self._change()
        return _reply(taken.to_bytes())

    async def _changes(self, request: Request) -> Response:
        asked = Changes.from_bytes(await _body(request))
        await unless(self._changed(asked.seen, asked.wait_ms / 1000), gone(request.receive))
        return _protobuf(UInt64Value(value=self._sent).SerializeToString())

    async def _changed(self, seen: int, wait_s: float) -> None:
        if self._sent == seen and not self._ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)

    def _change(self) -> None:
        self._sent += 1
        self._news.set()
        self._news = asyncio.Event()

    async def _overheard(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a request to Flower; if it is granted, tell the homes that it is about."""
        body, replay = await _read(receive)
        # Known before Flower answers: what follows may come before this goes on.
        coming = _nodes_of(body) if path == _ASKED else {}
        self._coming |= coming
        sending = _Sending(send)
        await self._app(scope, replay, sending)
        granted = sending.status == _OK
        if path == _ASKED:
            self._announced(coming, bytes(sending.body) if granted else None)
        elif granted and path == _STORED:
            # The message itself comes last of its objects: only then there is something to get.
            self._came(PushObjectRequest.FromString(body).object_id)
        elif granted:
            left = self._holds.get(DeactivateNodeRequest.FromString(body).node_id)
            if left is not None:
                left.end()

    def _announced(self, coming: dict[str, int], answer: bytes | None) -> None:
        """Take note of which messages still have to come; of none if Flower refused."""
        wanted: set[str] = set()
        if answer is not None:
            wanted = set(PushAppMessagesResponse.FromString(answer).objects_to_push)
        for name in coming:
            if answer is None:
                self._coming.pop(name, None)
            elif name not in wanted:
                self._came(name)
        while len(self._coming) > _MOST_COMING:  # of runs that were killed meanwhile
            del self._coming[next(iter(self._coming))]

    def _came(self, name: str) -> None:
        """Tell the home that an object is a message for, if it is one."""
        hold = self._holds.get(self._coming.pop(name, 0))
        if hold is not None:
            hold.news.set()


class _Sending:
    """Passes an answer on, and keeps its status and body."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.body = send, 0, bytearray()

    async def __call__(self, event: MutableMapping[str, Any]) -> None:
        self.status = event.get("status", self.status)
        self.body.extend(event.get("body", b""))
        await self._send(event)


async def _own_words(receive: Receive) -> Receive:
    """Return the events of a reply's announcement; none of its body if it is another node's.

    Flower compares the node with its key, but not the reply's sender with the node.
    """
    body, replay = await _read(receive)
    try:
        push = PushMessagesRequest.FromString(body)
    except DecodeError:  # Flower refuses it
        return replay
    return replay if is_its_own(push) else _replayed(b"", receive)


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """Return a request's body, and what tells its events once more."""
    body, more = bytearray(), True
    while more:
        event = await receive()
        body.extend(event.get("body", b""))
        more = event.get("more_body", False)
        if event["type"] != "http.request":  # hung up: what is there is not whole
            return b"", _replayed(b"", receive)
    return bytes(body), _replayed(bytes(body), receive)


def _replayed(body: bytes, receive: Receive) -> Receive:
    events = [{"type": "http.request", "body": body}]

    async def replay() -> MutableMapping[str, Any]:
        return events.pop() if events else await receive()

    return replay


def _nodes_of(body: bytes) -> dict[str, int]:
    """Return the nodes that a run's messages are for, by the messages' names."""
    try:
        messages = PushAppMessagesRequest.FromString(body).messages_list
    except DecodeError:  # Flower refuses it
        return {}
    return {one.metadata.message_id: one.metadata.dst_node_id for one in messages}


def _told_of_nonsense(
    door: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Let a door answer 400 to what nobody can read."""

    async def answer(request: Request) -> Response:
        try:
            return await door(request)
        except (WireError, DecodeError):
            raise HTTPException(400, "this cannot be read") from None

    return answer


async def _body(request: Request) -> bytes:
    value: bytes = BytesValue.FromString(await request.body()).value
    return value


def _reply(data: bytes) -> Response:
    return _protobuf(BytesValue(value=data).SerializeToString())


def _protobuf(data: bytes) -> Response:
    return Response(data, media_type=PROTOBUF_MEDIA_TYPE)
