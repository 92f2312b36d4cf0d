"""When a server begins runs by itself: its timetable, and which moment of it comes next.

::

    schedule.toml   how often, at which time of which zone, and the plan; written by the command
    schedule.done   the last moment that was taken care of, Unix time in s; written by the daemon

A moment that passed while the server was down is made up for once, however many there were. One
that comes while a run is in progress is left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tomli_w

from fedhome.errors import PlanError, RunError
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S, step_seconds, step_text
from fedhome.store import disk

SCHEDULE, DONE = "schedule.toml", "schedule.done"
LEAST_S: Final = DAY_S // 3
"""Homes take part in the sums of three runs a day, and in no more."""
_CHANGE = "fedhome server schedule PLAN --server DIR"


@dataclass(frozen=True, kw_only=True)
class RunSchedule:
    """A timetable of runs.

    Args:
        every_s: From one to the next, s; a whole number of days where ``at`` is given.
        at: Time of the day, ``HH:MM``, by the clock on the wall; empty: counted from ``since_s``.
        time_zone: Name of the zone of ``at``.
        since_s: When the timetable was made, Unix time in s: its moments come after that.
        plan: The plan of its runs.

    Raises:
        RunError: It cannot be.
    """

    every_s: int
    at: str = ""
    time_zone: str = "UTC"
    since_s: int
    plan: Plan

    def __post_init__(self) -> None:
        if self.every_s < LEAST_S:
            raise RunError(
                f"a run every {step_text(self.every_s)} cannot be: homes take part in three runs a "
                "day at most",
                hint=f"every {step_text(LEAST_S)} is as often as can be",
            )
        _zone(self.time_zone)
        if not self.at:
            return
        _ = self._time
        if self.every_s % DAY_S:
            raise RunError(
                f"at {self.at}, every {step_text(self.every_s)}: that is no whole number of days",
                hint="with a time of the day it is every 1d, 2d, 7d, ...",
            )

    @property
    def _time(self) -> tuple[int, int]:
        try:
            at = datetime.strptime(self.at, "%H:%M")  # noqa: DTZ007 - a time of any day
        except ValueError:
            raise RunError(
                f"{self.at!r} is no time of the day",
                hint='write it as "03:00", from 00:00 to 23:59',
            ) from None
        return at.hour, at.minute

    def latest(self, now_s: float) -> int | None:
        """Return the last of its moments up to now, Unix time in s; None before the first."""
        if not self.at:
            number = int(now_s - self.since_s) // self.every_s
            return self.since_s + number * self.every_s if number >= 1 else None
        step = self.every_s // DAY_S
        first = self._first_day()
        day = datetime.fromtimestamp(now_s, _zone(self.time_zone)).date()
        number = (day - first).days // step
        # Today's may be still to come: then it is the one before.
        for one in (number, number - 1):
            if one >= 0 and (moment := self._moment(first + timedelta(days=one * step))) <= now_s:
                return moment
        return None

    def following(self, now_s: float) -> int:
        """Return the first of its moments after now, Unix time in s."""
        if not self.at:
            number = max(int(now_s - self.since_s) // self.every_s, 0)
            return self.since_s + (number + 1) * self.every_s
        step, first = self.every_s // DAY_S, self._first_day()
        day = datetime.fromtimestamp(now_s, _zone(self.time_zone)).date()
        number = max((day - first).days // step, 0)
        while (moment := self._moment(first + timedelta(days=number * step))) <= now_s:
            number += 1
        return moment

    def _first_day(self) -> date:
        """Return the first day with a moment after the timetable was made."""
        day = datetime.fromtimestamp(self.since_s, _zone(self.time_zone)).date()
        return day if self._moment(day) > self.since_s else day + timedelta(days=1)

    def _moment(self, day: date) -> int:
        """Return its moment on a day; a time that the clocks leave out is as if they had not."""
        hour, minute = self._time
        zone = _zone(self.time_zone)
        return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp())

    @property
    def text(self) -> str:
        """How often, in words."""
        every = "every day" if self.every_s == DAY_S else f"every {step_text(self.every_s)}"
        return f"{every} at {self.at} ({self.time_zone})" if self.at else every

    def to_toml(self) -> str:
        """Return it as the file has it."""
        table: dict[str, Any] = {"every": step_text(self.every_s)}
        if self.at:
            table |= {"at": self.at}
        table |= {"time_zone": self.time_zone, "since": self.since_s}
        table["plan"] = tomllib.loads(self.plan.to_toml())
        return tomli_w.dumps(table)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> RunSchedule:
        """Return the timetable of a file.

        Raises:
            RunError: It cannot be.
            PlanError: Its plan does not hold, or what it says cannot be read.
        """
        fields = dict(table)
        plan, every, since = fields.pop("plan", {}), fields.pop("every", ""), fields.pop("since", 0)
        if unknown := sorted(fields.keys() - {"at", "time_zone"}):
            raise RunError(
                f"{unknown[0]!r} is no setting of a timetable",
                hint="there are every, at, time_zone, since, and the table [plan]",
            )
        if type(since) is not int:
            raise RunError(f"since is {since!r}, and not a Unix time in whole seconds")
        return cls(
            every_s=step_seconds(str(every), "every"),
            at=str(fields.get("at", "")),
            time_zone=str(fields.get("time_zone", "UTC")),
            since_s=since,
            plan=Plan.parse(plan, where=SCHEDULE),
        )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RunError(
            f"there is no time zone {name!r}", hint='write it as "Europe/Berlin", or "UTC"'
        ) from None


def read_schedule(folder: Path) -> RunSchedule | None:
    """Return a server's timetable; None where it has none.

    Args:
        folder: The server's folder.

    Raises:
        RunError: Its file is damaged.
    """
    path = folder / SCHEDULE
    if not path.exists():
        return None
    try:
        return RunSchedule.from_table(tomllib.loads(disk.read(path).decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = str(error)
    except (RunError, PlanError) as error:
        reason = error.with_hint
    raise RunError(f"{path} cannot be used: {reason}", hint=f"write it anew: `{_CHANGE}`")


def write_schedule(folder: Path, schedule: RunSchedule | None) -> None:
    """Write a server's timetable; None ends it.

    Raises:
        StateError: It cannot be written.
    """
    path = folder / SCHEDULE
    if schedule is not None:
        disk.put(path, schedule.to_toml().encode())
        return
    with disk.errors_of(path):
        path.unlink(missing_ok=True)
        (folder / DONE).unlink(missing_ok=True)


def last_done(folder: Path) -> int:
    """Return the last moment that was taken care of, Unix time in s; 0: none, or it is damaged."""
    path = folder / DONE
    if not path.exists():
        return 0
    try:
        return int(disk.read(path))
    except ValueError:
        return 0


def keep_done(folder: Path, moment: int) -> None:
    """Remember that a moment is taken care of.

    Raises:
        StateError: It cannot be written.
    """
    disk.put(folder / DONE, str(moment).encode())
