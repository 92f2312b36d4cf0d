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
_SEVERAL = 3  # connections one after the other that did not hold


class BrokerPatience:
    """How long to wait for a broker, and what to say meanwhile.

    Args:
        address: Where it is.
        say: Takes in words what is waited for.
        twice: What another command does that pushes this one out; empty: none can.
    """

    def __init__(self, address: BrokerAddress, say: Callable[[str], None], *, twice: str) -> None:
        self._address, self._say, self._twice = address, say, twice
        self._fault, self._failures, self._ever = "", 0, False
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
            self._begun_s, wait_s = time.monotonic(), 0.0
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
        self._ever, self._fault = True, ""
        return away_s

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
        self._failures = 1 if now_s - self._begun_s > _STEADY_S else self._failures + 1
        if error.why != self._fault:
            self._fault = error.why
            self._say(f"{self._address}: {error.why}; it is tried again until it is there")
        if self._ever and self._twice and self._failures == _SEVERAL:
            self._say(
                f"{self._address}: it ends each connection at once: if another command "
                f"{self._twice}, the two take turns; stop one of them"
            )
        return wait_of(self._failures)


def wait_of(failures: int) -> float:
    """Return how long to wait before the next attempt, s: a minute at most.

    Args:
        failures: How many attempts have failed, one after the other.
    """
    return min(math.ldexp(1.0, min(failures - 1, 6)), 60.0)
