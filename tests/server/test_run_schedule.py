"""A server begins runs by its timetable: each moment once, and none while a run is in progress."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import FedHomeError, RunError
from fedhome.plan.settings import Plan
from fedhome.server.daemon.current_run import FINISHED, Current, Runs
from fedhome.server.daemon.run_schedule import (
    SCHEDULE,
    RunSchedule,
    last_done,
    read_schedule,
    write_schedule,
)
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.server.daemon.timetable import Timetable

DAY = 86_400
BERLIN = ZoneInfo("Europe/Berlin")


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=BERLIN).timestamp())  # type: ignore[misc,arg-type]


SINCE = at(2026, 3, 27, 12)
NIGHTLY = RunSchedule(
    every_s=DAY, at="03:00", time_zone="Europe/Berlin", since_s=SINCE, plan=Plan(name="nightly")
)


class Server:
    """A server's folder, its timetable, and a clock that is set by hand."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = ServerSettings(host="127.0.0.1", port=1)
        self.folder = ServerFolder.create(path / "hub", settings, names=["localhost"])
        self.runs, self.now, self.said = Runs(self.folder), float(SINCE), list[str]()
        self.begun: list[str] = []
        monkeypatch.setattr(self.runs, "begin", self._begin)
        self.begin_again()

    def begin_again(self) -> None:
        self.timetable = Timetable(self.folder, self.runs, self.said.append, lambda: self.now)

    def _begin(self, plan: Plan) -> Current:
        self.begun.append(plan.name)
        return self.runs._write(Current(run=f"{plan.name}-{len(self.begun)}"))

    def tend(self, now: int) -> None:
        self.now = now
        self.timetable.tend()

    def finish(self) -> None:
        self.runs.end(f"nightly-{len(self.begun)}", FINISHED)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server(tmp_path, monkeypatch)
    write_schedule(server.folder.path, NIGHTLY)
    return server


def test_each_moment_begins_one_run_by_the_clock_on_the_wall(server: Server) -> None:
    for day in (28, 29, 30):  # the clocks change on the 29th
        server.tend(at(2026, 3, day, 2, 59) if day != 29 else at(2026, 3, 29, 1, 59))
        assert len(server.begun) == day - 28
        for minute in (0, 1, 30):
            server.tend(at(2026, 3, day, 3, minute))
        assert len(server.begun) == day - 27
        server.finish()


def test_what_passed_while_the_server_was_down_is_made_up_for_once(server: Server) -> None:
    server.tend(at(2026, 4, 8, 17))
    server.finish()
    server.begin_again()
    server.tend(at(2026, 4, 8, 18))
    assert server.begun == ["nightly"]
    assert "made up for" in server.said[1]


def test_a_moment_while_a_run_is_in_progress_is_left_out_and_told_once(server: Server) -> None:
    server.tend(at(2026, 3, 28, 3))
    server.tend(at(2026, 3, 29, 3))
    server.tend(at(2026, 3, 29, 4))
    assert server.begun == ["nightly"]
    assert [line for line in server.said if "nightly-1 is still in progress" in line] == [
        server.said[-1]
    ]
    server.finish()
    server.tend(at(2026, 3, 30, 3))
    assert len(server.begun) == 2


def test_a_run_that_cannot_begin_is_told_and_the_next_moment_tries(server: Server) -> None:
    def refused(plan: Plan) -> Current:
        raise RunError(f"{plan.name}: no directory", hint="sign one")

    begin, server.runs.begin = server.runs.begin, refused  # type: ignore[method-assign,assignment]
    server.tend(at(2026, 3, 28, 3))
    assert "no directory; sign one; the next one is due 2026-03-29 01:00 UTC" in server.said[-1]
    server.runs.begin = begin  # type: ignore[method-assign]
    server.tend(at(2026, 3, 28, 4))
    assert not server.begun
    server.tend(at(2026, 3, 29, 3))
    assert server.begun == ["nightly"]


def test_a_clock_that_is_set_back_keeps_no_run_from_beginning(server: Server) -> None:
    server.tend(at(2027, 3, 28, 4))
    server.finish()
    server.tend(at(2026, 4, 1, 4))
    server.tend(at(2026, 4, 2, 4))
    assert len(server.begun) == 2
    assert "set back" in "".join(server.said)


def test_it_ends_and_a_damaged_one_is_told(server: Server) -> None:
    server.tend(SINCE)
    write_schedule(server.folder.path, None)
    server.tend(at(2026, 5, 1, 3))
    assert server.said[-1] == "no run begins by itself any more"
    (server.folder.path / SCHEDULE).write_text("every = '1d'\nat = 'noon'\nsince = 1\n")
    server.tend(at(2026, 5, 2, 3))
    assert "'noon' is no time of the day" in server.said[-1]
    assert not server.begun
    assert last_done(server.folder.path) == 0


def test_it_reads_back_as_it_was_written(server: Server) -> None:
    assert read_schedule(server.folder.path) == NIGHTLY


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"every_s": 3600}, "three runs a day"),
        ({"every_s": DAY + 3600}, "no whole number of days"),
        ({"at": "24:00"}, "no time of the day"),
        ({"time_zone": "Europe/Berln"}, "no time zone"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, object], said: str) -> None:
    fields = {"every_s": DAY, "at": "03:00", "since_s": SINCE, "plan": Plan(), **changed}
    with pytest.raises(FedHomeError, match=said):
        RunSchedule(**fields)  # type: ignore[arg-type]


@given(
    st.integers(1, 9), st.integers(0, 23), st.integers(0, 400 * DAY), st.sampled_from([True, False])
)
def test_latest_and_following_are_neighbours(days: int, hour: int, later: int, timed: bool) -> None:
    schedule = RunSchedule(
        every_s=days * DAY,
        at=f"{hour:02}:30" if timed else "",
        time_zone="Europe/Berlin",
        since_s=SINCE,
        plan=Plan(),
    )
    now = SINCE + later
    latest, following = schedule.latest(now), schedule.following(now)
    assert following > now
    assert schedule.latest(following - 1) == latest
    assert schedule.latest(following) == following
    if latest is not None:
        assert SINCE < latest <= now
        assert schedule.following(latest) == following
        assert abs(following - latest - days * DAY) <= 3600
