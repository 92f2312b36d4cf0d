"""What the SuperLink does with a home's exchange: Flower's own handlers, one after the other."""

from __future__ import annotations

import asyncio
import time

from fastapi import HTTPException, Request
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.error import FlowerError
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.servicer.fleet import fleet_handlers
from starlette.concurrency import run_in_threadpool

from fedhome.wire.exchange import MOST_AT_ONCE, MOST_OBJECTS, Answer, Found, Taken

_OBJECTS_S = 5.0  # so long a message is held back while nothing more of it comes
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.005, 0.5


def is_its_own(push: PushMessagesRequest) -> bool:
    """Whether a node announces replies of its own, and nothing else."""
    return all(
        message.metadata.src_node_id == push.node.node_id
        and bool(message.metadata.reply_to_message_id)
        for message in push.messages_list
    )


def authenticate(request: Request, message: PullMessagesRequest | PushMessagesRequest) -> None:
    """Let Flower check the node's signature, and that its key is that of the node it names.

    Raises:
        HTTPException: 401.
    """
    request.state.protobuf_request = message
    authenticate_node(request)


class Coming:
    """A message for a node, and what has come of its objects.

    Args:
        state: Flower's.
        node: The node.
        pulled: Flower's answer to it, with the message.
    """

    def __init__(self, state: LinkState, node: Node, pulled: PullMessagesResponse) -> None:
        self._state, self._node, self._pulled = state, node, pulled
        self._run = pulled.messages_list[0].metadata.run_id
        tree = pulled.message_object_trees[0]
        self._left = [one.object_id for one in iterate_object_tree(tree)]
        self._came: dict[str, bytes] = {}
        self._room = MOST_AT_ONCE

    async def gather(self, turn: asyncio.Semaphore) -> None:
        """Wait until all objects are there for which there is room, or no more come."""
        progress, wait_s = time.monotonic(), _FIRST_LOOK_S
        while True:
            before = len(self._came)
            async with turn:
                more = await run_in_threadpool(self._collect)
            if len(self._came) > before:
                progress = time.monotonic()
            if not more or time.monotonic() - progress > _OBJECTS_S:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_LOOK_S)

    def found(self, *, known: int) -> Found:
        """Return what there is of it, with its run if the home does not know that."""
        return Found(
            pulled=self._pulled.SerializeToString(),
            run=b"" if self._run == known else _run_of(self._state, self._node, self._run),
            names=tuple(self._came),
            objects=tuple(self._came.values()),
        )

    def _collect(self) -> bool:
        """Take the objects that are there; return whether more may come."""
        missing = []
        for name in self._left:
            if len(self._came) == MOST_OBJECTS:
                return False
            request = PullObjectRequest(node=self._node, run_id=self._run, object_id=name)
            try:
                told = fleet_handlers.pull_object(request, self._state)
            except FlowerError:  # the home is to hear for itself why
                return False
            if not told.object_found:
                return False
            if not told.object_available:
                missing.append(name)
            elif len(told.object_content) <= self._room:
                self._came[name] = told.object_content
                self._room -= len(told.object_content)
        self._left = missing
        return bool(missing)


def _run_of(state: LinkState, node: Node, run: int) -> bytes:
    """Return a run's description; empty if the home has to hear for itself why there is none."""
    try:
        told = fleet_handlers.get_run(GetRunRequest(node=node, run_id=run), state)
    except FlowerError:
        return b""
    data: bytes = told.SerializeToString()
    return data


def take(request: Request, push: PushMessagesRequest, answer: Answer) -> Taken:
    """Take a reply: what announces it, and those of its objects that are not there yet."""
    authenticate(request, push)
    state, node = get_linkstate(request), push.node
    if len(push.messages_list) != 1 or len(push.message_object_trees) != 1:
        raise HTTPException(400, "one reply at a time")
    if len(answer.names) != len(answer.objects):
        raise HTTPException(400, "each object needs its name")
    if not is_its_own(push):
        raise HTTPException(401, "a node replies for itself")
    metadata = push.messages_list[0].metadata
    run = metadata.run_id
    pushed = fleet_handlers.push_messages(push, state)
    wanted, names, refused = set(pushed.objects_to_push), [], False
    for name, content in zip(answer.names, answer.objects, strict=True):
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
    received = ConfirmMessageReceivedRequest(
        node=node, run_id=run, message_object_id=metadata.reply_to_message_id
    )
    fleet_handlers.confirm_message_received(received, state, state.object_store)
    return Taken(pushed=pushed.SerializeToString(), names=tuple(names), refused=int(refused))
