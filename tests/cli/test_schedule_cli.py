"""`fedhome server schedule`: sets a timetable, says when, and ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.cli.server_words import rows_of
from fedhome.errors import DirectoryError, PlanError, RunError
from fedhome.plan.settings import Plan
from fedhome.server.daemon.run_schedule import (
    SCHEDULE,
    RunSchedule,
    read_schedule,
    write_schedule,
)
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.server.daemon.server_status import ServerStatus
from fedhome.server.daemon.status import _timetable, timetable_of
from helpers.json_guide import checked
from helpers.server_states import CALM

NIGHTLY = RunSchedule(every_s=86_400, at="03:00", since_s=1_000_000, plan=Plan(name="nightly"))


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    settings = ServerSettings(host="127.0.0.1", port=1)
    return ServerFolder.create(tmp_path / "hub", settings, names=["localhost"]).path


def typed(*words: str) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(app, ["server", "schedule", *words])
    return result.stdout.strip(), result.exception


def test_it_says_when_the_next_run_is_due_and_ends_the_timetable(hub: Path) -> None:
    assert typed("--server", str(hub)) == ("no run begins by itself", None)
    write_schedule(hub, NIGHTLY)
    text, _ = typed("--server", str(hub))
    assert text.startswith("runs of nightly begin every day at 03:00 (UTC); the next one ")
    next_one, warning = text.split("\n")
    assert next_one.endswith("03:00 UTC")
    assert warning.startswith("no server runs in ")
    assert typed("--server", str(hub), "--off") == ("no run begins by itself", None)
    assert read_schedule(hub) is None


def test_programs_and_the_status_are_told_of_the_timetable(hub: Path) -> None:
    told = checked("server schedule", typed("--server", str(hub), "--json")[0])
    assert told == {"running": False, "timetable": None}
    write_schedule(hub, NIGHTLY)
    timetable = checked("server schedule", typed("--server", str(hub), "--json")[0])["timetable"]
    assert timetable["following"].endswith("T03:00:00+00:00")
    assert (timetable["plan"], timetable["every_s"]) == ("nightly", 86_400)
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    kept = read_schedule(hub)
    assert kept is not None
    status = replace(CALM, timetable=timetable_of(kept, now))
    assert ServerStatus.from_json(status.as_json()) == status
    words = "nightly every day at 03:00 (UTC); the next one 2026-03-02 03:00 UTC"
    assert dict(rows_of(status))["by itself"] == words
    assert "by itself" not in dict(rows_of(CALM))


def test_a_timetable_that_is_damaged_is_among_what_is_wrong(hub: Path) -> None:
    (hub / SCHEDULE).write_text("every = 3")
    faults: list[str] = []
    assert _timetable(ServerFolder(hub), faults, datetime(2026, 3, 1, tzinfo=UTC)) is None
    assert "write it anew" in faults[0]


def test_what_cannot_be_is_refused_and_the_timetable_stays(hub: Path) -> None:
    write_schedule(hub, NIGHTLY)
    for words, error in (
        (("default", "--off"), PlanError),
        (("--at", "03:00"), PlanError),
        (("default", "--time-zone", "Europe/Berlin"), PlanError),
        (("default", "--every", "1h"), RunError),
        (("default", "--every", "now"), PlanError),
        (("default", "--at", "noon"), RunError),
        (("default", "--at", "03:00"), DirectoryError),  # nobody has admitted homes yet
    ):
        assert isinstance(typed(*words, "--server", str(hub))[1], error), words
    assert read_schedule(hub) == NIGHTLY
