"""HTTP over a local socket, for a process that has thousands of requests waiting at another one.

A general client searches all of its connections for each request, and imports are tried in each of
its locks: that was a third of the front's time with fifty homes. Here the connection that was used
last is the next one; what waits holds its own. The other side is a server of ours: what it sends is
trusted to be HTTP/1.1, and anything else breaks the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from fedhome.denied import system_words
from fedhome.errors import LinkError, StateError
from fedhome.ops import local_socket

Headers = list[tuple[bytes, bytes]]

_MOST_HEAD = 1 << 16
_PIECE = 1 << 16
_ANOTHER_LENGTH = "a body has another length than was announced"
_IDLE_S = 30.0  # half of what the other side waits before it closes


class _Connection:
    """A connection that carries one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.free_since = 0.0

    @property
    def is_open(self) -> bool:
        """Whether both sides have it open, as far as is known."""
        return not (self.reader.at_eof() or self.writer.is_closing())


class SocketResponse:
    """A response whose body is read as it comes.

    Args:
        client: Takes the connection back.
        connection: Where it comes from.
        status: Its status.
        headers: As they came, names in lower case.
        wait_s: How long its next piece is waited for.
    """

    def __init__(
        self,
        client: SocketClient,
        connection: _Connection,
        status: int,
        headers: Headers,
        *,
        wait_s: float,
    ) -> None:
        self.status, self.headers, self._wait_s = status, headers, wait_s
        self._client, self._connection = client, connection
        self._ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body: what nobody has taken yet stays at the other side.

        Raises:
            LinkError: It broke off.
        """
        found = dict(self.headers)
        try:
            if found.get(b"transfer-encoding", b"").lower() == b"chunked":
                async for piece in self._chunks():
                    yield piece
            else:
                async for piece in self._exactly(int(found[b"content-length"])):
                    yield piece
        except (OSError, EOFError, KeyError, ValueError) as error:
            raise _broken(error) from None
        self._ended = True

    def close(self) -> None:
        """End it: a connection on which more may come is closed."""
        self._client.give_back(self._connection, usable=self._ended)

    async def _exactly(self, left: int) -> AsyncIterator[bytes]:
        while left:
            async with asyncio.timeout(self._wait_s):
                piece = await self._connection.reader.read(min(left, _PIECE))
            if not piece:
                raise EOFError
            left -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        reader = self._connection.reader
        while size := int((await reader.readline()).split(b";")[0], 16):
            async for piece in self._exactly(size):
                yield piece
            await reader.readexactly(2)
        while await reader.readline() not in {b"\r\n", b""}:
            pass


class SocketClient:
    """Asks the server at the socket in a folder.

    Args:
        folder: The folder (:mod:`fedhome.ops.local_socket`).
        wait_s: How long the next part of a response is waited for.
    """

    def __init__(self, folder: Path, *, wait_s: float) -> None:
        self._folder, self._wait_s = folder, wait_s
        self._free: list[_Connection] = []

    async def send(
        self,
        path: str,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        method: str = "POST",
    ) -> SocketResponse:
        """Send a request, and return the response once its head is there; it must be closed.

        Args:
            path: Where to.
            headers: Its headers; with ``content-length`` for a body in pieces, else it is chunked.
            body: The body, whole or in pieces.
            method: What is to be done.

        Raises:
            LinkError: ``unreachable``; or the body has another length than was announced.
        """
        sent = list(headers)
        chunked = not isinstance(body, bytes) and all(name != b"content-length" for name, _ in sent)
        if isinstance(body, bytes):
            sent.append((b"content-length", str(len(body)).encode()))
        if chunked:
            sent.append((b"transfer-encoding", b"chunked"))
        announced = None if chunked else int(dict(sent)[b"content-length"])
        connection = await self._connected()
        try:
            await _write(connection.writer, _head(method, path, sent), body, announced)
            async with asyncio.timeout(self._wait_s):
                status, found = await _read_head(connection.reader)
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            self.give_back(connection, usable=False)
            raise _broken(error) from None
        except BaseException:
            self.give_back(connection, usable=False)
            raise
        return SocketResponse(self, connection, status, found, wait_s=self._wait_s)

    def give_back(self, connection: _Connection, *, usable: bool) -> None:
        """Take a connection back, or close it."""
        if usable and connection.is_open:
            connection.free_since = asyncio.get_running_loop().time()
            self._free.append(connection)
        else:
            connection.writer.close()

    def close(self) -> None:
        """Close the connections that nobody uses; the others close when they are given back."""
        while self._free:
            self._free.pop().writer.close()

    async def _connected(self) -> _Connection:
        """Return the connection that was used last, or a new one.

        Raises:
            LinkError: ``unreachable``.
        """
        oldest = asyncio.get_running_loop().time() - _IDLE_S
        while self._free:
            connection = self._free.pop()
            if connection.free_since >= oldest and connection.is_open:
                return connection
            connection.writer.close()
        try:
            streams = await asyncio.open_unix_connection(
                local_socket.address(self._folder), limit=_MOST_HEAD
            )
        except (OSError, StateError) as error:
            raise _broken(error) from None
        return _Connection(*streams)


def _head(method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1".encode("ascii"), b"host: superlink"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _write(
    writer: asyncio.StreamWriter,
    head: bytes,
    body: bytes | AsyncIterator[bytes],
    announced: int | None,
) -> None:
    """Write a request; its body has the length that was announced, or is chunked.

    Raises:
        EOFError: It has another. What is beyond it would be the next request on this connection.
    """
    if isinstance(body, bytes):
        writer.write(head + body)
        await writer.drain()
        return
    writer.write(head)
    size = 0
    async for piece in body:
        size += len(piece)
        if announced is not None and size > announced:
            raise EOFError(_ANOTHER_LENGTH)
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if announced is None else piece)
            await writer.drain()
    if announced is None:
        writer.write(b"0\r\n\r\n")
    elif size < announced:
        raise EOFError(_ANOTHER_LENGTH)
    await writer.drain()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, Headers]:
    """Return status and headers.

    Raises:
        EOFError: There was none, or it is no such thing.
        asyncio.LimitOverrunError: It is too long.
    """
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if version != b"HTTP/1.1" or not rest[:3].isdigit():
        raise EOFError
    headers = []
    for line in filter(None, lines):
        name, _, value = line.partition(b":")
        headers.append((name.strip().lower(), value.strip()))
    return int(rest[:3]), headers


def _broken(error: BaseException) -> LinkError:
    told = f"the SuperLink cannot be reached: {system_words(error)}"
    return LinkError(told, reason="unreachable")
