"""One request at the front: its body within limits and deadlines, and its answer piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from typing import Any

from fedhome.ops.door_server import VISITOR
from fedhome.ops.doors import Visitor
from fedhome.ops.serving import Receive, Scope, Send, gone

Headers = Sequence[tuple[bytes, bytes]]

TWO_LENGTHS, TOO_SLOW, TOO_LARGE = 400, 408, 413
HUNG_UP = 0
_SILENT_S = 30.0  # for the next piece of a body, or of an answer
_SLOWEST = 4096  # bytes in a second, over a whole body
_PIECE = 1 << 16
CLOSE = (b"connection", b"close")


class RefusedError(Exception):
    """A request that is not read to its end.

    Args:
        status: What is answered; `HUNG_UP`: nobody is there to be answered.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class FrontRequest:
    """A request.

    Args:
        scope: As ASGI has it; with the `Visitor` in its state, where it came by a door.
        receive: As ASGI has it.
        send: As ASGI has it.

    Attributes:
        size: Bytes of its body, as it says; None if it does not.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self.visitor: Visitor = scope.get("state", {}).get(VISITOR) or Visitor()
        length = self.header(b"content-length")
        self.size = int(length) if length.isdigit() else None
        self._is_chunked = bool(self.header(b"transfer-encoding"))
        self._receive, self._send = receive, send
        self._read = asyncio.Event()

    def header(self, name: bytes) -> bytes:
        """Return a header; empty if there is none.

        Args:
            name: In lower case.
        """
        return next((value for key, value in self.headers if key == name), b"")

    def check_length(self) -> None:
        """Refuse a body with two lengths (RFC 9112, 6.3).

        Read by one of them and passed on by the other, what is beyond would be another request,
        which nobody has looked at. The doors take no chunks at all
        (:mod:`fedhome.ops.door_server`); this holds behind any other server, too.

        Raises:
            RefusedError: It says how long it is, and comes in chunks.
        """
        if self._is_chunked and self.size is not None:
            raise RefusedError(TWO_LENGTHS)

    async def pieces(self, most: int) -> AsyncIterator[bytes]:
        """Yield the body as it comes: the next piece is received once the last one is used.

        Args:
            most: Bytes that are allowed.

        Raises:
            RefusedError: It is too large or too slow, or whoever sent it has hung up.
        """
        if (self.size or 0) > most:
            raise RefusedError(TOO_LARGE)
        loop, size, more = asyncio.get_running_loop(), 0, True
        end = loop.time() + _SILENT_S + (self.size or 0) / _SLOWEST
        while more:
            try:
                async with asyncio.timeout_at(min(end, loop.time() + _SILENT_S)):
                    event = await self._receive()
            except TimeoutError:
                raise RefusedError(TOO_SLOW) from None
            if event["type"] != "http.request":
                raise RefusedError(HUNG_UP)
            piece: bytes = event.get("body", b"")
            size += len(piece)
            if size > most:
                raise RefusedError(TOO_LARGE)
            more = event.get("more_body", False)
            if piece:
                yield piece
        self._read.set()

    async def body(self, most: int) -> bytes:
        """Return the body; arguments and errors as of `pieces`."""
        return b"".join([piece async for piece in self.pieces(most)])

    async def hung_up(self) -> None:
        """Return when whoever sent this has hung up, after the body was read."""
        await self._read.wait()
        await gone(self._receive)

    async def answer(self, status: int, headers: Headers, content: bytes) -> None:
        """Answer with what is there."""
        await self.begin(status, [*headers, (b"content-length", str(len(content)).encode())])
        for start in range(0, len(content), _PIECE):
            await self.go_on(content[start : start + _PIECE])
        await self.go_on(b"", more=False)
        self.visitor.dismiss()

    async def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer; strangers get no second one on their connection."""
        if not (self.visitor.name and self._read.is_set()):
            headers = [*headers, CLOSE]
        await self._tell({"type": "http.response.start", "status": status, "headers": headers})

    async def go_on(self, piece: bytes, *, more: bool = True) -> None:
        """Go on with an answer, once the last piece is on its way; who is too slow is cut off."""
        await self._tell({"type": "http.response.body", "body": piece, "more_body": more})

    async def _tell(self, event: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(_SILENT_S):
                await self._send(event)
        except TimeoutError:
            self.visitor.show_out()
            raise RefusedError(HUNG_UP) from None
