"""Homes that a run goes on without are named in its log, with the reason, until they are back."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from fedhome.run.events import EventLog, read_events
from fedhome.run.progress import ProgressLines
from fedhome.server.rounds.absences import LATE, NOT_CONNECTED, Absences

HOMES = ("elm", "oak", "yew")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.jsonl") as log:
        yield log


def told(tmp_path: Path) -> list[tuple[str, object, object]]:
    events = read_events(tmp_path / "events.jsonl")
    return [(event.event, event.data["homes"], event.data.get("reason")) for event in events]


def test_who_is_away_is_told_once_and_so_is_who_is_back(log: EventLog, tmp_path: Path) -> None:
    absences = Absences(log)
    absences.see(HOMES, HOMES, HOMES)
    assert told(tmp_path) == [], "nobody is away: there is nothing to tell"
    for _ in range(3):
        absences.see(HOMES, {"oak", "elm"}, {"oak"})
    absences.see(HOMES, {"oak"}, {"oak"})
    absences.see(HOMES, HOMES, {"elm", "oak", "yew"})
    assert told(tmp_path) == [
        ("homes-away", ["yew"], NOT_CONNECTED),
        ("homes-away", ["elm"], LATE),
        ("homes-away", ["elm"], NOT_CONNECTED),
        ("homes-back", ["elm", "yew"], None),
    ]


def test_whoever_follows_the_run_reads_it(log: EventLog) -> None:
    shown = io.StringIO()
    log.subscribe(ProgressLines(Console(file=shown, width=200)))
    absences = Absences(log)
    absences.see(HOMES, {"oak"}, {"oak"})
    absences.see(HOMES, HOMES, HOMES)
    assert shown.getvalue().splitlines() == [
        f"without elm, yew: {NOT_CONNECTED}",
        "back: elm, yew",
    ]
