"""What a run begins with, and what of it homes use, as people on the server type it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.errors import FedHomeError
from fedhome.fleet.owner_folder import Fleet
from fedhome.plan.settings import Plan
from fedhome.registry import Registry
from fedhome.run.events import EventLog
from fedhome.run.results import ROUNDS, rounds_table
from fedhome.server.daemon.current_run import FINISHED, Runs
from fedhome.server.daemon.initialise import make_server
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.status import status_of
from helpers.living import tiny_plan

HOMES = 5
PASSPHRASE = "a passphrase that is long enough"  # noqa: S105 - of a fleet in a temporary folder


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan(HOMES, 3)


@pytest.fixture
def place(tmp_path: Path) -> ServerFolder:
    """A server's folder whose fleet has a directory."""
    owner = tmp_path / "owner"
    with Fleet.create(owner, PASSPHRASE) as fleet:
        fleet.add_trial(*(f"home-{number}" for number in range(HOMES)))
        fleet.sign(PASSPHRASE, corrupt=0.25, dropped=0.2, committee=None)
    return make_server(
        tmp_path / "hub", hosts=["hub.example"], port=8443, listen="127.0.0.1", fleet=owner
    )


def said(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: str | Path) -> FedHomeError:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, FedHomeError), done.output
    return done.exception


def _done(place: ServerFolder, plan: Plan, name: str, value: float) -> None:
    """Put a run among those of a server, of which the rounds are done."""
    runs = Runs(place)
    runs.begin(plan, name)
    folder = runs.folder(name)
    with EventLog(folder.events_path) as log:
        log.append("run-started", plan=plan.name, run=name)
    row = dict.fromkeys(ROUNDS.names, 1) | {"round": 3, "homes_answered": HOMES}
    folder.write_rounds(rounds_table([row]))
    model = {"w": np.full(2, value, np.float32)}
    folder.write_model(model, plan=plan.name, round_number=3, learnt="level")
    runs.end(name, FINISHED)


@pytest.mark.long
def test_what_a_run_ended_with_is_promoted_by_hand(place: ServerFolder, plan: Plan) -> None:
    for name, value in (("first", 1.0), ("second", 2.0)):
        _done(place, plan, name, value)
        assert f"of {name}, " in said("model", "promote", name, "--server", place.path)
    said_again = said("model", "promote", "second", "--server", place.path)
    assert "release 2, round 3 of second, is in use already" in said_again
    assert "release 3: " in said("model", "promote", "first", "--server", place.path)
    registry = Registry.open(place.path / "models")
    last = registry.find("latest").manifest
    assert (last.restores, last.homes) == (1, HOMES)
    assert registry.load().flat.tolist() == [1.0, 1.0]
    assert registry.server == place.keys().public


def test_where_there_is_no_server_that_is_told(tmp_path: Path) -> None:
    error = refused("model", "promote", "mine", "--server", tmp_path)
    assert error.message == f"there is no server.toml in {tmp_path}"


@pytest.mark.long
def test_a_run_that_has_no_result_is_not_promoted(place: ServerFolder, plan: Plan) -> None:
    error = refused("model", "promote", "mine", "--server", place.path)
    assert "there is no run 'mine'" in error.message
    assert error.hint == "none was begun yet"
    Runs(place).begin(plan, "mine")
    for name in ("mime", "../runs/mine"):
        error = refused("model", "promote", name, "--server", place.path)
        assert f"there is no run {name!r}" in error.message
        assert error.hint == "there was mine"
        assert ("did you mean 'mine'?" in error.message) == (name == "mime")
    error = refused("model", "promote", "mine", "--server", place.path)
    assert "the rounds of mine are not done" in error.message
    assert "--resume mine" in error.hint


def test_a_full_disk_is_told_with_what_becomes_of_runs(
    place: ServerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("is full" in fault for fault in status_of(place).faults)
    none = shutil.disk_usage(place.path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: none)
    (fault,) = [fault for fault in status_of(place).faults if "is full" in fault]
    assert "runs pause until there is room" in fault


def test_a_run_begins_anew_where_that_is_asked(place: ServerFolder, plan: Plan) -> None:
    runs = Runs(place)
    runs.begin(plan, "first")
    assert (runs.folder("first").fresh, runs.folder("first").read_draw()) == (False, 0)
    runs.end("first", FINISHED)
    runs.begin(plan, "second", fresh=True)
    assert runs.folder("second").fresh
    assert runs.folder("second").read_draw() > 0
    refusal = refused("server", "run", "--fresh", "--server", place.path)
    assert "--fresh are for a new run" in refusal.message


def test_a_fleet_whose_runs_were_removed_has_trained_all_the_same(
    place: ServerFolder, plan: Plan
) -> None:
    (place.path / "models").mkdir()
    (place.path / "models" / "registry.fh").touch()
    Runs(place).begin(plan, "mine")
    assert Runs(place).folder("mine").read_draw() > 0, "homes answer once about the first model"
