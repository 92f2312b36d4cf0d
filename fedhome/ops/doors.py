"""Who is at a server's door: strangers with few places and little time, and those who are known.

Everybody is a stranger until the application says who it is (`Visitor.is_known`). Strangers share
few places and have little time, so whoever opens many connections, or slow ones, takes them from
other strangers, and not from those who are known.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass

from fedhome.ops.places import Places, neighbourhood

_REPORT_S = 60.0
_log = logging.getLogger("fedhome.door")


@dataclass(frozen=True, kw_only=True)
class DoorLimits:
    """How many connections there may be, and how long each may take.

    Args:
        strangers: Connections of all strangers.
        strangers_each: Connections of strangers from one address (IPv6: from one network of 64
            bits).
        known: Connections of all that are known.
        known_each: Connections of one that is known.
        handshake_s: For the TLS handshake.
        head_s: For the head of a request, from its first byte; of the first one, from the
            handshake on.
        stranger_s: For all that a stranger does, from the connection to the response.
        farewell_s: For a stranger that has its answer to take it and to close the connection.
        idle_s: Between two requests of one that is known.
    """

    strangers: int = 1024
    strangers_each: int = 512
    known: int = 4096
    known_each: int = 8
    handshake_s: float = 10.0
    head_s: float = 10.0
    stranger_s: float = 20.0
    farewell_s: float = 0.5
    idle_s: float = 60.0


class Visitor:
    """A connection, and who is at its other end.

    Args:
        door: The door that it came by; None: a visitor without a connection, as in a test.
        address: Where it comes from, as `fedhome.ops.places.neighbourhood` says.

    Attributes:
        name: Who it is; empty for a stranger.
        proof: What showed it, for the application to compare with.
        transport: Its connection, once the handshake is done.
        handshake: What does the handshake.
        waiting: Its socket, for as long as the handshake has not begun.
    """

    def __init__(self, door: Door | None = None, address: str = "") -> None:
        self.door, self.address = door, address
        self.name, self.proof = "", b""
        self.transport: asyncio.Transport | None = None
        self.handshake: asyncio.Task[None] | None = None
        self.waiting: socket.socket | None = None

    def is_known(self, name: str, proof: bytes = b"") -> None:
        """Take it for known, and no more for a stranger.

        Args:
            name: Who it is. One that has too many connections loses its oldest one.
            proof: What showed it.
        """
        self.proof = proof
        if name != self.name and self.door is not None:
            self.door.know(self, name)
        self.name = name

    def dismiss(self) -> None:
        """Let a stranger go that has its answer: it has a moment to close the connection itself."""
        if self.door is not None:
            self.door.dismiss(self)

    def show_out(self) -> None:
        """Close its connection at once."""
        if self.transport is not None:
            self.transport.abort()
        elif self.handshake is not None:
            self.handshake.cancel()
            if self.waiting is not None:  # nobody else closes it then
                self.waiting.close()


class Door:
    """Who is here, and who has to go.

    Args:
        limits: How many may be here, and for how long.
    """

    def __init__(self, limits: DoorLimits) -> None:
        self.limits = limits
        self.strangers: Places[Visitor] = Places(limits.strangers, limits.strangers_each)
        self.known: Places[Visitor] = Places(limits.known, limits.known_each)
        self._here: set[Visitor] = set()
        self._deadlines: dict[Visitor, asyncio.TimerHandle] = {}
        self._cut_off, self._report = 0, 0.0

    def enter(self, host: str) -> Visitor:
        """Let a stranger in.

        Args:
            host: Its address, as a socket tells it.
        """
        visitor = Visitor(self, neighbourhood(host))
        self._here.add(visitor)
        self._expect(visitor, self.limits.stranger_s)
        self.cut_off(self.strangers.enter(visitor.address, visitor))
        return visitor

    def dismiss(self, visitor: Visitor) -> None:
        """Let a stranger go that has its answer; one that has gone changes nothing."""
        if deadline := self._deadlines.pop(visitor, None):
            deadline.cancel()
            self._expect(visitor, self.limits.farewell_s)

    def _expect(self, visitor: Visitor, seconds: float) -> None:
        """Expect a stranger to be known, or gone, within some seconds from now."""
        loop = asyncio.get_running_loop()
        self._deadlines[visitor] = loop.call_later(seconds, self.cut_off, visitor)

    def know(self, visitor: Visitor, name: str) -> None:
        """Give a visitor a place among those that are known; one that has gone gets none."""
        if visitor in self._here:
            self._give_back(visitor)
            visitor.name = name
            self.cut_off(self.known.enter(name, visitor))

    def leave(self, visitor: Visitor) -> None:
        """Take a visitor's leave; one that has gone already changes nothing."""
        if visitor in self._here:
            self._here.remove(visitor)
            self._give_back(visitor)

    def _give_back(self, visitor: Visitor) -> None:
        if visitor.name:
            self.known.leave(visitor.name, visitor)
        else:
            self.strangers.leave(visitor.address, visitor)
        if deadline := self._deadlines.pop(visitor, None):
            deadline.cancel()

    def cut_off(self, visitor: Visitor | None) -> None:
        """Let a visitor go that is too slow, or one too many; None: nobody."""
        if visitor is None:
            return
        self.leave(visitor)
        visitor.show_out()
        self._cut_off += 1
        now = asyncio.get_running_loop().time()
        if now >= self._report:  # seldom: an attack must not fill the log
            _log.warning("cut off, as too slow or one too many: %d connections", self._cut_off)
            self._cut_off, self._report = 0, now + _REPORT_S
