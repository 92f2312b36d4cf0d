"""uvicorn behind a door: limits before TLS, and a deadline for whatever a stranger does.

uvicorn knows neither who may connect nor how long a handshake or a request's head may take. Here
connections are accepted one by one and given to its protocol for HTTP/1.1: the one by h11, which
reads no request before the last one is answered and refuses heads that are too long.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fedhome.errors import RunError
from fedhome.ops.doors import Door, DoorLimits, Visitor
from fedhome.ops.listening import what_to_do
from fedhome.ops.serving import GracefulServer

MOST_HEAD = 1 << 14
"""Bytes of a request's head, at most."""
VISITOR = "visitor"
"""Name of a request's `Visitor` in its scope's state."""

_BACKLOG = 4096
_AT_ONCE = 16  # connections that are accepted before others have their turn
_PAUSE_S = 0.1  # without a free descriptor
_LOOK_TICKS = 10  # of a tenth of a second each: how often it is asked for a new certificate
_log = logging.getLogger("fedhome.door")


class _WholeBodies(h11.Connection):
    """Reads requests whose head says how long their body is, and no others.

    A body may also come in chunks, each with its length before it. They may have a byte each, and
    h11 takes its time over each: a few strangers who sent 300 KB of them in a second took all of a
    processor, and homes were not answered. No client of ours, or of Flower's, sends any.
    """

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """Return the next event, as of `h11.Connection`.

        Raises:
            RemoteProtocolError: A head says that a body comes in chunks; none of it is read.
        """
        event = super().next_event()
        if isinstance(event, h11.Request) and any(
            name == b"transfer-encoding" for name, _ in event.headers
        ):
            raise h11.RemoteProtocolError("a body in chunks")
        return event


class _Protocol(H11Protocol):
    """A visitor's connection, after the handshake."""

    def __init__(
        self, config: uvicorn.Config, server: uvicorn.Server, visitor: Visitor, head_s: float
    ) -> None:
        super().__init__(config, server.server_state, {VISITOR: visitor})
        self.conn = _WholeBodies(h11.SERVER, MOST_HEAD)
        self._visitor, self._head_s = visitor, head_s
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._visitor.transport = transport
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._head_due is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        if self._visitor.door is not None:
            self._visitor.door.leave(self._visitor)
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._head_due = self.loop.call_later(self._head_s, self._late)

    def _late(self) -> None:
        if self._visitor.door is not None:
            self._visitor.door.cut_off(self._visitor)

    def _stop(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


def door_config(application: Callable[..., Any], *, host: str, port: int) -> uvicorn.Config:
    """Return what uvicorn needs to know of any of our doors: it logs no visitor, and says little.

    Args:
        application: What answers requests.
        host: Where it listens.
        port: The port.
    """
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        ws="none",
        access_log=False,
        log_level="error",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=3,
    )
    config.load()
    return config


class DoorServer(GracefulServer):
    """A server whose application learns of each request's `Visitor`.

    Args:
        config: uvicorn's, with TLS or on loopback without; its protocol, limits and deadlines are
            not used.
        end: Lets nobody wait any more.
        limits: Who may be here, and for how long.
        renewed: Returns what the next handshakes are made with once that is new; None: as before.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        end: Callable[[], None],
        limits: DoorLimits,
        renewed: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        config.timeout_keep_alive = round(limits.idle_s)
        super().__init__(config, end)
        self.door = Door(limits)
        self._renewed = renewed
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_more = False

    @property
    def ports(self) -> list[int]:
        """The ports at which it listens."""
        return [listener.getsockname()[1] for listener in self._listeners]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen.

        Raises:
            RunError: Nobody can listen at this address.
        """
        del sockets
        host, port = self.config.host, self.config.port
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, *_, address in dict.fromkeys(found):
                listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
                listener.settimeout(0)
                self._listeners.append(listener)
        except OSError as error:
            raise RunError(
                f"the server cannot listen at {host}:{port}: {error.strerror}",
                hint=what_to_do(error.strerror or str(error)),
            ) from None
        await super().startup(sockets=[])
        for listener in self._listeners:
            self._begin(self._accept(listener)).add_done_callback(self._stop_listening)

    async def on_tick(self, counter: int) -> bool:
        """Do what is done from time to time; return whether to end."""
        if counter % _LOOK_TICKS == 0 and (context := self._renewed()) is not None:
            self.config.ssl = context
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        await super().shutdown(sockets)

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _stop_listening(self, accepting: asyncio.Task[None]) -> None:
        """End with whoever accepts: a front that lets nobody in is started again."""
        if not accepting.cancelled() and (error := accepting.exception()) is not None:
            _log.error("accepting connections has failed: %r", error)
            self.should_exit = True

    async def _accept(self, listener: socket.socket) -> None:
        """Accept connections for ever, a few at a time: those who are here have turns between."""
        loop = asyncio.get_running_loop()
        for number in count():
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # one that waits already is accepted without a pause
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:  # else it has hung up already
                    self._make_room(error)
                    await asyncio.sleep(_PAUSE_S)
                continue
            visitor = self.door.enter(str(address[0]))
            visitor.waiting = connection
            visitor.handshake = self._begin(self._shake_hands(connection, visitor))

    async def _shake_hands(self, connection: socket.socket, visitor: Visitor) -> None:
        limits = self.door.limits
        loop = asyncio.get_running_loop()
        visitor.waiting = None
        try:
            with suppress(OSError):  # with TLS's own errors, and a deadline that is over
                await loop.connect_accepted_socket(
                    lambda: _Protocol(self.config, self, visitor, limits.head_s),
                    connection,
                    ssl=self.config.ssl,
                    ssl_handshake_timeout=limits.handshake_s if self.config.ssl else None,
                )
        finally:
            visitor.handshake = None
            if visitor.transport is None:
                self.door.leave(visitor)

    def _make_room(self, error: OSError) -> None:
        if not self._no_more:
            self._no_more = True
            _log.warning(
                "no more connections: %s; let this account open more files "
                "(`ulimit -n`, LimitNOFILE in a unit)",
                error.strerror,
            )
        self.door.cut_off(self.door.strangers.oldest())
