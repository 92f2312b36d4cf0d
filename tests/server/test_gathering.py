"""A run that is about to begin: it names who is missing, and its state says that it waits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog, read_events
from fedhome.run.waiting import what_it_waits_for
from fedhome.server.daemon import deploy
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.sum_needs import SumNeeds

HOMES = ("ash", "elm", "fir", "oak", "pine", "yew")


class Clock:
    """A clock that goes on when somebody sleeps; homes come at their time."""

    def __init__(self, come: dict[str, float]) -> None:
        self.now, self.come, self.homes = 0.0, come, HOMES

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 1000

    def away(self) -> list[str]:
        return [home for home in HOMES if self.come.get(home, 0) > self.now]

    def there(self) -> set[str]:
        return {*HOMES} - {*self.away()}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.jsonl") as opened:
        yield opened


def gathered(
    monkeypatch: pytest.MonkeyPatch, log: EventLog, come: dict[str, float], wait_s: float = 90
) -> Clock:
    clock: Any = Clock(come)
    plan = Plan.load(aggregation={"min_cohort": 5})
    needs = SumNeeds(plan=plan, homes=HOMES)
    patience = Patience(
        plan.rounds,
        needs=needs,
        there=clock.there,
        log=log,
        clock=clock.monotonic,
        sleep=clock.sleep,
    )
    monkeypatch.setattr(deploy, "time", clock)
    deploy._gather(clock, plan, log, patience, wait_s=wait_s, enough_s=math.inf)
    return clock


def test_a_run_without_enough_homes_waits_in_its_state_after_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, log: EventLog, tmp_path: Path
) -> None:
    """It was said to be running for a minute and a half, and its log did not say for whom."""
    told: list[str] = []
    log_append = log.append

    def append(event: str, **data: Any) -> Any:
        log_append(event, **data)
        told.append(what_it_waits_for(read_events(tmp_path / "events.jsonl")))

    monkeypatch.setattr(log, "append", append)
    clock = gathered(monkeypatch, log, {"oak": 40, "yew": 60})
    assert clock.now == pytest.approx(60, abs=1)
    events = read_events(tmp_path / "events.jsonl")
    assert [event.event for event in events] == ["waiting", "waiting-over"]
    assert " for oak, yew: 4 of 6 homes, 5 are needed" in told[0]
    assert told[1] == ""


def test_who_may_still_come_is_named_where_enough_are_there(
    monkeypatch: pytest.MonkeyPatch, log: EventLog, tmp_path: Path
) -> None:
    clock = gathered(monkeypatch, log, {"yew": 500})
    assert clock.now == pytest.approx(90, abs=1)
    (note,) = read_events(tmp_path / "events.jsonl")
    assert note.data["text"] == "waiting for yew, 90 s at most: 5 of 6 homes are there"


def test_nothing_is_said_where_all_come_soon(
    monkeypatch: pytest.MonkeyPatch, log: EventLog, tmp_path: Path
) -> None:
    clock = gathered(monkeypatch, log, dict.fromkeys(HOMES, 5))
    assert clock.now == pytest.approx(5, abs=1)
    assert not (tmp_path / "events.jsonl").read_bytes()
