"""A tap in the line between homes and a server: counts requests and bytes, and passes them on."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Self

_LINE = re.compile(rb"(?:GET|POST) (/\S*) HTTP/1\.1\r\n")
_HOST, _PIECE = "127.0.0.1", 1 << 16
_LONGEST_LINE = 200
_WAIT_S, _CLOSING_S = 10.0, 0.1
_SETTLED_S, _MINUTE_S = 20.0, 60.0  # after a run, homes still fetch its last model


@dataclass(frozen=True, kw_only=True)
class TappedTraffic:
    """What went over a line: HTTP with its heads and bodies, inside TLS.

    Args:
        up: Bytes from the homes.
        down: Bytes to the homes.
        requests: Requests of the homes by path.
    """

    up: int
    down: int
    requests: Mapping[str, int]


class _Piece(NamedTuple):
    time: float
    up: int
    down: int
    paths: tuple[str, ...]


@dataclass
class TappedLines:
    """Finds the requests in a stream that comes in pieces."""

    _tail: bytes = b""

    def paths(self, piece: bytes) -> tuple[str, ...]:
        """Return the paths of the requests whose first lines end in the next piece."""
        data = self._tail + piece
        matches = list(_LINE.finditer(data))
        after = matches[-1].end() if matches else 0
        self._tail = data[max(after, len(data) - _LONGEST_LINE) :]
        return tuple(match[1].decode("ascii", "replace") for match in matches)


@dataclass(kw_only=True)
class Tap:
    """Listens on loopback and passes everything on to a server there, while the context is open.

    Args:
        to: The server's port.
        inner: How the server is spoken to; None: without TLS.
        outer: How the homes are spoken to; None: without TLS.
    """

    to: int
    inner: ssl.SSLContext | None = None
    outer: ssl.SSLContext | None = None
    port: int = 0
    _pieces: list[_Piece] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, _HOST, 0, ssl=self.outer), self._loop
        ).result(_WAIT_S)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(_CLOSING_S)  # for sockets that are closing

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(_WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_S)
        self._loop.close()

    def between(self, begin: float, end: float) -> TappedTraffic:
        """Return what went over the line between two times, Unix time in s."""
        return traffic([piece for piece in self._pieces if begin < piece.time <= end])

    def minute(self) -> TappedTraffic:
        """Return what goes over the line in a minute in which nobody asks the homes anything."""
        time.sleep(_SETTLED_S)
        begin = time.time()
        time.sleep(_MINUTE_S)
        return self.between(begin, begin + _MINUTE_S)

    async def _serve(self, homes: asyncio.StreamReader, to_homes: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            server, to_server = await asyncio.open_connection(_HOST, self.to, ssl=self.inner)
            lines = TappedLines()

            def up(piece: bytes) -> None:
                self._pieces.append(_Piece(time.time(), len(piece), 0, lines.paths(piece)))

            def down(piece: bytes) -> None:
                self._pieces.append(_Piece(time.time(), 0, len(piece), ()))

            await asyncio.gather(
                _passed(homes, to_server, up),
                _passed(server, to_homes, down),
            )


async def _passed(
    source: asyncio.StreamReader, to: asyncio.StreamWriter, counted: Callable[[bytes], None]
) -> None:
    """Pass a stream on to its end, and end the other side with it."""
    try:
        while piece := await source.read(_PIECE):
            counted(piece)
            to.write(piece)
            await to.drain()
    except OSError:
        pass  # reset by one side: the other one sees the end
    finally:
        to.close()


def traffic(pieces: Sequence[_Piece]) -> TappedTraffic:
    """Add up what went over a line."""
    paths = Counter(path for piece in pieces for path in piece.paths)
    return TappedTraffic(
        up=sum(piece.up for piece in pieces),
        down=sum(piece.down for piece in pieces),
        requests=dict(sorted(paths.items())),
    )
