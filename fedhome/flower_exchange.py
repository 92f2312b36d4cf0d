"""The SuperLink's side of :mod:`fedhome.exchange`, in front of Flower's own app.

A home is authenticated by Flower's code and answered by Flower's handlers, as if it had sent the
requests one by one; what is left out is the way through Flower's web application for each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from flwr.proto.fleet_pb2 import (
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.error import FlowerError, http_error_translator
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.servicer.fleet import fleet_handlers
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value
from starlette.concurrency import run_in_threadpool

from fedhome.errors import WireError
from fedhome.exchange import (
    ANSWER,
    CHANGES,
    LOOK,
    MOST_AT_ONCE,
    Answer,
    Changes,
    Found,
    Look,
    Taken,
    unless_gone,
)

_OBJECTS_S = 5.0  # so long a message is held back until all of it is there
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.005, 0.1
_ASKED = "/v1/runtime/push-messages"
_LEFT = "/v1/fleet/deactivate-node"
_SENT = frozenset({"/v1/fleet/push-messages", "/v1/fleet/push-object"})

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
        self._sent = 0  # how often homes have sent something
        self._news = asyncio.Event()
        self._doors = {LOOK: self._look, ANSWER: self._answer, CHANGES: self._changes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "") if scope["type"] == "http" else ""
        door = self._doors.get(path)
        if door is not None:
            request = Request({**scope, "app": self._app}, receive, send)
            response = await http_error_translator(request, _told_of_nonsense(door))
            await response(scope, receive, send)
        elif path in (_ASKED, _LEFT):
            await self._overheard(path, scope, receive, send)
        else:
            await self._app(scope, receive, send)
            if path in _SENT:
                self._change()

    async def _look(self, request: Request) -> Response:
        look = Look.from_bytes(await _body(request))
        pull = PullMessagesRequest.FromString(look.pull)
        await run_in_threadpool(_authenticate, request, pull)
        wanted = self._held(request, pull, look.wait_ms / 1000)
        pulled = await unless_gone(request.receive, wanted)
        if pulled is None or not pulled.messages_list:
            return _reply(Found(pulled=b"").to_bytes())
        found = await _whole(get_linkstate(request), pull.node, pulled, known=look.run)
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
            while not hold.over:
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
        taken = await run_in_threadpool(_take, request, push, answer)
        self._change()
        return _reply(taken.to_bytes())

    async def _changes(self, request: Request) -> Response:
        asked = Changes.from_bytes(await _body(request))
        await unless_gone(request.receive, self._changed(asked.seen, asked.wait_ms / 1000))
        return _protobuf(UInt64Value(value=self._sent).SerializeToString())

    async def _changed(self, seen: int, wait_s: float) -> None:
        if self._sent == seen:
            try:
                await asyncio.wait_for(self._news.wait(), wait_s)
            except TimeoutError:
                return

    def _change(self) -> None:
        self._sent += 1
        self._news.set()
        self._news = asyncio.Event()

    async def _overheard(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a request to Flower, then tell the homes that it is about."""
        body = bytearray()

        async def heard() -> MutableMapping[str, Any]:
            event = await receive()
            body.extend(event.get("body", b""))
            return event

        await self._app(scope, heard, send)
        try:
            if path == _LEFT:
                left = DeactivateNodeRequest.FromString(bytes(body)).node_id
                if left in self._holds:
                    self._holds[left].end()
                return
            for message in PushAppMessagesRequest.FromString(bytes(body)).messages_list:
                hold = self._holds.get(message.metadata.dst_node_id)
                if hold is not None:
                    hold.news.set()
        except DecodeError:  # Flower has refused it
            return


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


def _authenticate(request: Request, message: PullMessagesRequest | PushMessagesRequest) -> None:
    """Let Flower check the node's signature, and that its key is that of the node it names.

    Raises:
        HTTPException: 401.
    """
    request.state.protobuf_request = message
    authenticate_node(request)


async def _whole(
    state: LinkState, node: Node, pulled: PullMessagesResponse, *, known: int
) -> Found:
    """Return a message with its run and with what comes of its objects before long."""
    run = pulled.messages_list[0].metadata.run_id
    left = [one.object_id for one in iterate_object_tree(pulled.message_object_trees[0])]
    came: dict[str, bytes] = {}
    told = b"" if run == known else await run_in_threadpool(_run_of, state, node, run)
    deadline, wait_s = time.monotonic() + _OBJECTS_S, _FIRST_LOOK_S
    while await run_in_threadpool(_collect, state, node, run, left, came):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_LOOK_S)
    return Found(
        pulled=pulled.SerializeToString(),
        run=told,
        names=tuple(came),
        objects=tuple(came.values()),
    )


def _run_of(state: LinkState, node: Node, run: int) -> bytes:
    """Return a run's description; empty if the home has to hear for itself why there is none."""
    try:
        told = fleet_handlers.get_run(GetRunRequest(node=node, run_id=run), state)
    except FlowerError:
        return b""
    data: bytes = told.SerializeToString()
    return data


def _collect(
    state: LinkState, node: Node, run: int, left: list[str], came: dict[str, bytes]
) -> bool:
    """Take the objects that are there; return whether more may come."""
    for name in list(left):
        if sum(map(len, came.values())) >= MOST_AT_ONCE:
            return False
        request = PullObjectRequest(node=node, run_id=run, object_id=name)
        try:
            told = fleet_handlers.pull_object(request, state)
        except FlowerError:
            return False
        if not told.object_found:
            return False
        if told.object_available:
            came[name] = told.object_content
            left.remove(name)
    return bool(left)


def _take(request: Request, push: PushMessagesRequest, answer: Answer) -> Taken:
    """Take a reply: what announces it, and those of its objects that are not there yet."""
    _authenticate(request, push)
    state, node = get_linkstate(request), push.node
    if len(push.messages_list) != 1 or len(push.message_object_trees) != 1:
        raise HTTPException(400, "one reply at a time")
    run = push.messages_list[0].metadata.run_id
    pushed = fleet_handlers.push_messages(push, state)
    wanted, names, refused = set(pushed.objects_to_push), [], False
    for name, content in zip(answer.names, answer.objects, strict=False):
        if name not in wanted:
            continue
        told = fleet_handlers.push_object(
            PushObjectRequest(
                node=node,
                run_id=run,
                session_id=pushed.session_id,
                object_id=name,
                object_content=content,
            ),
            state,
        )
        if not told.stored:
            refused = True
            break
        names.append(name)
    received = ConfirmMessageReceivedRequest(node=node, run_id=run, message_object_id=answer.asked)
    fleet_handlers.confirm_message_received(received, state, state.object_store)
    return Taken(pushed=pushed.SerializeToString(), names=tuple(names), refused=int(refused))
