"""A device joins before its first reading, and takes part once there are some."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from fedhome.clients.agent.resident import Agent
from fedhome.clients.membership.blank_home import blank_findings
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.plan_findings import read_findings
from fedhome.clients.own_readings import read_own, source_of
from fedhome.errors import NoReadingsError, PlanError
from fedhome.fleet.owner_folder import Fleet
from fedhome.fleet.state_file import FileStore
from fedhome.plan.settings import Plan
from fedhome.server.daemon.server_folder import ServerFolder
from helpers.client_world import (
    HOURS,
    PLAN,
    World,
    fedhome,
    front_of,
    owned_in,
    started,
    world_of,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, ServerFolder]]:
    with owned_in(tmp_path_factory.mktemp("fleet")) as owned, front_of(owned[1]):
        yield owned


@pytest.fixture
def world(
    owned: tuple[Fleet, ServerFolder],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    return world_of(owned, tmp_path_factory.mktemp("device"), monkeypatch)


@pytest.fixture
def place(world: World) -> HomeFolder:
    done = fedhome("join", world.invite(), answer="y\n")
    assert done.exit_code == 0, (done.output, done.exception)
    return HomeFolder(world.device / "oak")


@pytest.mark.long
def test_a_device_joins_without_readings_and_has_some_later(world: World) -> None:
    done = fedhome("join", world.invite(), answer="y\n")
    assert done.exit_code == 0, (done.output, done.exception)
    for words in (
        "what the home records",
        "no readings yet",
        "`fedhome client record` has brought some, of load_kwh, outdoor_c",
        "WHAT YOU AGREE TO",
        "record readings: `SENSORS | fedhome client record oak -`",
    ):
        assert words in done.output
    place = HomeFolder(world.device / "oak")
    assert place.settings.data == ""
    assert started(place)
    shown = fedhome("status", place.path).output
    assert "nothing is recorded yet" in shown
    found = json.loads(fedhome("status", place.path, "--json").output)
    assert any("nothing is recorded yet" in fault for fault in found["faults"])
    columns = {one["name"]: one["use"] for one in _inspected(place)["columns"]}
    assert columns == {"load_kwh": "missing", "outdoor_c": "missing"}
    assert fedhome("record", place.path, "readings.parquet").exit_code == 0
    assert "nothing is recorded" not in fedhome("status", place.path).output
    assert _inspected(place)["rows"] == HOURS
    assert fedhome("service", place.path, "--out", world.device).exit_code == 0
    again = fedhome("join", world.invite(), "--yes")  # a newer invite changes nothing of that
    assert again.exit_code == 0, (again.output, again.exception)
    assert f"{HOURS} rows over 9.0 days" in again.output


def _inspected(place: HomeFolder) -> dict[str, list[dict[str, str]]]:
    return dict(json.loads(fedhome("inspect", place.path, "--json").output))


def test_what_it_agrees_to_is_what_it_would_with_readings(world: World) -> None:
    blank = blank_findings(PLAN, home="oak")
    read = read_findings(PLAN, world.device / "readings.parquet", home="oak")
    assert (blank.inputs, blank.parameters) == (read.inputs, read.parameters)
    assert (blank.rows, blank.examples) == (0, (0, 0, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"inputs": [{"name": "room", "kind": "words", "words": ["den", "hall"]}]}},
        {"data": {"inputs": [{"name": "open", "kind": "flag"}], "lags": ["1h", "1d"], "gap": "1h"}},
        {"data": {"step": "15min", "indicators": ["outdoor_c"]}},
        {
            "data": {"horizon": 0, "lags": [], "gap": 0, "target_unit": ""},
            "task": {"kind": "multi-class", "classes": ["home", "out", "asleep"]},
        },
        {
            "data": {"horizon": 0, "lags": [], "gap": 0, "split_by": "class", "target_unit": ""},
            "task": {"kind": "binary", "classes": ["home", "out"]},
        },
    ],
)
def test_the_size_of_its_model_follows_from_the_plan(changes: dict[str, object]) -> None:
    plan = PLAN.change(**changes)
    found = blank_findings(plan, home="oak")
    assert found.inputs > 0
    assert found.parameters > 4 * found.inputs


def test_a_plan_that_leaves_the_size_of_its_model_to_readings_is_refused() -> None:
    plan = PLAN.change(data={"lags": None})
    with pytest.raises(PlanError, match=r"data\.lags is not set") as caught:
        blank_findings(plan, home="oak")
    assert "--data" in caught.value.hint


@pytest.mark.long
def test_its_agent_says_once_that_it_has_none(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with FileStore.open(place.path, home="oak") as store:
        agent = Agent(place, store)
        agent.stop()
        agent.run()
        assert caplog.text.count("nothing is recorded yet") == 1
        assert fedhome("record", place.path, "readings.parquet").exit_code == 0
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            agent.run()
    assert "nothing is recorded yet" not in caplog.text


@pytest.mark.long
def test_what_reads_it_says_how_it_gets_some(place: HomeFolder) -> None:
    with pytest.raises(NoReadingsError, match="oak has no readings yet") as caught:
        read_own(Plan.load(place.plan_path), source_of(place), name="oak")
    assert "client record" in caught.value.hint
