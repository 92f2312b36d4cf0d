"""Strangers at a server's front: many connections, each of which wants to take long.

``python -m fedhome.ops.processes 0 fedhome.simulations.benchmarks.strangers HOST PORT KIND COUNT``
keeps that many connections, and opens another for each that is closed. Once a second it prints what
has become of them, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from fedhome.ops.processes import allow_many_files
from fedhome.wire.exchange import ANSWER

_AT_ONCE = 100  # connections that are being opened
_SECOND = 1.0
_PAUSE_S = 0.5  # after a connection that could not be opened
_CHUNK = 1 << 16
_LARGE = 47 << 20
_HEAD = f"POST {ANSWER} HTTP/1.1\r\nhost: hub\r\ncontent-type: application/protobuf\r\n"


@dataclass
class Fate:
    """What has become of the strangers' connections.

    Args:
        open: How many are open.
        opened: How many were opened, TLS included.
        closed: How many of those were closed by the server.
        refused: How many could not be opened.
        sent: Bytes that were sent in bodies.
    """

    open: int = 0
    opened: int = 0
    closed: int = 0
    refused: int = 0
    sent: int = 0


async def _silent(writer: asyncio.StreamWriter, fate: Fate) -> None:
    """Say nothing."""
    del writer, fate
    await asyncio.Event().wait()


async def _slow_head(writer: asyncio.StreamWriter, fate: Fate) -> None:
    """Send a head that never ends, a line each second."""
    del fate
    writer.write(_HEAD.encode())
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(_SECOND)


async def _slow_body(writer: asyncio.StreamWriter, fate: Fate) -> None:
    """Announce a large body, and send it slowly."""
    writer.write(f"{_HEAD}content-length: {_LARGE}\r\n\r\n".encode())
    while True:
        writer.write(b"x")
        await writer.drain()
        fate.sent += 1
        await asyncio.sleep(_SECOND)


async def _large_body(writer: asyncio.StreamWriter, fate: Fate) -> None:
    """Announce a large body, and send all of it but the end, as fast as it is taken."""
    writer.write(f"{_HEAD}content-length: {_LARGE}\r\n\r\n".encode())
    for _piece in range(_LARGE // _CHUNK - 1):
        writer.write(bytes(_CHUNK))
        await writer.drain()
        fate.sent += _CHUNK
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(_SECOND)


Act = Callable[[asyncio.StreamWriter, Fate], Coroutine[None, None, None]]
KINDS: dict[str, tuple[bool, Act]] = {
    "connected, no TLS": (False, _silent),
    "TLS, no request": (True, _silent),
    "slow heads": (True, _slow_head),
    "slow bodies": (True, _slow_body),
    "large bodies": (True, _large_body),
}
"""What strangers do, and whether they shake hands before."""


async def attack(host: str, port: int, kind: str, count: int, fate: Fate) -> None:
    """Keep connections to a server, until this is cancelled.

    Args:
        host: Of the server.
        port: Of the server.
        kind: One of `KINDS`.
        count: How many connections.
        fate: What becomes of them, kept up to date.
    """
    tls, act = KINDS[kind]
    context = ssl.create_default_context() if tls else None
    if context is not None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opening = asyncio.Semaphore(_AT_ONCE)

    async def one() -> None:
        while True:
            try:
                async with opening:
                    reader, writer = await asyncio.open_connection(host, port, ssl=context)
            except OSError:
                fate.refused += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            fate.opened += 1
            fate.open += 1
            try:
                await _until_closed(reader, act(writer, fate))
            finally:
                fate.open -= 1
                fate.closed += 1
                writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(count)))


async def _until_closed(reader: asyncio.StreamReader, acting: Coroutine[None, None, None]) -> None:
    """Act until the server closes the connection; who only sends learns of that too."""
    tasks = {asyncio.ensure_future(acting), asyncio.ensure_future(_read(reader))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        await reader.read()


async def _report(fate: Fate) -> None:
    while True:
        print(json.dumps(asdict(fate)), flush=True)
        await asyncio.sleep(_SECOND)


def main(arguments: Sequence[str]) -> int:
    """Attack ``HOST PORT KIND COUNT`` until this process is ended."""
    host, port, kind, count = arguments
    allow_many_files()
    fate = Fate()

    async def run() -> None:
        # What torn connections raise within asyncio is what an attack is made of.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await asyncio.gather(attack(host, int(port), kind, int(count), fate), _report(fate))

    asyncio.run(run())
    return 0
