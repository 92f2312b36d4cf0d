"""What a home and its server exchange in one request instead of a dozen.

Flower's fleet API takes a request for every object of every message, and a home has to ask again
and again whether there is one. Here a home asks once and gets a response as soon as there is a
message, with all of its content; and it sends its whole reply at once. What is too large for one
request goes the usual way, object by object. :mod:`fedhome.flower.exchange_server` is the
server's side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fedhome.wire.codec import Message, number, octets, several, text
from fedhome.wire.delivery_window import DIGEST_BYTES

LOOK, ANSWER = "/v1/fedhome/look", "/v1/fedhome/answer"
CHANGES, NODES = "/v1/fedhome/changes", "/v1/fedhome/nodes"
ASK, REPLIES = "/v1/fedhome/ask", "/v1/fedhome/replies"
"""These four are for the server's own processes alone; the front does not let them through."""

HEARTBEAT_S = 12.5
"""A home that was not heard of for twice as long counts as away. Whatever it asks or sends is as
good as a heartbeat, and the longest that a request of it waits is shorter."""
HOLD_S = 20.0
"""How long a home's request waits at most: less than a router takes to forget a connection."""
MOST_AT_ONCE = 8 << 20
"""Bytes of objects that one request carries at most."""
MOST_OBJECTS = 1000
"""Objects that one request carries at most."""
MOST_MISSING = 30_000
"""Objects that a server waits for after an answer at most."""
MOST_NODES = 1000
"""Nodes that one request asks for at most."""
ABSENT, AWAY, ONLINE, GONE = range(4)
"""How a node is."""
MOST_LOOK, MOST_ANSWER = 1 << 12, 16 << 20
"""Bytes of a request for a message, and of a reply, at most."""
MOST_PULLED = 1 << 22
"""Bytes of messages without their content, and of the names of their objects, at most."""

_Objects = Annotated[tuple[bytes, ...], several(octets(most=MOST_AT_ONCE), most=MOST_OBJECTS)]
_Names = Annotated[tuple[str, ...], several(text(), most=MOST_OBJECTS)]


@dataclass(frozen=True, kw_only=True)
class MessageRequest(Message, label="look", most=1 << 10):
    """A home asks for its next message.

    Args:
        pull: Flower's request for it.
        run: Number of the run whose app it knows; 0 for none.
        wait_ms: How long it is ready to wait for one.
        window: Digest of the last bytes that it was sent, which the next may be packed against.
    """

    pull: Annotated[bytes, octets(most=256)]
    run: Annotated[int, number((1 << 64) - 1)]
    wait_ms: Annotated[int, number(round(1000 * HOLD_S))]
    window: Annotated[bytes, octets(most=DIGEST_BYTES)] = b""


@dataclass(frozen=True, kw_only=True)
class MessageDelivery(Message, label="found", most=MOST_ANSWER):
    """The response to `MessageRequest`: a message, or none.

    Args:
        pulled: Flower's response, with one message or none.
        run: Flower's description of its run; empty if the home knows it.
        names: Names of the objects that are here.
        objects: The objects.
    """

    pulled: Annotated[bytes, octets(most=MOST_PULLED)]
    run: Annotated[bytes, octets(most=MOST_PULLED)] = b""
    names: _Names = ()
    objects: _Objects = ()


@dataclass(frozen=True, kw_only=True)
class PackedDelivery(Message, label="packed", most=MOST_ANSWER):
    """A `MessageDelivery` as it goes over: packed, but for what cannot be.

    Args:
        window: Digest of what it was packed against, as the home has it; empty: nothing.
        packed: The delivery, packed (:mod:`fedhome.wire.delivery_window`), without these objects:
        names: Names of objects that are numbers, which packing does not make smaller.
        objects: Those objects.
    """

    window: Annotated[bytes, octets(most=DIGEST_BYTES)]
    packed: Annotated[bytes, octets(most=MOST_ANSWER)]
    names: _Names = ()
    objects: _Objects = ()


