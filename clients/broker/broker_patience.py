"""What is done about a broker that is gone: it is waited for, for months, and that is said once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from fedhome.clients.broker.broker_address import BrokerAddress
from fedhome.clients.broker.mqtt_link import BrokerGoneError
from fedhome.errors import SourceError

_STEADY_S = 60.0  # a connection that held for as long was none that fails again and again
_SEVERAL = 3  # connections one after the other that did not hold; no more is said of the next


class BrokerPatience:
    """How long to wait for a broker, and what to say meanwhile.

    Args:
        address: Where it is.
        say: Takes in words what is waited for.
        twice: What another command does that pushes this one out; empty: none can.
    """

    def __init__(self, address: BrokerAddress, say: Callable[[str], None], *, twice: str) -> None:
        self._address, self._say, self._twice = address, say, twice
        self._fault, self._failures, self._ended_soon = "", 0, 0
        self._ever = self._linked = False
        self._begun_s = self._lost_s = time.monotonic()

    def connect(self, serve: Callable[[], None], stop: threading.Event) -> None:
        """Connect, and again whenever the connection is lost, until it is to stop.

        Args:
            serve: Connects, calls `linked`, and uses the connection until it is to stop.
            stop: Set when no connection is wanted any more.

        Raises:
            SourceError: The broker refuses, and waiting does not help.
        """
        while not stop.is_set():
            self._begun_s, self._linked, wait_s = time.monotonic(), False, 0.0
            try:
                serve()
            except BrokerGoneError as error:
                if stop.is_set():
                    return
                wait_s = self._gone(error)
            stop.wait(wait_s)

    def linked(self) -> float | None:
        """Note that it is there; return for how long it was gone, s, or None the first time."""
        self._begun_s = time.monotonic()
        away_s = self._begun_s - self._lost_s if self._ever else None
        self._ever, self._linked, self._fault = True, True, ""
        return away_s

    def tell(self, told: str) -> None:
        """Say something of a new connection, unless those before have all ended at once."""
        if not self._is_restless():
            self._say(told)

    def attended(self) -> None:
        """Note that the connection still holds."""
        if self._is_restless() and time.monotonic() - self._begun_s > _STEADY_S:
            self._ended_soon = 0
            self._say(f"{self._address}: connected, and it holds")

    def _is_restless(self) -> bool:
        return self._ended_soon >= _SEVERAL

    def _gone(self, error: BrokerGoneError) -> float:
        """Return how long to wait before the next attempt, s, and say why if that is new."""
        if error.taken_over:
            raise SourceError(
                f"{self._address}: another one {self._twice}", hint="stop one of them"
            )
        if not (error.passing or self._ever):
            raise SourceError(f"{self._address}: {error.why}", hint=error.hint)
        now_s = time.monotonic()
        if not self._fault:
            self._lost_s = now_s
        held = self._linked and now_s - self._begun_s > _STEADY_S
        self._failures = 1 if held else self._failures + 1
        if error.why != self._fault:
            self._fault = error.why
            self.tell(f"{self._address}: {error.why}; it is tried again until it is there")
        if self._linked and not self._is_restless():
            self._ended_soon = 0 if held else self._ended_soon + 1
            if self._is_restless():
                self._tell_restless()
        return wait_of(self._failures)

    def _tell_restless(self) -> None:
        also = (
            f": if another command {self._twice}, the two take turns; stop one of them"
            if self._twice
            else ""
        )
        self._say(
            f"{self._address}: it ends each connection at once{also}; no more is said of that "
            "until one holds"
        )


def wait_of(failures: int) -> float:
    """Return how long to wait before the next attempt, s: a minute at most.

    Args:
        failures: How many attempts have failed, one after the other.
    """
    return min(math.ldexp(1.0, min(failures - 1, 6)), 60.0)
