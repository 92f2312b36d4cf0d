"""How the server's processes let requests wait, and for how long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

import uvicorn

Result = TypeVar("Result")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""What an ASGI application is called with."""


async def unless(
    work: Coroutine[Any, Any, Result], *ends: Coroutine[Any, Any, object]
) -> Result | None:
    """Do some work; return None, and do it no more, once something else has happened.

    Args:
        work: What is done.
        ends: Each returns when the work is not wanted any more.
    """
    task = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(end) for end in ends]
    try:
        await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, *others):
            one.cancel()
        await asyncio.gather(task, *others, return_exceptions=True)


async def gone(receive: Receive) -> None:
    """Return when whoever sent a request has hung up.

    Args:
        receive: Tells the request's events; its body has been read.
    """
    while (await receive())["type"] != "http.disconnect":
        pass


class GracefulServer(uvicorn.Server):
    """A server that answers whoever waits before it ends.

    Args:
        config: uvicorn's.
        end: Lets nobody wait any more.
    """

    def __init__(self, config: uvicorn.Config, end: Callable[[], None]) -> None:
        super().__init__(config)
        self._end = end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._end()
        await super().shutdown(sockets)