@dataclass(frozen=True, kw_only=True)
class ExchangeAnswer(Message, label="answer", most=MOST_ANSWER):
    """A home's reply.

    Args:
        push: Flower's request that announces it.
        names: Names of the objects that are here.
        objects: The objects.
    """

    push: Annotated[bytes, octets(most=MOST_PULLED)]
    names: _Names
    objects: _Objects


@dataclass(frozen=True, kw_only=True)
class ReplyReceipt(Message, label="taken", most=MOST_PULLED):
    """What the server accepted of a reply.

    Args:
        session: Flower's name for what follows.
        missing: Names of the objects that it waits for.
        refused: Whether it refused one, because it no longer waits for them.
    """

    session: Annotated[str, text()]
    missing: Annotated[tuple[str, ...], several(text(), most=MOST_MISSING)]
    refused: Annotated[int, number(1)]


@dataclass(frozen=True, kw_only=True)
class Changes(Message, label="changes", most=1 << 8):
    """A run asks whether homes have sent anything.

    Args:
        seen: The count that it received last.
        wait_ms: How long it is ready to wait for another one.
    """

    seen: Annotated[int, number()]
    wait_ms: Annotated[int, number(round(1000 * HOLD_S))]


@dataclass(frozen=True, kw_only=True)
class Questions(Message, label="questions", most=MOST_ANSWER):
    """A run's messages to homes.

    Args:
        push: Flower's request that announces them.
        names: Names of the objects that are here.
        objects: The objects.
    """

    push: Annotated[bytes, octets(most=MOST_PULLED)]
    names: _Names
    objects: _Objects


@dataclass(frozen=True, kw_only=True)
class QuestionsReceipt(Message, label="asked", most=2 * MOST_PULLED):
    """What the SuperLink accepted of a run's messages.

    Args:
        pushed: Flower's response to the announcement.
        names: Names of the objects that it accepted.
    """

    pushed: Annotated[bytes, octets(most=MOST_PULLED)]
    names: _Names


@dataclass(frozen=True, kw_only=True)
class ReplyRequest(Message, label="replies", most=MOST_PULLED):
    """A run asks for the replies that are there.

    Args:
        pull: Flower's request for them.
        all: Whether Flower is to look at each message, also for errors of its own; else at those
            alone that homes have answered.
    """

    pull: Annotated[bytes, octets(most=MOST_PULLED)]
    all: Annotated[int, number(1)]


@dataclass(frozen=True, kw_only=True)
class ReplyDelivery(Message, label="replied", most=MOST_ANSWER):
    """The replies that are there.

    Args:
        pulled: Flower's response.
        whole: Names of the replies whose objects are all here; the server has forgotten them.
        names: Names of the objects that are here.
        objects: The objects.
    """

    pulled: Annotated[bytes, octets(most=MOST_PULLED)]
    whole: _Names
    names: _Names
    objects: _Objects


@dataclass(frozen=True, kw_only=True)
class NodeQuery(Message, label="nodes", most=MOST_PULLED):
    """The server's own process asks for nodes.

    Args:
        keys: Their public keys, PEM.
    """

    keys: Annotated[tuple[bytes, ...], several(octets(most=1024), most=MOST_NODES)]


@dataclass(frozen=True, kw_only=True)
class NodeStates(Message, label="node-states", most=MOST_PULLED):
    """The response to `NodeQuery`: a number, and how it is, for each key.

    Args:
        nodes: Their numbers; 0 where there is no node of a key.
        states: `ABSENT`, `AWAY`, `ONLINE`, or `GONE` for good.
    """

    nodes: Annotated[tuple[int, ...], several(number((1 << 64) - 1), most=MOST_NODES)]
    states: Annotated[tuple[int, ...], several(number(GONE), most=MOST_NODES)]


def room_for(objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the objects that go into one request."""
    chosen: dict[str, bytes] = {}
    room = MOST_AT_ONCE
    for name, content in objects.items():
        if len(content) <= room and len(chosen) < MOST_OBJECTS:
            chosen[name] = content
            room -= len(content)
    return chosen
