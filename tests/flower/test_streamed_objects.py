"""An object for a home: Flower's own bytes, and no copy of them while they are read."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import MutableMapping
from typing import Any

import pytest
from flwr.proto.message_pb2 import PullObjectResponse

from fedhome.flower.streamed_objects import PIECE, stream_object


def came(content: bytes | None) -> list[bytes]:
    """Return the pieces of a response's body."""
    pieces: list[bytes] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            pieces.append(message["body"])
        else:
            lengths.extend(
                int(value) for name, value in message["headers"] if name == b"content-length"
            )

    lengths: list[int] = []
    scope: MutableMapping[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}}
    asyncio.run(stream_object(content)(scope, receive, send))
    assert lengths == [sum(map(len, pieces))]
    return pieces


@pytest.mark.parametrize("size", [1, 127, 128, 20_000, 3 << 20])
def test_flower_reads_it(size: int) -> None:
    content = bytes(range(1, 251)) * (size // 250 + 1)
    pieces = came(content[:size])
    assert max(map(len, pieces)) <= PIECE
    read = PullObjectResponse.FromString(b"".join(pieces))
    assert (read.object_found, read.object_available) == (True, True)
    assert read.object_content == content[:size]


@pytest.mark.parametrize(("content", "found"), [(None, False), (b"", True)])
def test_what_is_not_there_is_told_as_flower_tells_it(
    content: bytes | None, *, found: bool
) -> None:
    read = PullObjectResponse.FromString(b"".join(came(content)))
    assert read == PullObjectResponse(object_found=found)


def test_who_reads_nothing_keeps_no_copy() -> None:
    content = b"x" * (20 << 20)

    async def held() -> int:
        reached = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: MutableMapping[str, Any]) -> None:
            if message.get("body"):
                reached.set()
                await asyncio.Event().wait()

        scope: MutableMapping[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}}
        tracemalloc.start()
        tasks = []
        for _ in range(8):
            reached.clear()
            tasks.append(asyncio.create_task(stream_object(content)(scope, receive, send)))
            await reached.wait()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return size

    assert asyncio.run(held()) < 4 << 20
