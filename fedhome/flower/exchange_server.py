"""The SuperLink's side of :mod:`fedhome.wire.exchange`, in front of Flower's own app.

A home is authenticated by Flower's code and answered by Flower's handlers, as if it had sent the
requests one by one; only the path through Flower's web application is skipped for each of them.
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
from fedhome.flower.exchange_handlers import IncomingMessage, accept_reply, authenticate, is_its_own
from fedhome.ops.serving import gone, unless
from fedhome.wire.exchange import (
    ANSWER,
    CHANGES,
    LOOK,
    Changes,
    ExchangeAnswer,
    MessageDelivery,
    MessageRequest,
)

_AT_ONCE = 8  # messages that are assembled; the run's own requests need threads too
_PUSH_MESSAGES, _PUSH_OBJECT = "/v1/runtime/push-messages", "/v1/runtime/push-object"
_DEACTIVATE = "/v1/fleet/deactivate-node"
_PUSH_REPLY = "/v1/fleet/push-messages"
_FROM_HOMES = frozenset({_PUSH_REPLY, "/v1/fleet/push-object"})
_OBSERVED = frozenset({_PUSH_MESSAGES, _PUSH_OBJECT, _DEACTIVATE})
_MOST_INCOMPLETE = 100_000
_OK = 200

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Hold:
    """A home's request that waits for a message.

    Attributes:
        news: Set when there is a message, or `over`.
        over: Whether it is to stop waiting: the home has asked anew, or goes away.
    """

    def __init__(self) -> None:
        self.news, self.over = asyncio.Event(), False

    def end(self) -> None:
        """Stop it from waiting."""
        self.over = True
        self.news.set()


class Exchange:
    """An ASGI application that answers our own requests, and leaves the rest to Flower's.

    Args:
        app: Flower's SuperLink.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._holds: dict[int, _Hold] = {}
        self._incomplete: dict[str, int] = {}  # messages that are not complete yet, and their nodes
        self._change_count = 0  # how often homes have sent something
        self._news = asyncio.Event()
        self._ended = False
        self._whole = asyncio.Semaphore(_AT_ONCE)
        self._routes = {LOOK: self._look, ANSWER: self._answer, CHANGES: self._changes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "") if scope["type"] == "http" else ""
        route = self._routes.get(path)
        if route is not None:
            request = Request({**scope, "app": self._app}, receive, send)
            response = await http_error_translator(request, _refuse_unreadable(route))
            await response(scope, receive, send)
        elif path in _OBSERVED:
            await self._observe(path, scope, receive, send)
        elif path in _FROM_HOMES:
            if path == _PUSH_REPLY:
                receive = await _verify_sender(receive)
            recorded = _RecordedSend(send)
            await self._app(scope, receive, recorded)
            if recorded.status == _OK:
                self._count_change()
        else:
            await self._app(scope, receive, send)

    def end(self) -> None:
        """Answer all waiting requests, and let none wait any more: the server ends."""
        self._ended = True
        for hold in self._holds.values():
            hold.end()
        self._news.set()

    async def _look(self, request: Request) -> Response:
        look = MessageRequest.from_bytes(await _body(request))
        pull = PullMessagesRequest.FromString(look.pull)
        await run_in_threadpool(authenticate, request, pull)
        waiting = self._wait_for_message(request, pull, look.wait_ms / 1000)
        pulled = await unless(waiting, gone(request.receive))
        if pulled is None or not pulled.messages_list:
            return _reply(MessageDelivery(pulled=b"").to_bytes())
        message = IncomingMessage(get_linkstate(request), pull.node, pulled)
        await message.gather(self._whole)
        delivery = message.delivery(known=look.run)
        return _reply(delivery.to_bytes())

    async def _wait_for_message(
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
        answer = ExchangeAnswer.from_bytes(await _body(request))
        push = PushMessagesRequest.FromString(answer.push)
        receipt = await run_in_threadpool(accept_reply, request, push, answer)
        self._count_change()
        return _reply(receipt.to_bytes())

    async def _changes(self, request: Request) -> Response:
        changes = Changes.from_bytes(await _body(request))
        await unless(
            self._wait_for_change(changes.seen, changes.wait_ms / 1000), gone(request.receive)
        )
        return _protobuf(UInt64Value(value=self._change_count).SerializeToString())

    async def _wait_for_change(self, seen: int, wait_s: float) -> None:
        if self._change_count == seen and not self._ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)

    def _count_change(self) -> None:
        self._change_count += 1
        self._news.set()
        self._news = asyncio.Event()

    async def _observe(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a request to Flower; if it succeeds, notify the homes that it concerns."""
        body, replay = await _read(receive)
        # Noted before Flower answers: what follows may arrive before this continues.
        announced = _nodes_of(body) if path == _PUSH_MESSAGES else {}
        self._incomplete |= announced
        recorded = _RecordedSend(send)
        await self._app(scope, replay, recorded)
        granted = recorded.status == _OK
        if path == _PUSH_MESSAGES:
            self._note_announced(announced, bytes(recorded.body) if granted else None)
        elif granted and path == _PUSH_OBJECT:
            # The message itself comes last of its objects: only then is there something to get.
            self._notify(PushObjectRequest.FromString(body).object_id)
        elif granted:
            hold = self._holds.get(DeactivateNodeRequest.FromString(body).node_id)
            if hold is not None:
                hold.end()

    def _note_announced(self, announced: dict[str, int], answer: bytes | None) -> None:
        """Note which messages have yet to arrive; none of them if Flower refused."""
        missing: set[str] = set()
        if answer is not None:
            missing = set(PushAppMessagesResponse.FromString(answer).objects_to_push)
        for name in announced:
            if answer is None:
                self._incomplete.pop(name, None)
            elif name not in missing:
                self._notify(name)
        while len(self._incomplete) > _MOST_INCOMPLETE:  # of runs that were killed meanwhile
            del self._incomplete[next(iter(self._incomplete))]

    def _notify(self, name: str) -> None:
        """Notify the home for which an object is the message, if it is one."""
        hold = self._holds.get(self._incomplete.pop(name, 0))
        if hold is not None:
            hold.news.set()


class _RecordedSend:
    """Passes a response on, and records its status and body."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.body = send, 0, bytearray()

    async def __call__(self, event: MutableMapping[str, Any]) -> None:
        self.status = event.get("status", self.status)
        self.body.extend(event.get("body", b""))
        await self._send(event)


async def _verify_sender(receive: Receive) -> Receive:
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
    """Return a request's body, and what replays its events."""
    body, more = bytearray(), True
    while more:
        event = await receive()
        body.extend(event.get("body", b""))
        more = event.get("more_body", False)
        if event["type"] != "http.request":  # hung up: the body is incomplete
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


def _refuse_unreadable(
    route: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Let a route answer 400 to what cannot be parsed."""

    async def answer(request: Request) -> Response:
        try:
            return await route(request)
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
