"""Follow a run by its log, from another process than the one that works on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fedhome.run.events import Event
from fedhome.run.growing_log import GrowingLog
from fedhome.server.daemon.current_run import CANCELLED, FINISHED, RUNNING, Current, Runs
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.supervisor import is_running

_POLL_S, _LOOK_S = 0.2, 3.0

Show = Callable[[Sequence[Event]], None]
Say = Callable[[str], None]


def follow(server_folder: ServerFolder, run: str, show: Show, say: Say) -> Current:
    """Show a run's events until it has ended for good, and return how it did.

    Args:
        server_folder: The server's folder.
        run: The run's name.
        show: Called with the events so far, then with each new one.
        say: Called when the server goes away and when it comes back; the run continues with it.

    Raises:
        EventLogError: The log cannot be read, or what was added does not follow.
    """
    runs = Runs(server_folder)
    path = runs.folder(run).events_path
    log = GrowingLog()
    shown, size, checked, was_up = 0, -1, time.monotonic(), True
    while True:
        now = runs.current  # before the log, whose last events are written before it changes
        if path.exists() and path.stat().st_size != size:
            size = path.stat().st_size
            events = log.read(path)
            show(events[shown:])
            shown = len(events)
        if now is None or now.run != run:  # another one was begun meanwhile
            ended = FINISHED if runs.folder(run).finished else CANCELLED
            return Current(run=run, state=ended)
        if now.state != RUNNING:
            return now
        if time.monotonic() - checked > _LOOK_S:
            checked, is_up = time.monotonic(), is_running(server_folder)
            if is_up != was_up:
                say("the server is back" if is_up else "the server is down: the run waits for it")
            was_up = is_up
        time.sleep(_POLL_S)
