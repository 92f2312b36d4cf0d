"""How a home's answer gets to the server over a connection that may break at any moment."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from flwr.app import Message

from fedhome.errors import LinkError
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.reasons import AT_HOME, NOT_KEPT

_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.1, 5.0  # within a message
_MOST_FAILURES = 5  # of the server, in a row, until a message is given up
_MOST_SESSIONS = 5  # how often a reply is announced at most
_log = logging.getLogger("fedhome.agent")
Result = TypeVar("Result")


class AskingAgain:
    """Asks the server until it answers, with growing pauses.

    Args:
        stop: Set when the home is to end: no pause outlasts it.
        away: Says whether the home is to take no part now: then it asks no more.
        draw: Spreads requests in time.
    """

    def __init__(
        self, stop: threading.Event, *, away: Callable[[], bool], draw: random.Random
    ) -> None:
        self._stop, self._away, self._draw = stop, away, draw

    def __call__(self, ask: Callable[[], Result]) -> Result:
        """Return what a request brings.

        Args:
            ask: The request.

        Raises:
            LinkError: The server refused it, failed five times in a row, or the home is to be away.
        """
        wait_s, failures = _FIRST_RETRY_S, 0
        while True:
            try:
                return ask()
            except LinkError as error:
                failures = failures + 1 if error.reason == "failed" else 0
                again = error.reason == "unreachable" or 0 < failures < _MOST_FAILURES
                if not again or self._away():
                    raise
                _log.warning("%s; trying again", error.message)
            self._stop.wait(wait_s * self._draw.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, _LONGEST_RETRY_S)


def send_answer(connection: FleetConnection, answer: Message, insist: AskingAgain) -> None:
    """Send a reply: announce it, then its objects.

    A piece that is refused as too large may be there already, where the answer to it was lost:
    another announcement shows it.

    Args:
        connection: The connection to the server.
        answer: The reply.
        insist: Asks again where the connection breaks.

    Raises:
        LinkError: ``not-kept``: it was announced as often as may be; the home connects anew,
            and says so. Or as of the requests.
    """
    for attempt in range(_MOST_SESSIONS):
        try:
            sending = insist(lambda: connection.announce(answer))
            insist(partial(connection.push, sending))
        except LinkError as error:
            if error.reason != "session" and (attempt or error.reason != "too-large"):
                raise
        else:
            return
    raise LinkError(
        f"an answer was announced {_MOST_SESSIONS} times, and each time the server took no "
        "more of it: it counts as not given",
        reason=NOT_KEPT,
        hint=AT_HOME[NOT_KEPT].remedy,
    )
