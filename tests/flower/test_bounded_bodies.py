"""What of a node's requests a SuperLink reads, and what a node is told of the rest."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import HTTPException, Request
from flwr.app import RecordDict
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER

from fedhome.flower.bounded_bodies import BUSY, TOO_LARGE, UNKNOWN, BoundedBodies
from fedhome.flower.flat_object_store import FlatObjectStore
from fedhome.flower.held_replies import MOST_UNASKED
from fedhome.flower.indexed_state import IndexedLinkState
from helpers.link_states import NODES, asked, state_of

KEY = b"a key"


@pytest.fixture
def state() -> IndexedLinkState:
    state = state_of(IndexedLinkState, FlatObjectStore())
    assert isinstance(state, IndexedLinkState)
    state.node_public_key_to_node_id[KEY] = NODES[0]
    return state


def request(*pieces: bytes, key: bytes = KEY) -> Request:
    bodies = [{"body": one, "more_body": True} for one in pieces] + [{"body": b""}]

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", **bodies.pop(0)}

    name = FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode()
    return Request({"type": "http", "headers": [(name, b64encode(key))]}, receive)


async def status(bodies: BoundedBodies, *pieces: bytes, key: bytes = KEY) -> int:
    try:
        async with bodies.body(request(*pieces, key=key)) as body:
            assert body == b"".join(pieces)
            return 200
    except HTTPException as error:
        return error.status_code


def test_what_is_too_large_by_itself_is_refused_for_good(state: IndexedLinkState) -> None:
    asked(state, NODES[0], RecordDict())
    room = state.held.room(NODES[0])
    bodies = BoundedBodies(lambda: state)
    assert asyncio.run(status(bodies, bytes(room))) == 200
    assert asyncio.run(status(bodies, bytes(room), b"1")) == TOO_LARGE
    assert asyncio.run(status(bodies, bytes(room))) == 200  # nothing of it is left


def test_what_is_too_much_beside_another_may_come_again(state: IndexedLinkState) -> None:
    asked(state, NODES[0], RecordDict())
    room = state.held.room(NODES[0])
    bodies = BoundedBodies(lambda: state)

    async def beside() -> tuple[int, int]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(bodies.body(request(bytes(room // 2 + 1))))
            first = await status(bodies, bytes(room // 2), b"12")
        return first, await status(bodies, bytes(room // 2), b"12")

    assert asyncio.run(beside()) == (BUSY, 200)


def test_a_node_that_is_not_known_is_told_so(state: IndexedLinkState) -> None:
    bodies = BoundedBodies(lambda: state)
    large = bytes(MOST_UNASKED + 1)
    assert asyncio.run(status(bodies, large, key=b"another")) == UNKNOWN
    assert asyncio.run(status(bodies, large)) == TOO_LARGE
