"""A fleet that nobody touches for a year keeps predicting better than no learning, and stays small.

A clock that jumps takes the place of waiting; :mod:`helpers.virtual_year` says what is real. Runs
are two weeks apart, in the last fortnight a day, and the days between are predicted day by day.
Processes and connections are the subject of :mod:`fedhome.simulations.benchmarks.weather`.
"""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from fedhome.clients.membership.own_models import OwnModels
from fedhome.personal import stored_models
from fedhome.plan.time_steps import DAY_S
from fedhome.server.daemon.publishing import RELEASED
from helpers.registry_world import Crash
from helpers.virtual_year import Year

RUNS, EVERY_DAYS = 26, 14
DAILY = 14
"""Runs at the year's end that are a day apart."""
JOINS, LEAVES, RESTORED, MISSES = "h09", "h08", "h03", "h01"
"""``MISSES`` is away while the others' models are made in another format."""
KILLED, JOINED, COPIED, ROLLED_BACK, CAME_BACK, SIGNED, LEFT, SET_BACK, UPGRADED = (
    6,
    9,
    10,
    12,
    14,
    15,
    17,
    18,
    20,
)
"""In which run the process is killed, a home joins, and so on."""
SETTLED = 8
"""After so many runs nothing grows any more: the server keeps four, and a home two models."""
FEWEST_MONTHS = 8
"""Of which there are predictions: those of a home that joins after four, which then learns."""
ROUNDING = 1.005
"""Errors of a month differ by this much between kinds of processors."""


@pytest.mark.slow
@pytest.mark.timeout(1500)  # eighty seconds, and ten times that beside other work
def test_a_year_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    year = Year(tmp_path, days=RUNS * EVERY_DAYS + DAILY, every_days=EVERY_DAYS)
    year.set_timetable()
    year.homes[JOINS].there = False
    began, sizes, memory = list[str](), list[dict[str, int]](), list[int]()
    for number in range(1, RUNS + DAILY + 1):
        if number == RUNS + 1:
            year.every_s = DAY_S
            year.set_timetable()
        year.jump(year.every_s)
        _happen(year, number, tmp_path / "copy")
        away = year.draw.sample(sorted(year.homes), year.draw.choice((0, 0, 1, 2)))
        if number == UPGRADED:
            monkeypatch.setattr(stored_models, "FORMAT", stored_models.FORMAT + 1)
            away = [MISSES]
        began.append(year.tend(away=away, crash=Crash if number == KILLED else None))
        assert year.tend() == "", "each moment begins one run"
        sizes.append(year.sizes())
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    assert began == [f"nightly-{number}" for number in range(1, RUNS + DAILY + 1)]
    assert year.refusals == [], "no home refused anything, so nobody had to see to it"
    assert not {"round-failed", "round-unused", "home-excluded", "release-failed"} & year.kinds
    assert not [line for line in year.told if "cannot" in line or "waits" in line]
    assert "run-resumed" in year.kinds
    assert any("made up for" in line for line in year.told)

    ratios = {home.name: home.monthly(year.begin) for home in year.homes.values()}
    assert [
        name for name, months in ratios.items() if len(months) < RUNS * EVERY_DAYS // 30 - 4
    ] == []
    worse = {name: max(months) for name, months in ratios.items() if max(months) > ROUNDING}
    assert not worse, "nobody's prediction is worse over a month than the forecast without learning"
    assert np.mean([np.mean(months) for months in ratios.values()]) < 0.8
    assert year.gave_way, "a model that was worse for some days gave way: the check has been needed"
    assert all(OwnModels(home.place.path, home.name).read() for home in year.homes.values())

    assert year.homes[MISSES].fleets == 1, "the fleet's model stood in until its next run"
    assert year.homes[LEAVES].fleets == RUNS + DAILY - UPGRADED, "and where no run came any more"
    assert sum(home.fleets > 0 for home in year.homes.values()) == 2
    year.check_certificate()
    assert year.renewed == 1

    registry = year.registry
    assert registry.verify().faults == ()
    assert any(release.manifest.restores for release in registry.releases())
    promoted = [event for event in year.events if event.event == RELEASED]
    assert len(promoted) > RUNS // 2, "the release is renewed, also where seasons change"

    for place in ("server", "homes"):
        assert sizes[-1][place] < 1.25 * sizes[SETTLED][place], place
    assert memory[-1] < memory[SETTLED] + 64 * 1024, "KiB"


def _happen(year: Year, number: int, copy: Path) -> None:
    """Let happen what happens before a run: to homes, to the server, to its clock."""
    if number in {JOINED, LEFT}:
        year.homes[JOINS if number == JOINED else LEAVES].there = number == JOINED
    if number == COPIED:
        year.copy_of(RESTORED, copy)
    if number == CAME_BACK:
        year.restore(RESTORED, copy)
    if number == ROLLED_BACK:
        registry = year.registry
        registry.rollback(registry.releases()[-2], year.world.server)
    if number == SIGNED:
        year.sign_anew()
    if number == SET_BACK:
        year.now -= 2 * 3600
    if number % 4 == 0 and number <= RUNS:
        year.timetable = year.started()
