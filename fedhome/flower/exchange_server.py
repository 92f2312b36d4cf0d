"""The SuperLink's side of :mod:`fedhome.wire.exchange`, in front of Flower's own app.

A home is authenticated by Flower's code and answered by Flower's handlers, as if it had sent the
requests one by one; only the path through Flower's web application is skipped for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest, PushObjectResponse
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.supercore.error import http_error_translator
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink.servicer.fleet import fleet_handlers
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value
from starlette.concurrency import run_in_threadpool

from fedhome.errors import LinkError, WireError
from fedhome.flower.bounded_bodies import TOO_LARGE, BoundedBodies
from fedhome.flower.exchange_handlers import (
    ALREADY_THERE,
    IncomingMessage,
    accept_announcement,
    accept_reply,
    authenticate,
)
from fedhome.flower.indexed_state import IndexedLinkState
from fedhome.flower.observed_requests import RecordedSend, nodes_of, read
from fedhome.flower.run_handlers import accept_questions, gather_replies, node_states, task_of
from fedhome.flower.streamed_objects import stream_object
from fedhome.ops.serving import Receive, Scope, Send, gone, unless
from fedhome.wire.delivery_window import PackingWindow
from fedhome.wire.exchange import (
    ANSWER,
    ASK,
    CHANGES,
    LOOK,
    NODES,
    REPLIES,
    Changes,
    ExchangeAnswer,
    MessageDelivery,
    MessageRequest,
    NodeQuery,
    PackedDelivery,
    Questions,
    ReplyRequest,
)

_SMALL = 1 << 16  # bytes that are handled at once; what is larger has a thread
_PUSH_MESSAGES, _PUSH_OBJECT = "/v1/runtime/push-messages", "/v1/runtime/push-object"
_ACTIVATE, _DEACTIVATE = "/v1/fleet/activate-node", "/v1/fleet/deactivate-node"
_HEARTBEAT = "/v1/fleet/send-node-heartbeat"
_PUSH_REPLY, _PUSH_REPLY_OBJECT = "/v1/fleet/push-messages", "/v1/fleet/push-object"
_PULL_OBJECT = "/v1/fleet/pull-object"
_OBSERVED = frozenset({_PUSH_MESSAGES, _PUSH_OBJECT, _DEACTIVATE})
_MOST_INCOMPLETE = 100_000
_MOST_WINDOWS = 1000  # of 32 KiB each
_NOTHING = PackedDelivery(
    window=b"", packed=PackingWindow().pack(MessageDelivery(pulled=b"").to_bytes())
).to_bytes()
_OK = 200

Result = TypeVar("Result")


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
        self._windows: dict[int, PackingWindow] = {}  # what nodes were sent last
        self._answered: dict[str, None] = {}  # messages that homes have answered since
        self._ended = False
        self._routes = {
            LOOK: self._look,
            ANSWER: self._answer,
            CHANGES: self._changes,
            ASK: self._ask,
            REPLIES: self._replies,
            NODES: self._nodes,
            _ACTIVATE: self._activate,
            _HEARTBEAT: self._beat,
            _PUSH_REPLY: self._push_reply,
            _PUSH_REPLY_OBJECT: self._push_reply_object,
            _PULL_OBJECT: self._pull_object,
        }
        self._bodies = BoundedBodies(lambda: self._state)

    @property
    def _state(self) -> IndexedLinkState:
        state = self._app.state.linkstate_factory.state()
        assert isinstance(state, IndexedLinkState)
        return state

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
        authenticate(request, pull)
        self._state.hear(pull.node.node_id)
        waiting = self._wait_for_message(pull, look.wait_ms / 1000)
        pulled = await unless(waiting, gone(request.receive))
        if pulled is None or not pulled.messages_list:
            return _reply(_NOTHING)
        self._state.hear(pull.node.node_id)
        message = IncomingMessage(self._state, pull.node, pulled)
        await message.gather()
        node = pull.node.node_id
        window = self._windows.pop(node, PackingWindow())
        if window.digest != look.window:
            window = PackingWindow()  # something was lost on the way, or this is another process
        delivery, self._windows[node] = message.delivery(known=look.run, window=window)
        if len(self._windows) > _MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]
        return _reply(delivery.to_bytes())

    async def _wait_for_message(
        self, pull: PullMessagesRequest, wait_s: float
    ) -> PullMessagesResponse | None:
        """Wait until there is a message for a node; None if there is none."""
        node, state = pull.node.node_id, self._state
        if node in self._holds:
            self._holds[node].end()
        hold = self._holds[node] = _Hold()
        deadline = asyncio.get_running_loop().time() + wait_s
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    while not (hold.over or self._ended):
                        hold.news.clear()
                        if state.awaits(node):
                            pulled = fleet_handlers.pull_messages(pull, state, state.object_store)
                            if pulled.messages_list:
                                return pulled
                        await hold.news.wait()
        finally:
            if self._holds.get(node) is hold:
                del self._holds[node]
        return None

    async def _answer(self, request: Request) -> Response:
        async with self._bodies.body(request) as body:
            answer = ExchangeAnswer.from_bytes(BytesValue.FromString(body).value)
            push = PushMessagesRequest.FromString(answer.push)
            authenticate(request, push)
            receipt = await _handled(len(body), partial(accept_reply, self._state, push, answer))
        self._state.hear(push.node.node_id)
        if receipt is None:
            return _reply(ALREADY_THERE.to_bytes())
        self._count_change(push)
        return _reply(receipt.to_bytes())

    async def _push_reply(self, request: Request) -> Response:
        async with self._bodies.body(request) as body:
            push = PushMessagesRequest.FromString(body)
            authenticate(request, push)
            pushed = await _handled(len(body), partial(accept_announcement, self._state, push))
        if pushed is None:
            return _protobuf(PushMessagesResponse().SerializeToString())
        self._count_change(push)
        return _protobuf(pushed.SerializeToString())

    async def _push_reply_object(self, request: Request) -> Response:
        async with self._bodies.body(request, of_reply=True) as body:
            push = PushObjectRequest.FromString(body)
            authenticate(request, push)
            # Here, not in a thread, which would hold what it has refused until it has other work.
            size = len(push.object_content)
            self._state.held.check_object(push.session_id, push.object_id, size)
            take = partial(fleet_handlers.push_object, push, self._state)
            response: PushObjectResponse = await _handled(len(body), take)
        if response.stored:
            self._count_change()
        return _protobuf(response.SerializeToString())

    async def _pull_object(self, request: Request) -> Response:
        pull = PullObjectRequest.FromString(await request.body())
        authenticate(request, pull)
        fleet_handlers.pull_object(pull, self._state)  # raises, if the run is over
        return stream_object(self._state.get_object(pull.run_id, pull.object_id))

    async def _activate(self, request: Request) -> Response:
        activate = ActivateNodeRequest.FromString(await request.body())
        authenticate(request, activate)
        return _protobuf(fleet_handlers.activate_node(activate, self._state).SerializeToString())

    async def _beat(self, request: Request) -> Response:
        beat = SendNodeHeartbeatRequest.FromString(await request.body())
        authenticate(request, beat)
        return _protobuf(fleet_handlers.send_node_heartbeat(beat, self._state).SerializeToString())

    async def _ask(self, request: Request) -> Response:
        body = await _body(request)
        task = task_of(request)
        questions = Questions.from_bytes(body)
        push = PushAppMessagesRequest.FromString(questions.push)
        asked = partial(accept_questions, self._state, task, push, questions)
        receipt, missing = await _handled(len(body), asked)
        for message in push.messages_list:
            name, node = message.metadata.message_id, message.metadata.dst_node_id
            if name in missing:
                self._incomplete[name] = node
            elif node in self._holds:
                self._holds[node].news.set()
        self._forget_incomplete()
        return _reply(receipt.to_bytes())

    async def _replies(self, request: Request) -> Response:
        body = await _body(request)
        task = task_of(request)
        wanted = ReplyRequest.from_bytes(body)
        pull = PullAppMessagesRequest.FromString(wanted.pull)
        answered = [name for name in pull.message_ids if name in self._answered]
        for name in answered:
            del self._answered[name]
        if not wanted.all:
            pull = PullAppMessagesRequest(message_ids=answered)
        delivery, left = await run_in_threadpool(gather_replies, self._state, task, pull)
        self._answered |= dict.fromkeys(set(left).intersection(answered))
        if left:
            self._count_change()  # it is to ask again at once
        return _reply(delivery.to_bytes())

    async def _nodes(self, request: Request) -> Response:
        query = NodeQuery.from_bytes(await _body(request))
        return _reply(node_states(self._state, query).to_bytes())

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

    def _count_change(self, push: PushMessagesRequest | None = None) -> None:
        """Count that a home has sent something: which messages it has answered, where it has."""
        for message in push.messages_list if push is not None else ():
            self._answered[message.metadata.reply_to_message_id] = None
        while len(self._answered) > _MOST_INCOMPLETE:  # that nobody asked for any more
            del self._answered[next(iter(self._answered))]
        self._change_count += 1
        self._news.set()
        self._news = asyncio.Event()

    async def _observe(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a request to Flower; if it succeeds, notify the homes that it concerns."""
        body, replay = await read(receive)
        # Noted before Flower answers: what follows may arrive before this continues.
        announced = nodes_of(body) if path == _PUSH_MESSAGES else {}
        self._incomplete |= announced
        recorded = RecordedSend(send)
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
        self._forget_incomplete()

    def _forget_incomplete(self) -> None:
        while len(self._incomplete) > _MOST_INCOMPLETE:  # of runs that were killed meanwhile
            del self._incomplete[next(iter(self._incomplete))]

    def _notify(self, name: str) -> None:
        """Notify the home for which an object is the message, if it is one."""
        hold = self._holds.get(self._incomplete.pop(name, 0))
        if hold is not None:
            hold.news.set()


def _refuse_unreadable(
    route: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Let a route answer 400 to what cannot be parsed."""

    async def answer(request: Request) -> Response:
        try:
            return await route(request)
        except (WireError, DecodeError):
            raise HTTPException(400, "this cannot be read") from None
        except LinkError as error:
            raise HTTPException(TOO_LARGE, error.reason) from None

    return answer


async def _handled(size: int, work: Callable[[], Result]) -> Result:
    """Do work on a request: what is large in a thread, so that others are answered meanwhile."""
    return work() if size <= _SMALL else await run_in_threadpool(work)


async def _body(request: Request) -> bytes:
    value: bytes = BytesValue.FromString(await request.body()).value
    return value


def _reply(data: bytes) -> Response:
    return _protobuf(BytesValue(value=data).SerializeToString())


def _protobuf(data: bytes) -> Response:
    return Response(data, media_type=PROTOBUF_MEDIA_TYPE)
