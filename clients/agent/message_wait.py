"""How an agent waits for its next message, and hears meanwhile what else happens."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from fedhome.flower.fleet_connection import Arrival

_TOO_SOON_S, _PAUSE_S = 0.5, 1.0
_LEAVING_S = 2.0  # it takes a moment until the server lets go a home that has said goodbye


class MessageSource(Protocol):
    """A connection that asks for messages."""

    def look(self) -> Arrival | None:
        """Wait for the next message; None if there was none for long."""

    def close(self) -> None:
        """Close it; nobody may be waiting."""


class MessageWait:
    """Asks for the next message, in a thread, for as long as the server lets it wait.

    A question that is answered at once with nothing (a copy of this home took its place) is
    followed by a pause.

    Args:
        connection: Where to ask; it belongs to this from now on.
    """

    def __init__(self, connection: MessageSource) -> None:
        self._connection, self._closing = connection, threading.Lock()
        self._thread: threading.Thread | None = None
        self._busy = self._left = False
        self._outcomes: SimpleQueue[_Outcome | None] = SimpleQueue()
        self._waiting = False

    def wait(self, seconds: float) -> Arrival | None:
        """Return the next message; None if there is none yet, or after :meth:`nudge`.

        Args:
            seconds: How long to wait at most.

        Raises:
            LinkError: The connection is broken.
        """
        if not self._waiting:
            self._waiting = self._busy = True
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()
        try:
            outcome = self._outcomes.get(timeout=seconds)
        except Empty:
            return None
        if outcome is None:
            return None
        self._waiting = False
        if outcome.error is not None:
            raise outcome.error
        return outcome.arrival

    def nudge(self) -> None:
        """Let :meth:`wait` return; a signal's handler may call it."""
        self._outcomes.put(None)

    def close(self) -> None:
        """Close the connection; where a question still waits, when that ends.

        Closed under it, its socket's number would be the next connection's.
        """
        if self._thread is not None:
            self._thread.join(_LEAVING_S)
        with self._closing:
            self._left = self._busy
        if not self._left:
            self._connection.close()

    def _look(self) -> None:
        outcome = _Outcome()
        try:
            begin = time.monotonic()
            outcome = _Outcome(self._connection.look())
            if outcome.arrival is None and time.monotonic() - begin < _TOO_SOON_S:
                time.sleep(_PAUSE_S)
        except Exception as error:  # noqa: BLE001 - whoever waits is to hear of it
            outcome = _Outcome(error=error)
        with self._closing:
            self._busy = False
            left = self._left
        if left:
            self._connection.close()
        self._outcomes.put(outcome)


class _Outcome(NamedTuple):
    """How a question ended."""

    arrival: Arrival | None = None
    error: Exception | None = None
