"""A home's way to its server: it carries connections, and breaks them in every way there is."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

_RESET = struct.pack("ii", 1, 0)  # closing sends RST
_PIECE = 4096
_TICK_S = 0.1
_CONNECT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class RoadState:
    """How a road carries what comes on it; as it stands: everything, at once.

    Args:
        closed: Nobody gets through: who calls is reset.
        most: Bytes from the server after which each connection is reset; None: none is.
        half: After so many bytes from the server its direction is closed, and the other one stays
            open: the home reads an end, and the server still hears the home; None: never.
        hole_up: What the home sends is swallowed; it stays connected.
        hole_down: What the server sends is swallowed.
        bytes_a_second: At most so many in each direction and connection; 0: no limit.
    """

    closed: bool = False
    most: int | None = None
    half: int | None = None
    hole_up: bool = False
    hole_down: bool = False
    bytes_a_second: int = 0


CLEAR = RoadState()


class Road(threading.Thread):
    """A listener on loopback that carries each connection to the server, as `state` says.

    Args:
        port: The server's, on loopback.

    Attributes:
        port: Where the home connects.
        target: The server's port; another one for connections from now on.
        state: How it carries what comes, also on connections that are open.
        broken: How many connections it has broken.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.target, self.broken = port, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.state = CLEAR
        self._cuts = 0

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self._cuts += 1

    def close(self) -> None:
        """End it, with its connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def run(self) -> None:
        """Carry connections until it is closed."""
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(here,), daemon=True).start()

    def _carry(self, here: socket.socket) -> None:
        with suppress(OSError), here:
            if self.state.closed:
                self._reset(here)
                return
            address = ("127.0.0.1", self.target)
            with socket.create_connection(address, timeout=_CONNECT_S) as there:
                there.settimeout(None)
                self._pass(here, there)

    def _pass(self, here: socket.socket, there: socket.socket) -> None:
        """Pass bytes between two sockets until one of them ends or the connection is broken."""
        down, cuts = 0, self._cuts
        readable = [here, there]
        while True:
            if self._cuts != cuts:
                self._reset(here)
                return
            for ready in select.select(readable, [], [], _TICK_S)[0]:
                state = self.state
                piece = _PIECE
                if rate := state.bytes_a_second:
                    piece = max(1, int(rate * _TICK_S))
                data = ready.recv(piece)
                if not data:
                    return
                if rate:
                    time.sleep(len(data) / rate)
                if ready is here:
                    if not state.hole_up:
                        there.sendall(data)
                    continue
                down += len(data)
                if state.most is not None and down > state.most:
                    self._reset(here)
                    return
                if not state.hole_down:
                    here.sendall(data)
                if state.half is not None and down > state.half:
                    self.broken += 1
                    here.shutdown(socket.SHUT_WR)
                    readable = [here]

    def _reset(self, connection: socket.socket) -> None:
        """Let a connection end with a reset as it is closed."""
        self.broken += 1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
