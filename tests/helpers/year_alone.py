"""A virtual year from its first day to its last: what happens when, and what must be true then.

    PYTHONPATH=tests python -m helpers.year_alone --days 365      every day's run, by itself

Without ``--days`` it is the course that tests/server/test_virtual_year.py plays.
"""

from __future__ import annotations

import logging
import resource
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedhome.clients.membership.own_models import OwnModels
from fedhome.personal import stored_models
from fedhome.plan.time_steps import DAY_S
from fedhome.server.daemon.publishing import RELEASED
from helpers.registry_world import Crash
from helpers.virtual_year import KEPT, Year

JOINS, LEAVES, RESTORED, MISSES = "h09", "h08", "h03", "h01"
"""``MISSES`` is away while the others' models are made by an earlier fedhome."""
KILLED, JOINED, COPIED, ROLLED_BACK, CAME_BACK = 6, 9, 10, 12, 14
SIGNED, LEFT, SET_BACK, DOWNGRADED = 15, 17, 18, 20
"""In which fortnight the process is killed, a home joins, and so on."""
SETTLED = 8
"""After so many fortnights nothing grows any more: a server keeps four runs, a home two models."""
RESTARTED = 4
"""Every so many fortnights the daemon is started again."""
ROUNDING = 1.005
"""Errors of a month differ by this much between kinds of processors."""


class Course(NamedTuple):
    """When runs are: ``runs`` of them ``every_days`` apart, and after these ``daily`` a day apart.

    Each has so many ``rounds``. What happens in a fortnight happens before the run that ends it:
    runs are a fortnight apart, or a day.
    """

    runs: int
    every_days: int
    daily: int = 0
    rounds: int = 3

    @property
    def days(self) -> int:
        """How long it is."""
        return self.runs * self.every_days + self.daily

    @property
    def all_runs(self) -> int:
        """How many runs there are."""
        return self.runs + self.daily

    def run_of(self, fortnight: int) -> int:
        """Return the run that ends a fortnight."""
        return fortnight * FORTNIGHT // self.every_days


FORTNIGHT = 14
LEAST_DAYS = (DOWNGRADED + 1) * FORTNIGHT
"""Until all has happened, and homes have made up for it."""
USUAL = Course(runs=26, every_days=FORTNIGHT, daily=14)
"""Of a test: every second Sunday, and a fortnight of days."""


