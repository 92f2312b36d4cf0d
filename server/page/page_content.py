"""What the page and the numbers for Prometheus are made of, read at most every two seconds.

It is what the front tells of the server, the log of the run in progress and the list of releases.
Nothing of a single home's readings or scores is in these but for one case, which is left out here:
the losses of a round in which a single home answered are that home's own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fedhome.errors import FedHomeError
from fedhome.registry import Registry, Release
from fedhome.registry.vault import INDEX
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.run.growing_log import GrowingLog
from fedhome.run.results import ROUNDS
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.server_status import ServerStatus
from fedhome.server.daemon.told_status import told_status

FEWEST = 2
"""The least homes whose mean is shown."""
_MEASURED = ("train_loss", "validation_loss", "validation_score")
_HOLDS_S = 2.0


@dataclass(frozen=True, kw_only=True)
class PageContent:
    """What there is to see of a server.

    Args:
        time: When it was read, UTC.
        status: What the front tells; None: it does not answer.
        events: The log of the run in progress, or of the last one.
        rounds: Its rounds, a row of `ROUNDS` each.
        hidden: Rounds whose losses are not shown, since fewer than `FEWEST` homes answered.
        releases: The releases, the oldest first.
        faults: What could not be read, a sentence each.
    """

    time: datetime
    status: ServerStatus | None
    events: Sequence[Event] = ()
    rounds: Sequence[dict[str, Any]] = ()
    hidden: int = 0
    releases: Sequence[Release] = ()
    faults: Sequence[str] = ()

    @property
    def all_faults(self) -> list[str]:
        """What the front warns of, and what could not be read here; each once."""
        told = [] if self.status is None else self.status.faults
        return [*told, *(one for one in self.faults if not one.startswith(tuple(told)))]


class PageReader:
    """Reads what there is to see of a server; may be called by several threads.

    Args:
        server_folder: The server's folder.
        clock: Seconds, for how long an answer holds.
    """

    def __init__(
        self, server_folder: ServerFolder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._server_folder, self._clock = server_folder, clock
        self._lock = threading.Lock()
        self._last: tuple[float, PageContent] | None = None
        self._log = GrowingLog()
        models = server_folder.path / MODELS
        self._releases: CachedFile[Sequence[Release]] = CachedFile(
            models / INDEX, lambda: Registry.open(models).releases()
        )

    def read(self) -> PageContent:
        """Return what there is to see, as it is now or was just now."""
        with self._lock:
            now = self._clock()
            if self._last is None or now > self._last[0] + _HOLDS_S:
                self._last = (now, self._read())
            return self._last[1]

    def _read(self) -> PageContent:
        content = PageContent(time=datetime.now(UTC), status=told_status(self._server_folder.path))
        faults: list[str] = []
        run = (
            "" if content.status is None or content.status.run is None else content.status.run.name
        )
        try:
            path = RunFolder(self._server_folder.runs / run).events_path
            events = self._log.read(path) if run else ()
            content = replace(content, events=events)
            rounds, hidden = rounds_of(events)
            content = replace(content, rounds=rounds, hidden=hidden)
        except FedHomeError as error:
            faults.append(error.with_hint)
        try:
            if (self._server_folder.path / MODELS / INDEX).exists():
                content = replace(content, releases=self._releases())
        except FedHomeError as error:
            faults.append(error.with_hint)
        return replace(content, faults=faults)


def rounds_of(events: Sequence[Event]) -> tuple[list[dict[str, Any]], int]:
    """Return the rounds of a log, and how many have no losses that may be shown.

    A round that was repeated after a kill is there once, as it was at last.

    Args:
        events: The log.

    Returns:
        A row of `ROUNDS` for each round, and the number of those whose losses are left out, since
        fewer than `FEWEST` homes answered.
    """
    rows: dict[int, dict[str, Any]] = {}
    hidden = set()
    for event in events:
        number = event.data.get("round")
        if event.event != "round-closed" or not isinstance(number, int):
            continue
        row = {name: event.data.get(name) for name in ROUNDS.names}
        hidden.discard(number)
        answered = row["homes_answered"]
        if not isinstance(answered, int) or answered < FEWEST:
            row |= dict.fromkeys(_MEASURED)
            hidden.add(number)
        rows[number] = row
    return [rows[number] for number in sorted(rows)], len(hidden)
