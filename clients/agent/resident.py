"""The agent: a home's one resident process. It waits for messages, answers them, and survives.

It runs the app that is installed with it and no other, one message at a time; what needs torch and
the home's readings is done by a worker (:mod:`fedhome.clients.agent.work`). Whatever happens to
the network or the server, it connects again, with growing pauses. While the home is paused it is
not there.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from flwr.app import Message

from fedhome.clients.agent.announce import join
from fedhome.clients.agent.dispatch import MessageDispatch, WorkOf
from fedhome.clients.agent.heartbeat import keep_alive
from fedhome.clients.agent.kept_releases import ReleaseKeeper
from fedhome.clients.agent.message_wait import MessageWait
from fedhome.clients.agent.newer_release import NewerRelease
from fedhome.clients.agent.reply_pace import ReplyPace
from fedhome.clients.agent.sent_answer import AskingAgain, send_answer
from fedhome.clients.agent.status_door import status_door
from fedhome.clients.agent.status_report import StatusReport, in_words_of
from fedhome.clients.agent.store_in_use import open_store
from fedhome.clients.agent.work import WorkerProcess
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.server_addresses import addresses_of
from fedhome.clients.recorded.readings_key import NOTHING_YET, lacks_readings
from fedhome.errors import (
    FedHomeError,
    LinkError,
    ManifestError,
    RegistryError,
    RunError,
    SecAggError,
    StateError,
)
from fedhome.fleet.claims import RETIRED, installed_app
from fedhome.fleet.state_file import FileStore
from fedhome.flower.fleet_connection import Arrival, FleetConnection, message_of
from fedhome.flower.messages import failure, redate
from fedhome.ops.plain_log import log_plainly
from fedhome.ops.processes import on_stop
from fedhome.printable import shown
from fedhome.reasons import CLAIMED, NOT_KEPT, NOTHING
from fedhome.store import disk
from fedhome.wire.exchange import HEARTBEAT_S

_POLL_S = 1.0  # between two looks whether a pause has begun or ended
_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S = 0.5, 60.0
# Then a message is dropped: what it is about is gone.
_GIVEN_UP = frozenset({"over", "answer", "failed", "too-large"})
_log = logging.getLogger("fedhome.agent")
_pace_log = logging.getLogger("fedhome.agent.pace")


class Agent:
    """One home's process.

    Args:
        home_folder: The home's folder.
        store: Its keys and state, as `open_store` opens them.
        work: What does the work that needs torch and the readings.
        reporting: Takes what it does; None: the home's `status.json` alone.

    Raises:
        RunError: The home has left its fleet.
    """

    def __init__(
        self,
        home_folder: HomeFolder,
        store: FileStore,
        work: WorkOf = WorkerProcess,
        reporting: StatusReport | None = None,
    ) -> None:
        self._home_folder, self._store = home_folder, store
        self._settings = home_folder.settings
        self._reporting = reporting or StatusReport(home_folder)
        self._check_left()
        self._tasks = MessageDispatch(home_folder, store, work)
        self._tasks.tell_waits_to(partial(self._reporting.tell, "connected"))
        self._pace = ReplyPace(self._tasks.plan)
        self._releases = ReleaseKeeper(
            home_folder, store.keys, self._tasks.heads, saves=lambda: store.state.version
        )
        self._stop = threading.Event()
        self._looking: MessageWait | None = None
        self._draw = random.Random()  # noqa: S311 - spreads requests in time, hides nothing
        self._insist = AskingAgain(self._stop, away=lambda: self._away, draw=self._draw)
        self._newer = NewerRelease(
            self._releases, named=lambda: self._tasks.heads.waiting, draw=self._draw
        )
        self._back_off = 0.0
        self._refused = self._told = NOTHING  # why it did not connect last; and what its claim says
        self._outdated = False  # what its claim says does not hold any more
        self._attempts = 0  # at addresses where no server was found

    def stop(self) -> None:
        """Let :meth:`run` end after the message at hand."""
        self._stop.set()
        if (looking := self._looking) is not None:
            looking.nudge()

    def run(self) -> None:
        """Serve until :meth:`stop` is called.

        Raises:
            RunError: The home has left its fleet.
        """
        self._reporting.tell("waiting")
        with suppress(StateError):  # a store that cannot be read is told with the first question
            if lacks_readings(self._home_folder.path):
                _log.warning("%s", NOTHING_YET)
        try:
            while not self._stop.is_set():
                self._check_left()
                if self._home_folder.paused:
                    self._wait_out_pause()
                    continue
                try:
                    self._join_and_serve()
                except (LinkError, SecAggError) as error:
                    self._back_off_after(error)
        finally:
            self._tasks.close()
            self._reporting.tell("stopped", "it has left" if self._home_folder.left else "")

    def _check_left(self) -> None:
        if self._home_folder.left:
            self._reporting.tell("stopped", "it has left")
            raise RunError(
                f"{self._settings.home} has left its fleet",
                hint="to take part again, join with a new invitation",
            )

    @property
    def _away(self) -> bool:
        """Whether the home is to take no part now."""
        return self._stop.is_set() or self._home_folder.paused or self._home_folder.left

    def _wait_out_pause(self) -> None:
        """Wait for the end of the pause."""
        self._tasks.close()
        _log.info("paused")
        self._reporting.tell("paused")
        while (
            self._home_folder.paused and not self._home_folder.left and not self._stop.wait(_POLL_S)
        ):
            self._reporting.keep()
            self._tasks.erase()
        self._reporting.tell("waiting")
        self._back_off = 0.0

    def _back_off_after(self, error: FedHomeError) -> None:
        if self._away:
            return
        reason = getattr(error, "reason", "")
        if reason == RETIRED:
            self._home_folder.retire_node_key()
            self._back_off = 0.0
        if reason in {"unreachable", "clock"}:
            self._attempts += 1  # the next address, where there are two
        # Its own refusal, or what the server cannot see: the next claim tells it.
        if isinstance(error, SecAggError) or reason == NOT_KEPT:
            self._refused = reason if reason in CLAIMED else "unlisted"
        self._back_off = min(max(_FIRST_BACK_OFF_S, 2 * self._back_off), _LONGEST_BACK_OFF_S)
        wait_s = self._back_off * self._draw.uniform(0.5, 1.0)
        _log.warning("%s; again in %.1f s", error, wait_s)
        self._reporting.tell("waiting", in_words_of(error), reason=reason)
        until = time.monotonic() + wait_s
        while not self._away and (left_s := until - time.monotonic()) > 0:
            self._stop.wait(min(left_s, _POLL_S))
            self._tasks.rest()
            self._reporting.keep()

    def _join_and_serve(self) -> None:
        """Join, and serve over one connection until it breaks."""
        key = self._home_folder.node_key()
        addresses = addresses_of(self._home_folder, self._tasks.heads.root)
        address = self._releases.address = addresses[self._attempts % len(addresses)]
        authorities = self._home_folder.authorities
        fleet = self._home_folder.anchor.fleet
        welcome = join(
            address,
            authorities,
            fleet=fleet,
            keys=self._store.keys,
            node=key,
            saves=self._store.state.version,
            refused=self._refused,
        )
        epoch = self._tasks.renew(welcome.directory, welcome.freshness)
        connection = FleetConnection(address, authorities, key)
        looking = self._looking = MessageWait(connection)
        gone = threading.Event()
        heart = threading.Thread(target=keep_alive, args=(connection, gone), daemon=True)
        try:
            connection.activate(welcome.node)
            heart.start()
            _log.info("connected to %s as node %d", address, welcome.node)
            self._reporting.tell("connected", epoch=epoch)
            self._told, self._refused = self._refused, NOTHING
            self._newer.connected()
            self._finish_last(connection, welcome.node)
            self._serve(connection, looking, gone)
        finally:
            gone.set()
            if heart.ident is not None:
                heart.join(HEARTBEAT_S)
            if self._away:
                _quietly_leave(connection)
            self._looking = None
            looking.close()

    def _serve(
        self, connection: FleetConnection, looking: MessageWait, gone: threading.Event
    ) -> None:
        self._outdated = False
        while not self._away and not gone.is_set() and not self._outdated:
            arrival = looking.wait(_POLL_S)
            self._back_off = 0.0
            self._reporting.keep()
            if arrival is None:
                self._tasks.rest()
                self._update_release()
            else:
                self._answer(connection, arrival)
                if self._store.unsure:
                    raise RunError(
                        f"nobody knows how much of {self._settings.home}'s state the disk took",
                        hint="it goes on when it is started again",
                    )
                self._newer.hope()
                if self._newer.many_are_named():  # it was not idle for many rounds
                    self._update_release(at_once=True)

    def _update_release(self, *, at_once: bool = False) -> None:
        """Take a newer release of the model, where it is time and there is one that holds."""
        if self._newer.update(self._tasks.layout, at_once=at_once):
            self._report_trouble(self._tasks.trouble)

    def _answer(self, connection: FleetConnection, arrival: Arrival) -> None:
        """Answer one message; its run may have ended meanwhile."""
        begin = self._pace.now()
        disk_says = self._keep_at_hand(arrival.stub)
        run = arrival.message.metadata.run_id
        try:
            wanted = tuple(self._insist(lambda: connection.app_of(run)))
            message = self._insist(lambda: connection.fetch(arrival))
            fetched = self._pace.now()
            kind = message.metadata.message_type
            _pace_log.info("%s came: fetched in %.3f s", kind, fetched - begin)
            if wanted != installed_app():
                other = _other_app(wanted)
                answer = failure(message, other.reason)
            else:
                other = None
                answer = self._tasks.answer(message)
            self._report_trouble(disk_says or other or self._tasks.trouble)
            answered_at = self._pace.now()
            _pace_log.info("%s is answered: in %.3f s", kind, answered_at - fetched)
            if not self._is_time(message, answer, begin):
                return  # still at hand: when the home starts again, the server hears of it
            begin = self._pace.now()
            send_answer(connection, answer, self._insist)
            self._outdated = self._told == NOT_KEPT  # it joins anew: answers are kept again
            self._reporting.count_answer(kind)
            _pace_log.info("%s is sent: in %.3f s", kind, self._pace.now() - begin)
        except LinkError as error:
            if error.reason not in _GIVEN_UP:
                raise
            _log.warning("a message was dropped: %s", error)
        self._keep_at_hand(None)

    def _is_time(self, message: Message, answer: Message, came: float) -> bool:
        """Wait until an answer may leave; False if the home is to end before that."""
        left_s = self._pace.left_s(message, came, repeated=self._tasks.repeated)
        if left_s and self._stop.wait(left_s):
            return False
        if self._pace.after_s:
            redate(answer, message)  # else it would tell when it was done
        return True

    def _keep_at_hand(self, data: bytes | None) -> StateError | None:
        """Keep what is being answered, or forget it; return what the disk says against it.

        Without it a message that a crash cuts off is only asked for again later.
        """
        try:
            with disk.errors_of(self._home_folder.path):
                self._home_folder.at_hand = data
        except StateError as error:
            return error
        return None

    def _report_trouble(self, error: SecAggError | RegistryError | None) -> None:
        self._reporting.tell_trouble(error or self._newer.not_taken)

    def _finish_last(self, connection: FleetConnection, node: int) -> None:
        """Answer the message that was at hand when the process ended with an error.

        One for a node that this home was before is nobody's to answer: the server asks the home
        anew where it finds it now.
        """
        data = self._home_folder.at_hand
        if data is None:
            return
        message = message_of(data)
        if message.metadata.dst_node_id == node:
            answer = failure(message, "restarted")
            try:
                send_answer(connection, answer, self._insist)
            except LinkError as error:
                if error.reason not in {*_GIVEN_UP, NOT_KEPT}:
                    raise
        self._keep_at_hand(None)


def _other_app(wanted: tuple[str, ...]) -> ManifestError:
    here = " ".join(installed_app())
    return ManifestError(
        f"this home runs {here} and nothing else; a question came for {shown(' '.join(wanted))}",
        reason="other-app",
        hint="home and server must run the same release: upgrade the older one",
    )


def _quietly_leave(connection: FleetConnection) -> None:
    try:
        connection.leave()
    except LinkError:
        _log.warning("the server was not told that this home goes away")


def main(arguments: Sequence[str]) -> int:
    """Run the agent of a home's folder until a signal stops it."""
    log_plainly("fedhome.agent")
    home_folder, stop = HomeFolder(Path(arguments[0])), threading.Event()
    on_stop(stop.set)
    reporting = StatusReport(home_folder)
    with status_door(home_folder, lambda: reporting.now):
        store = open_store(home_folder, stop, reporting)
        if store is not None:
            with store:
                agent = Agent(home_folder, store, reporting=reporting)
                on_stop(agent.stop)
                if not stop.is_set():
                    agent.run()
    return 0
