"""Messages of a broker into a home's store, for as long as they come.

Messages with a time of their own are acknowledged when their rows are on the disk, and not
before; those that are not acknowledged come again, after a crash, too. Without such a time all that
is known of a reading is when it arrives, and one that comes again later would be a wrong one: what
is published while nobody listens is missed then.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fedhome.clients.broker.broker_address import BrokerAddress
from fedhome.clients.broker.broker_patience import BrokerPatience
from fedhome.clients.broker.mqtt_link import KEPT_S, BrokerGoneError, BrokerLink, Receipt
from fedhome.clients.recorded.arriving_lines import LinesRead
from fedhome.clients.recorded.mqtt_rows import MessageReading, MessageRows
from fedhome.clients.recorded.recording import Recorder
from fedhome.clients.recorded.streams import MOST_LINES, MOST_S, PatientWrites, Told
from fedhome.counted import counted, was
from fedhome.plan.time_steps import DAY_S
from fedhome.wire.moments import length

_MOST_UNHEARD: Final = 16  # a broker waits with more than 20 (mosquitto's default)
_SHOWN = 4


class BrokerRecording:
    """What records the messages of a broker.

    Args:
        recorder: What records.
        address: Where the broker is.
        topics: What is taken: topics, with ``+`` and ``#``.
        every_s: Times are rounded down to whole multiples of it.
        time_field: The field that says when a message was read; empty: its arrival counts.
        told: Is called when messages are on the disk, and not before.
        waiting: Takes in words what is waited for, or is not recorded.
        stop: Set when no more is to be taken: what came is recorded first.
        most_s: Seconds after which a message is recorded, at the latest.
        clock: The present, Unix time in s.
    """

    def __init__(
        self,
        recorder: Recorder,
        address: BrokerAddress,
        topics: tuple[str, ...],
        *,
        every_s: int,
        time_field: str,
        told: Told,
        waiting: Callable[[str], None],
        stop: threading.Event,
        most_s: float = MOST_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address, self._topics, self._told = address, topics, told
        self._waiting, self._stop, self._most_s, self._clock = waiting, stop, most_s, clock
        self._kept = bool(time_field)
        # For whom nothing is kept, needs no name; two of one name would push each other out.
        self._name = _name_of(recorder, topics, time_field) if self._kept else ""
        settings, self._recorder = recorder.settings, recorder
        self._reading = MessageReading(
            home=recorder.store.home,
            columns=recorder.columns,
            rename=settings.rename,
            zone=settings.time_zone,
            every_s=every_s,
            time_field=time_field,
        )
        self._rows = MessageRows(self._reading, waiting)
        self._writes = PatientWrites(recorder, waiting, pause=stop.wait)
        self._messages = self._waits = self._old = 0
        self._due = 0.0
        self._unheard: list[Receipt] = []

    def run(self) -> None:
        """Record until it is told to stop.

        Raises:
            SourceError: The broker refuses, and waiting does not help.
            StateError: The store cannot be used.
        """
        if not self._reading.zone:
            home = replace(self._reading, zone=self._recorder.store.facts.zone)
            self._rows = MessageRows(home, self._waiting)
        # Without a name at the broker, none pushes another out.
        twice = "records the same topics for this home with --time" if self._kept else ""
        patience = BrokerPatience(self._address, self._waiting, twice=twice)

        def serve() -> None:
            try:
                link = self._linked()
                patience.tell(self._linked_again(link, patience.linked()))
                self._attend(link, patience)
            except BrokerGoneError:
                self._unheard.clear()  # of the next connection these numbers mean other messages
                self._write()
                raise

        patience.connect(serve, self._stop)

    def _linked(self) -> BrokerLink:
        return BrokerLink(
            self._address,
            self._topics,
            name=self._name,
            kept=self._kept,
            take=self._take,
            stop=self._stop.is_set,
        )

    def _attend(self, link: BrokerLink, patience: BrokerPatience) -> None:
        """Take messages until it is enough; what came is recorded then.

        Raises:
            BrokerGoneError: The connection is lost.
        """
        while not self._stop.is_set():
            link.attend(max(0.0, self._due - time.monotonic()) if self._waits else self._most_s)
            patience.attended()
            late = self._waits and time.monotonic() >= self._due
            if late or self._waits >= MOST_LINES or len(self._unheard) >= _MOST_UNHEARD:
                self._write(link)
        for _ in range(MOST_LINES):  # what is here already
            before = self._messages
            link.attend(0.0)
            if self._messages == before:
                break
        self._write(link)
        link.close()

    def _take(self, topic: str, payload: bytes, retained: bool, receipt: Receipt) -> None:
        self._messages += 1
        if not self._waits:
            self._due = time.monotonic() + self._most_s
        self._waits += 1
        if receipt.quality and self._kept:
            self._unheard.append(receipt)
        if retained:
            self._old += 1
            return
        self._rows.take(topic, payload, self._clock())

    def _write(self, link: BrokerLink | None = None) -> None:
        """Record what came, and tell the broker."""
        waited, self._waits = self._waits, 0
        table = self._rows.taken()
        if table is not None:
            batch = LinesRead(table=table, lines=table.rows, refused=(), notes=())
            self._told(self._messages, self._writes.kept(batch, self._messages))
        if link is not None and waited:
            heard, self._unheard = self._unheard, []
            link.acknowledge(heard)

    def _linked_again(self, link: BrokerLink, away_s: float | None) -> str:
        topics = ", ".join(self._topics[:_SHOWN])
        more = f" and {len(self._topics) - _SHOWN} more" if len(self._topics) > _SHOWN else ""
        told = f"{self._address}: connected, takes {topics}{more}"
        if away_s is not None:
            told = f"{self._address}: connected again after {length(away_s)}"
        if not self._kept:
            missed = "; what was published meanwhile is missing" if away_s is not None else ""
        elif link.kept_before:
            missed = "; the broker has kept what was published meanwhile with QoS 1 or 2"
        elif away_s is not None:
            missed = "; it has kept nothing: what was published meanwhile is missing"
        else:
            days = KEPT_S // DAY_S
            missed = f"; from now on the broker keeps for {days} days what this one misses"
        return told + missed

    @property
    def summary(self) -> str:
        """What came in all, in words."""
        told = f"{counted(self._messages, 'message')} came, {self._rows.used:,} with readings"
        if self._old:
            told += f", {self._old:,} from before, which the broker had kept (retained)"
        if refused := self._rows.refused:
            told += f"; {counted(refused, 'reading')} {was(refused)} not recorded"
        return told

    @property
    def refused(self) -> int:
        """Messages and readings that could not be recorded."""
        return self._rows.refused


def _name_of(recorder: Recorder, topics: tuple[str, ...], time_field: str) -> str:
    """Return by what name a broker knows this recording, the same after every start."""
    where = (socket.gethostname(), str(recorder.store.folder.resolve()), time_field, *topics)
    digest = hashlib.sha256("\0".join(where).encode()).hexdigest()
    return f"fedhome{digest[:16]}"  # 23 letters and digits, which every broker takes
