"""How the SuperLink handles a home's exchange: with Flower's own handlers, one after the other."""

from __future__ import annotations

import asyncio
import time

from fastapi import HTTPException, Request
from flwr.common.serde import message_from_proto
from flwr.proto.fleet_pb2 import (
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.error import FlowerError
from flwr.supercore.inflatable.inflatable_object import is_valid_sha256_hash, iterate_object_tree
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.servicer.fleet import fleet_handlers
from google.protobuf.message import Message

from fedhome.flower.indexed_state import IndexedLinkState
from fedhome.wire.delivery_window import PackingWindow
from fedhome.wire.exchange import (
    MOST_AT_ONCE,
    MOST_OBJECTS,
    ExchangeAnswer,
    MessageDelivery,
    PackedDelivery,
    ReplyReceipt,
)

_OBJECTS_S = 5.0  # how long a message is held back while no more of it arrives
_NUMBERS = b"ArrayChunk "  # how Flower begins an object that holds a part of an array
ALREADY_THERE = ReplyReceipt(session="none", missing=(), refused=0)
"""What a home is told of a reply that the run has taken, or does not wait for any more."""
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.005, 0.5


def is_its_own(push: PushMessagesRequest) -> bool:
    """Whether a node announces replies of its own, and nothing else."""
    return all(
        message.metadata.src_node_id == push.node.node_id
        and bool(message.metadata.reply_to_message_id)
        for message in push.messages_list
    )


def authenticate(request: Request, message: Message) -> None:
    """Let Flower check the node's signature, and that its key is that of the node it names.

    Raises:
        HTTPException: 401.
    """
    request.state.protobuf_request = message
    authenticate_node(request)


class IncomingMessage:
    """A message for a node, and those of its objects that have arrived.

    Args:
        state: Flower's.
        node: The node.
        pulled: Flower's response to it, with the message.
    """

    def __init__(self, state: LinkState, node: Node, pulled: PullMessagesResponse) -> None:
        self._state, self._node, self._pulled = state, node, pulled
        self._run = pulled.messages_list[0].metadata.run_id
        tree = pulled.message_object_trees[0]
        self._missing = [one.object_id for one in iterate_object_tree(tree)]
        self._contents: dict[str, bytes] = {}
        self._room = MOST_AT_ONCE

    async def gather(self) -> None:
        """Wait until all objects that fit are there, or no more arrive."""
        progress, wait_s = time.monotonic(), _FIRST_LOOK_S
        while True:
            before = len(self._contents)
            more = self._collect()
            if len(self._contents) > before:
                progress = time.monotonic()
            if not more or time.monotonic() - progress > _OBJECTS_S:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_LOOK_S)

    def delivery(
        self, *, known: int, window: PackingWindow
    ) -> tuple[PackedDelivery, PackingWindow]:
        """Return what has arrived of it, with its run if the home does not know that.

        Args:
            known: The run that it knows.
            window: What the home was sent last.

        Returns:
            What is sent; and what the home was sent last then.
        """
        numbers = {name: one for name, one in self._contents.items() if one.startswith(_NUMBERS)}
        others = {name: one for name, one in self._contents.items() if name not in numbers}
        data = MessageDelivery(
            pulled=self._pulled.SerializeToString(),
            run=b"" if self._run == known else _run_of(self._state, self._node, self._run),
            names=tuple(others),
            objects=tuple(others.values()),
        ).to_bytes()
        packed = PackedDelivery(
            window=window.digest,
            packed=window.pack(data),
            names=tuple(numbers),
            objects=tuple(numbers.values()),
        )
        return packed, window.after(data)

    def _collect(self) -> bool:
        """Collect the objects that are there; return whether more may arrive."""
        missing = []
        for name in self._missing:
            if len(self._contents) == MOST_OBJECTS:
                return False
            request = PullObjectRequest(node=self._node, run_id=self._run, object_id=name)
            try:
                response = fleet_handlers.pull_object(request, self._state)
            except FlowerError:  # the home must be told the reason itself
                return False
            if not response.object_found:
                return False
            if not response.object_available:
                missing.append(name)
            elif len(response.object_content) <= self._room:
                self._contents[name] = response.object_content
                self._room -= len(response.object_content)
        self._missing = missing
        return bool(missing)


def _run_of(state: LinkState, node: Node, run: int) -> bytes:
    """Return a run's description; empty if the home must be told itself why there is none."""
    try:
        response = fleet_handlers.get_run(GetRunRequest(node=node, run_id=run), state)
    except FlowerError:
        return b""
    data: bytes = response.SerializeToString()
    return data


def accept_announcement(
    state: IndexedLinkState, push: PushMessagesRequest
) -> PushMessagesResponse | None:
    """Accept the announcement of an authenticated node's reply.

    Returns:
        Flower's response; None: nobody waits for this reply, and nothing of it is kept.

    Raises:
        HTTPException: It is malformed, or another node's.
        LinkError: ``too-large``.
    """
    if len(push.messages_list) != 1 or len(push.message_object_trees) != 1:
        raise HTTPException(400, "one reply at a time")
    if not is_its_own(push):
        raise HTTPException(401, "a node replies for itself")
    names = (one.object_id for one in iterate_object_tree(push.message_object_trees[0]))
    try:
        if push.messages_list[0].content.ByteSize() or not all(map(is_valid_sha256_hash, names)):
            raise ValueError  # noqa: TRY301 - as what cannot be parsed
        message = message_from_proto(push.messages_list[0])
    except ValueError:
        raise HTTPException(400, "this cannot be read") from None
    if not state.owes(message):
        return None
    del push.clientapp_runtime_list[:]  # how long a home computed is nobody's business
    response: PushMessagesResponse = fleet_handlers.push_messages(push, state)
    return response


def accept_reply(
    state: IndexedLinkState, push: PushMessagesRequest, answer: ExchangeAnswer
) -> ReplyReceipt | None:
    """Accept a reply of an authenticated node: its announcement, and what is not there yet of it.

    Returns:
        What is there; None: nobody waits for this reply, and nothing of it is kept.

    Raises:
        HTTPException: It is malformed, or another node's.
        LinkError: ``too-large``.
    """
    if len(answer.names) != len(answer.objects):
        raise HTTPException(400, "each object needs its name")
    pushed = accept_announcement(state, push)
    if pushed is None:
        return None
    run = push.messages_list[0].metadata.run_id
    missing, refused = dict.fromkeys(pushed.objects_to_push), False
    for name, content in zip(answer.names, answer.objects, strict=True):
        if name not in missing:
            continue
        response = fleet_handlers.push_object(
            PushObjectRequest(
                node=push.node,
                run_id=run,
                session_id=pushed.session_id,
                object_id=name,
                object_content=content,
            ),
            state,
        )
        if not response.stored:
            refused = True
            break
        del missing[name]
    return ReplyReceipt(session=pushed.session_id, missing=tuple(missing), refused=int(refused))
