"""Begins the runs of a server's timetable, as its daemon."""

from __future__ import annotations

import time
from collections.abc import Callable

from fedhome.errors import FedHomeError, RunError, StateError
from fedhome.ops.file_state import file_state
from fedhome.server.daemon.current_run import Runs
from fedhome.server.daemon.run_schedule import (
    SCHEDULE,
    RunSchedule,
    keep_done,
    last_done,
    read_schedule,
)
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.wire.moments import when

_AGAIN_S = 30.0  # what could not be written is tried again
_LATE_S = 60.0  # a run that begins later than this is made up for


class Timetable:
    """What is due by a server's timetable.

    Args:
        server_folder: The server's folder.
        runs: Its runs.
        say: Called with what matters to whoever runs the server, a line each.
        clock: The time, Unix time in s; it may be set.
    """

    def __init__(
        self,
        server_folder: ServerFolder,
        runs: Runs,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._runs, self._say, self._clock = server_folder.path, runs, say, clock
        self._schedule: RunSchedule | None = None
        self._state: tuple[int, ...] | None = None
        self._again_at = 0.0

    def tend(self) -> None:
        """Begin the run that is due, if one is; whatever keeps it from beginning is told once."""
        now = self._clock()
        self._read(now)
        schedule = self._schedule
        if schedule is None or time.monotonic() < self._again_at:
            return
        done = last_done(self._folder)
        try:
            if done > now + schedule.every_s:  # the clock was ahead
                keep_done(self._folder, done := int(now))
                self._say("the clock was set back: the timetable goes on from now")
            moment = schedule.latest(now)
            if moment is None or moment <= done:
                return
            # First the moment, then the run: a run that was killed in between is one that is left
            # out, and never two.
            keep_done(self._folder, moment)
        except StateError as error:
            self._again_at = time.monotonic() + _AGAIN_S
            self._say(f"the timetable waits: {error.message}")
            return
        self._begin(schedule, moment, now)

    def _begin(self, schedule: RunSchedule, moment: int, now: float) -> None:
        following = when(schedule.following(now))
        try:
            current = self._runs.current
            if current is not None and current.is_open:
                self._say(
                    f"the run of {when(moment)} is left out: {current.run} is still in progress; "
                    f"the next one is due {following}"
                )
                return
            begun = self._runs.begin(schedule.plan)
        except FedHomeError as error:
            self._say(
                f"the run of {when(moment)} cannot begin: {error.with_hint}; the next one is "
                f"due {following}"
            )
            return
        late = ", made up for" if now - moment > _LATE_S else ""
        self._say(f"run {begun.run} is the timetable's run of {when(moment)}{late}")

    def _read(self, now: float) -> None:
        """Read the timetable where it is new."""
        state = file_state(self._folder / SCHEDULE)
        if state == self._state:
            return
        first, self._state = self._state is None, state
        self._schedule = None
        try:
            self._schedule = read_schedule(self._folder)
        except (RunError, StateError) as error:
            self._say(f"no run begins by itself: {error.with_hint}")
            return
        if self._schedule is not None:
            due = when(self._schedule.following(now))
            self._say(f"runs begin by themselves {self._schedule.text}: the next one {due}")
        elif not first:
            self._say("no run begins by itself any more")
