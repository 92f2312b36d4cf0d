"""The agent: a home's one resident process. It waits for messages, answers them, and survives.

It runs the app that is installed with it and no other, one message at a time. Until the first
question about a model comes, it needs no torch; keys and a committee member's help need none.
Whatever happens to the network or the server, it connects again, with growing pauses.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from flwr.app import Message

from clients.joining import join
from clients.place import Place
from clients.tasks import Tasks
from fedhome.errors import FedHomeError, LinkError, SecAggError
from fedhome.flower import failure
from fedhome.flower_fleet import (
    HEARTBEAT_S,
    Arrival,
    FleetConnection,
    identity,
    kept_message,
)
from fedhome.joining import installed_app
from fedhome.processes import on_stop
from fedhome.secagg.store import FileStore

_QUICK_S, _USUAL_S = 0.05, 0.5  # pauses between questions: during a round, and otherwise
_SLOWER = 1.25
_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S = 0.5, 60.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.1, 5.0  # within a message
_MOST_SESSIONS = 5  # a reply is announced so often at most
_BROKEN = 2  # Flower's code for an app that failed
_log = logging.getLogger("fedhome.agent")
Result = TypeVar("Result")


class Agent:
    """One home's process.

    Args:
        place: The home's folder.
        store: Its keys and state.
    """

    def __init__(self, place: Place, store: FileStore) -> None:
        self._place, self._store = place, store
        self._settings = place.settings
        self._tasks = Tasks(place, store)
        self._stop = threading.Event()
        self._draw = random.Random()  # noqa: S311 - spreads requests in time, hides nothing
        self._back_off = 0.0

    def stop(self) -> None:
        """Let :meth:`run` end after the message at hand."""
        self._stop.set()

    def run(self) -> None:
        """Serve until told to stop."""
        while not self._stop.is_set():
            try:
                self._connected()
            except (LinkError, SecAggError) as error:
                self._pause(error)

    def _pause(self, error: FedHomeError) -> None:
        self._back_off = min(max(_FIRST_BACK_OFF_S, 2 * self._back_off), _LONGEST_BACK_OFF_S)
        wait_s = self._back_off * self._draw.uniform(0.5, 1.0)
        _log.warning("%s; again in %.1f s", error, wait_s)
        self._stop.wait(wait_s)

    def _connected(self) -> None:
        """Join, and serve over one connection until it breaks."""
        key, address = self._place.node_key(), self._settings.server
        authorities = self._place.authorities
        fleet = self._place.anchor.fleet
        welcome = join(address, authorities, fleet=fleet, keys=self._store.keys, node=key)
        self._tasks.renew(welcome.directory)
        connection = FleetConnection(address, authorities, key)
        gone = threading.Event()
        heart = threading.Thread(target=_beat, args=(connection, gone), daemon=True)
        try:
            connection.activate(welcome.node)
            heart.start()
            _log.warning("connected to %s as node %d", address, welcome.node)
            self._finish_last(connection, welcome.node)
            self._serve(connection, welcome.node, gone)
        finally:
            gone.set()
            if heart.ident is not None:
                heart.join(HEARTBEAT_S)
            if self._stop.is_set():
                _quietly_leave(connection)
            connection.close()

    def _serve(self, connection: FleetConnection, node: int, gone: threading.Event) -> None:
        wait_s = _USUAL_S
        while not self._stop.is_set() and not gone.is_set():
            arrival = connection.pull()
            self._back_off = 0.0
            if arrival is None:
                self._stop.wait(wait_s * self._draw.uniform(0.8, 1.2))
                wait_s = min(_SLOWER * wait_s, _USUAL_S)
            else:
                self._answer(connection, node, arrival)
                wait_s = _QUICK_S

    def _answer(self, connection: FleetConnection, node: int, arrival: Arrival) -> None:
        """Answer one message; its run may have ended meanwhile."""
        begin = time.monotonic()
        self._place.at_hand = arrival.kept
        run = arrival.message.metadata.run_id
        try:
            wanted = tuple(self._insist(lambda: connection.app_of(run)))
            message = self._insist(lambda: connection.fetch(arrival))
            self._insist(lambda: connection.confirm(message))
            fetched = time.monotonic()
            with identity(run, node):
                if wanted != installed_app():
                    answer = _refused(message, wanted)
                else:
                    answer = self._tasks.answer(message)
            found = time.monotonic()
            self._send(connection, answer, found - fetched)
            _log.info(
                "%s: %.3f s to fetch, %.3f s to answer, %.3f s to send",
                message.metadata.message_type,
                fetched - begin,
                found - fetched,
                time.monotonic() - found,
            )
        except LinkError as error:
            if error.reason not in {"over", "answer"}:
                raise
            _log.warning("a message was dropped: %s", error)
        self._place.at_hand = None

    def _send(self, connection: FleetConnection, answer: Message, seconds: float) -> None:
        """Send a reply: announce it, then its objects."""
        for _ in range(_MOST_SESSIONS):
            sending = self._insist(lambda: connection.announce(answer, seconds))
            try:
                self._insist(partial(connection.push, sending))
            except LinkError as error:
                if error.reason != "session":
                    raise
            else:
                return

    def _insist(self, ask: Callable[[], Result]) -> Result:
        """Ask over a connection that may break, until there is an answer."""
        wait_s = _FIRST_RETRY_S
        while True:
            try:
                return ask()
            except LinkError as error:
                if error.reason != "unreachable" or self._stop.is_set():
                    raise
                _log.warning("%s; trying again", error.message)
            self._stop.wait(wait_s * self._draw.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, _LONGEST_RETRY_S)

    def _finish_last(self, connection: FleetConnection, node: int) -> None:
        """Answer the message that was at hand when the process ended with an error."""
        kept = self._place.at_hand
        if kept is None:
            return
        message = kept_message(kept)
        try:
            with identity(message.metadata.run_id, node):
                answer = failure(message, "the home was restarted", _BROKEN)
            self._send(connection, answer, 0.0)
        except LinkError as error:
            if error.reason not in {"over", "answer"}:
                raise
        self._place.at_hand = None


def _refused(message: Message, wanted: tuple[str, ...]) -> Message:
    here = " ".join(installed_app())
    _log.warning("a message for the app %s was refused", " ".join(wanted))
    return failure(
        message,
        f"this home runs {here} and nothing else; the message is for {' '.join(wanted)}",
        _BROKEN,
    )


def _beat(connection: FleetConnection, gone: threading.Event) -> None:
    """Keep a node alive at the server; a refusal ends the connection."""
    while not gone.wait(0.8 * HEARTBEAT_S):
        try:
            connection.beat()
        except LinkError as error:
            if error.reason in {"refused", "node"}:
                gone.set()


def _quietly_leave(connection: FleetConnection) -> None:
    try:
        connection.leave()
    except LinkError:
        _log.warning("the server was not told that this home goes away")


def main(arguments: Sequence[str]) -> int:
    """Run the agent of a home's folder until it is told to stop."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    _log.setLevel(logging.INFO)
    place = Place(Path(arguments[0]))
    with FileStore.open(place.folder, home=place.settings.home) as store:
        agent = Agent(place, store)
        on_stop(agent.stop)
        agent.run()
    return 0
