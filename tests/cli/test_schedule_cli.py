"""`fedhome server schedule`: sets a timetable, says when, and ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.errors import DirectoryError, PlanError, RunError
from fedhome.plan.settings import Plan
from fedhome.server.daemon.run_schedule import RunSchedule, read_schedule, write_schedule
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings

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