@dataclass
class Played:
    """A year that has been played.

    Args:
        year: The fleet as it is at the end.
        course: When its runs were.
        began: Names of the runs, in their order; empty where none began.
        sizes: Bytes of the server, by run that it keeps, and of homes after each run.
        kept: How many runs the server kept after each run.
        memory: Most memory of the process until then, in KiB.
    """

    year: Year
    course: Course
    began: list[str] = field(default_factory=list)
    sizes: list[dict[str, int]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def ratios(self) -> dict[str, list[float]]:
        """Each home's error in each month, as a multiple of that without learning."""
        return {home.name: home.monthly(self.year.begin) for home in self.year.homes.values()}

    def check(self) -> None:
        """Hold the year against what is promised of it."""
        year, course = self.year, self.course
        assert self.began == [f"nightly-{number}" for number in range(1, course.all_runs + 1)]
        assert year.refusals == [], "no home refused anything, so nobody had to see to it"
        lost = {"round-failed", "round-unused", "home-excluded", "release-failed"}
        assert not lost & year.kinds
        assert not [line for line in year.told if "cannot" in line or "waits" in line]
        assert "run-resumed" in year.kinds
        assert any("made up for" in line for line in year.told)

        ratios = self.ratios
        fewest = course.runs * course.every_days // 30 - 4  # months of a home that joins late
        assert [name for name, months in ratios.items() if len(months) < fewest] == []
        worse = {name: max(months) for name, months in ratios.items() if max(months) > ROUNDING}
        assert not worse, f"worse over a month than the forecast without learning: {worse}"
        assert np.mean([np.mean(months) for months in ratios.values()]) < 0.8
        assert year.gave_way, "a model that was worse for some days gave way: it has been needed"
        assert all(OwnModels(home.place.path, home.name).read() for home in year.homes.values())

        assert year.homes[MISSES].fleets == 1, "the fleet's model stood in until its next run"
        alone = course.all_runs - course.run_of(DOWNGRADED)
        assert year.homes[LEAVES].fleets == alone, "and where no run came any more"
        assert sum(home.fleets > 0 for home in year.homes.values()) == 2
        year.check_certificate()
        assert year.renewed == 1

        registry = year.registry
        assert registry.verify().faults == ()
        assert any(release.manifest.restores for release in registry.releases())
        assert self.promoted > course.days // FORTNIGHT // 2, "seasons change, and so do releases"

        settled = course.run_of(SETTLED)
        assert max(self.kept) <= KEPT + 1, "the newest runs, and the one of the newest release"
        for place in ("server", "homes"):
            assert self.sizes[-1][place] < 1.25 * self.sizes[settled][place], place
        assert self.memory[-1] < self.memory[settled] + 64 * 1024, "KiB"

    @property
    def promoted(self) -> int:
        """How many releases went out."""
        return sum(event.event == RELEASED for event in self.year.events)


def play(
    folder: Path,
    course: Course,
    *,
    downgrade: Callable[[], None],
    say: Callable[[str], None] = lambda _line: None,
) -> Played:
    """Play a year.

    Args:
        folder: Where everything lies.
        course: When its runs are.
        downgrade: Has an earlier fedhome read and write models from now on: of the format before.
        say: Told of each month.
    """
    year = Year(folder, days=course.days, every_days=course.every_days, rounds=course.rounds)
    year.set_timetable()
    year.homes[JOINS].there = False
    played = Played(year, course)
    downgraded = course.run_of(DOWNGRADED)
    for number in range(1, course.all_runs + 1):
        if number == course.runs + 1:
            year.every_s = DAY_S
            year.set_timetable()
        year.jump(year.every_s)
        _happen(year, course, number, folder / "copy")
        away = year.draw.sample(sorted(year.homes), year.draw.choice((0, 0, 1, 2)))
        if number == downgraded:
            downgrade()
            away = [MISSES]
        if number == downgraded + 1:  # it is back
            away = [name for name in away if name != MISSES]
        crash = Crash if number == course.run_of(KILLED) else None
        played.began.append(year.tend(away=away, crash=crash))
        assert year.tend() == "", "each moment begins one run"
        played.sizes.append(year.sizes())
        played.kept.append(year.runs_kept)
        played.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if number % max(30 // course.every_days, 1) == 0:
            say(f"run {number} of {course.all_runs}: {played.promoted} releases so far")
    return played


def _happen(year: Year, course: Course, number: int, copy: Path) -> None:
    """Let happen what happens before a run: to homes, to the server, to its clock."""
    fortnight, rest = divmod(number * course.every_days, FORTNIGHT)
    if rest or number > course.runs:
        return
    if fortnight in {JOINED, LEFT}:
        year.homes[JOINS if fortnight == JOINED else LEAVES].there = fortnight == JOINED
    if fortnight == COPIED:
        year.copy_of(RESTORED, copy)
    if fortnight == CAME_BACK:
        year.restore(RESTORED, copy)
    if fortnight == ROLLED_BACK:
        registry = year.registry
        registry.rollback(registry.releases()[-2], year.world.server)
    if fortnight == SIGNED:
        year.sign_anew()
    if fortnight == SET_BACK:
        year.now -= 2 * 3600
    if fortnight % RESTARTED == 0:
        year.timetable = year.started()


def main(arguments: Sequence[str]) -> None:
    """Play a year and say what became of it."""
    asked = ArgumentParser(description=__doc__)
    asked.add_argument(
        "--days", type=int, help=f"a run on each of so many days; at least {LEAST_DAYS}"
    )
    asked.add_argument("--rounds", type=int, default=USUAL.rounds, help="of each run")
    told = asked.parse_args(arguments)
    course = USUAL._replace(rounds=told.rounds)
    if told.days is not None:
        if told.days < LEAST_DAYS:
            asked.error(f"--days {told.days}: what happens in a year takes {LEAST_DAYS} at least")
        course = Course(runs=told.days, every_days=1, rounds=told.rounds)
    for name in ("flwr", "fedhome.agent"):  # each run tells what it does: months are told here
        logging.getLogger(name).setLevel(logging.ERROR)
    began = time.process_time()

    def downgrade() -> None:
        stored_models.FORMAT = stored_models.USUAL = stored_models.USUAL - 1

    def say(line: str) -> None:
        sys.stdout.write(f"{time.process_time() - began:6.0f} s  {line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        played = play(Path(folder), course, downgrade=downgrade, say=say)
        ratios = [ratio for months in played.ratios.values() for ratio in months]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}, {np.mean(ratios):.2f} in the mean"
        say(f"a home's error in a month as a multiple of that without learning: {span}")
        sizes = " ".join(
            f"{name} {played.year.bytes_in(name):,}" for name in ("hub", *sorted(played.year.homes))
        )
        say(f"bytes: {sizes}; most memory {played.memory[-1] // 1024} MiB")
        played.check()
        say(f"{course.all_runs} runs: every promise was kept")


if __name__ == "__main__":
    main(sys.argv[1:])
