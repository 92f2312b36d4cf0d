"""Requests that Flower's own application answers, and what is read of them on the way."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from google.protobuf.message import DecodeError

from fedhome.ops.serving import Receive, Send


class RecordedSend:
    """Passes a response on, and records its status and body."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.body = send, 0, bytearray()

    async def __call__(self, event: MutableMapping[str, Any]) -> None:
        """Pass an event on."""
        self.status = event.get("status", self.status)
        self.body.extend(event.get("body", b""))
        await self._send(event)


async def read(receive: Receive) -> tuple[bytes, Receive]:
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


def nodes_of(body: bytes) -> dict[str, int]:
    """Return the nodes that a run's messages are for, by the messages' names."""
    try:
        messages = PushAppMessagesRequest.FromString(body).messages_list
    except DecodeError:  # Flower refuses it
        return {}
    return {one.metadata.message_id: one.metadata.dst_node_id for one in messages}
