"""Requests over a local socket: connections are used again, and what breaks off is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fedhome.errors import LinkError
from fedhome.ops import local_socket
from fedhome.ops.socket_client import SocketClient
from helpers.patience import PATIENCE_S

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Kind: well\r\n\r\nwell"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n5;x=y\r\n two!\r\n0\r\n\r\n"
)


class Server:
    """A server at a socket that answers each request with the next of some bytes."""

    def __init__(self, *answers: bytes, ends: bool = False) -> None:
        self.answers, self.ends = list(answers), ends
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                _, sized, rest = head.partition(b"content-length: ")
                if sized:
                    self.bodies.append(await reader.readexactly(int(rest.split(b"\r\n")[0])))
                else:
                    self.bodies.append(await reader.readuntil(b"0\r\n\r\n"))
                writer.write(self.answers.pop(0))
                await writer.drain()
                if self.ends:
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def played(
    folder: Path, server: Server, play: Callable[[SocketClient], Awaitable[None]], wait_s: float
) -> None:
    async def run() -> None:
        listener = local_socket.listen(folder)
        listening = await asyncio.start_unix_server(server.serve, sock=listener)
        client = SocketClient(folder, wait_s=wait_s)
        async with listening:
            await play(client)
            client.close()
            for _ in range(5):  # both sides learn of it
                await asyncio.sleep(0)

    asyncio.run(run())


async def body(client: SocketClient, sent: bytes | AsyncIterator[bytes] = b"") -> bytes:
    response = await client.send("/path", [(b"x-node", b"5")], sent)
    try:
        return b"".join([piece async for piece in response.pieces()])
    finally:
        response.close()


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


def test_a_connection_is_used_again(tmp_path: Path) -> None:
    server = Server(WELL, CHUNKED, WELL)

    async def play(client: SocketClient) -> None:
        assert await body(client, b"asked") == b"well"
        assert await body(client, pieces(b"in", b"", b"parts")) == b"one two!"
        assert await body(client) == b"well"

    played(tmp_path, server, play, PATIENCE_S)
    assert server.connections == 1
    assert server.heads[0].startswith(b"POST /path HTTP/1.1\r\nhost: superlink\r\nx-node: 5\r\n")
    assert server.bodies == [b"asked", b"2\r\nin\r\n5\r\nparts\r\n0\r\n\r\n", b""]


def test_what_waits_has_a_connection_of_its_own(tmp_path: Path) -> None:
    server = Server(WELL, WELL, WELL)

    async def play(client: SocketClient) -> None:
        first = await client.send("/path")
        assert await body(client) == b"well"
        first.close()  # its body was not read: nobody can use this one again
        assert await body(client) == b"well"

    played(tmp_path, server, play, PATIENCE_S)
    assert server.connections == 2


def test_a_connection_that_was_closed_is_not_used_again(tmp_path: Path) -> None:
    server = Server(WELL, WELL, ends=True)

    async def play(client: SocketClient) -> None:
        assert await body(client) == b"well"
        (free,) = client._free
        assert await free.reader.read() == b"", "until the other side has closed it"
        assert await body(client) == b"well"

    played(tmp_path, server, play, PATIENCE_S)
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + bytes(1 << 17) + b"\r\n\r\n",
    ],
    ids=["nothing", "half a head", "no http", "no length", "cut", "cut chunk", "bad chunk", "long"],
)
def test_what_breaks_off_is_told(tmp_path: Path, answer: bytes) -> None:
    async def play(client: SocketClient) -> None:
        with pytest.raises(LinkError) as raised:
            await body(client)
        assert raised.value.reason == "unreachable"
        assert client._free == []

    played(tmp_path, Server(answer, ends=True), play, PATIENCE_S)


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    async def play(client: SocketClient) -> None:
        with pytest.raises(LinkError, match="cannot be reached"):
            await body(client)

    played(tmp_path, Server(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"), play, 0.05)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(LinkError) as raised:
        asyncio.run(body(SocketClient(tmp_path, wait_s=PATIENCE_S)))
    assert raised.value.reason == "unreachable"


def test_who_stops_in_the_middle_leaves_no_connection(tmp_path: Path) -> None:
    async def torn() -> AsyncIterator[bytes]:
        yield b"half"
        raise ValueError("the visitor has hung up")

    async def play(client: SocketClient) -> None:
        with pytest.raises(ValueError, match="hung up"):
            await client.send("/path", [(b"content-length", b"9")], torn())
        assert client._free == []
        assert await body(client) == b"well"

    played(tmp_path, Server(WELL), play, PATIENCE_S)


@pytest.mark.parametrize("part", [b"beyond", b"less"])
def test_a_body_of_another_length_than_announced_spoils_no_connection(
    tmp_path: Path, part: bytes
) -> None:
    async def play(client: SocketClient) -> None:
        with pytest.raises(LinkError, match="another length"):
            await client.send("/path", [(b"content-length", b"5")], pieces(part))
        assert client._free == []
        assert await body(client) == b"well"

    server = Server(WELL)
    played(tmp_path, server, play, PATIENCE_S)
    assert server.connections == 2
