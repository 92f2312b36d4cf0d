"""`fedhome client predict` of a home whose plan names several horizons."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedhome.cli import ages
from fedhome.clients.agent.own_model import EndedRuns, OwnModelKeeper, keep_ended
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.own_readings import source_of
from fedhome.errors import DataError, RunError
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Constant, PerHorizon, Seasonal
from fedhome.learning.personalise.home_end import HomeEnd
from helpers.client_world import fedhome, refused
from helpers.kept_home import HOME, HOURS, NUMBERS, home_in, kept_home

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks"),
    pytest.mark.long,
]
AHEAD = ("1h", "6h", "1d")
LAST = 1_700_006_400 + 3600 * (HOURS - 1)  # 2023-11-28 23:00 UTC
GOOD, POOR = 0.0, 3.0  # spreads from the mean


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    """A home whose model is good an hour and a day ahead, and poor six hours ahead."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(ages, "now", lambda: LAST + 600.0)
    place = kept_home(tmp_path, NUMBERS.change(data={"horizon": AHEAD, "lags": ["1h"]}))
    home = home_in(place)
    experts = PerHorizon(tuple(Constant(np.array([one])) for one in (GOOD, POOR, GOOD)))
    width = np.tile([1.0, 2.0, 3.0], (4, 1))
    home.device.memory.setdefault("ended", {})[HOME] = HomeEnd(
        weights={"ridge": 1.0},
        models={"ridge": experts},
        naive=Seasonal(0, len(AHEAD)),
        by=Reach(-width, width),
    )
    runs = EndedRuns(home, place, source_of(place))
    keep_ended(runs, OwnModelKeeper(place), run=1)
    return place


def told(place: HomeFolder, *words: object) -> list[dict[str, Any]]:
    done = fedhome("predict", place.path, *words, "--json")
    assert done.exit_code == 0, done.exception
    return [json.loads(line) for line in done.output.splitlines()]


def test_each_horizon_has_a_line_for_scripts_and_gives_way_by_itself(place: HomeFolder) -> None:
    lines = told(place)
    assert [line["horizon"] for line in lines] == list(AHEAD)
    hours = ["2023-11-29T00", "2023-11-29T05", "2023-11-29T23"]
    assert [line["time"][:13] for line in lines] == hours
    assert [line["by"] for line in lines] == ["model", "without-learning", "model"]
    widths = [line["model"]["high"] - line["model"]["low"] for line in lines]
    np.testing.assert_allclose(np.array(widths) / widths[0], [1.0, 2.0, 3.0])


def test_one_horizon_is_told_as_of_a_plan_that_has_no_other(place: HomeFolder) -> None:
    (line,) = told(place, "--horizon", "24h")
    assert line == told(place)[2]
    shown = fedhome("predict", place.path, "--horizon", "6h").output
    assert "load of kitchen, 2023-11-29 05:00 UTC, 6h ahead" in shown
    assert "by its model" in shown
    refused(fedhome("predict", place.path, "--horizon", "2h"), RunError, "no horizon '2h'")


@pytest.mark.parametrize(("width", "side_by_side"), [("120", True), ("45", False)])
def test_all_horizons_are_one_table(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch, width: str, side_by_side: bool
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    shown = fedhome("predict", place.path).output
    rows = [line for line in shown.splitlines() if line.lstrip().startswith(AHEAD)]
    assert [row.split()[0] for row in rows[:3]] == list(AHEAD)
    assert ("8 times in 10: " in shown) is not side_by_side
    assert "6h ahead: on the newest" in " ".join(shown.replace("│", " ").split())
    assert max(map(len, shown.splitlines())) <= int(width)


def test_a_moment_is_told_as_each_horizon_said_it(place: HomeFolder) -> None:
    lines = told(place, "--at", "2023-11-28T12:00")
    assert {line["time"][:13] for line in lines} == {"2023-11-28T12"}
    without = [line["without_learning"] for line in lines]
    assert len(set(without)) == len(AHEAD)  # what was newest an hour, six hours, a day before


def test_a_moment_that_is_too_far_for_one_horizon_is_told_by_the_others(place: HomeFolder) -> None:
    lines = told(place, "--at", "2023-11-29T03:00")  # the newest reading is of 23:00
    assert [line["horizon"] for line in lines] == ["6h", "1d"]
    for line in lines:
        assert [note[:10] for note in line["notes"] if "ahead: " in note] == ["1h ahead: "]
    shown = " ".join(fedhome("predict", place.path, "--at", "2023-11-29T03:00").output.split())
    assert "1h ahead: " in shown
    done = fedhome("predict", place.path, "--at", "2024-01-01")
    refused(done, DataError, "2024-01-01")


def test_the_watch_has_a_line_for_each_horizon(place: HomeFolder) -> None:
    command = ["client", "predict", str(place.path), "--watch", "--every", "1s"]
    with subprocess.Popen(
        [sys.executable, "-m", "fedhome", *command], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in AHEAD]
        watching.send_signal(signal.SIGTERM)
        assert not watching.stdout.read()
    for line, horizon in zip(lines, AHEAD, strict=True):
        assert f"load ({horizon} ahead)" in line
