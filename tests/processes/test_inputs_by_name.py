"""Homes whose files differ: simulation, `fedhome up` and a real fleet give the same weights.

Three folders of the same homes: one as it should be; one in which columns have other places, and
homes have more of them; and the same with homes that do not fit, which are left out and named.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedhome
from fedhome.cli.like import like
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.questions.settings import OTHER_INPUTS
from fedhome.reasons import word_in
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import DONE
from fedhome.simulations import local_fleet
from fedhome.simulations.gather import find
from helpers.living import assert_same_weights
from helpers.shared_cases import readings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes that end with this one"),
]

HOMES, HOURS = 5, 24 * 9
WORDS = ["off", "warm", "cold", "mild", "away"]
PLACES = ["outdoor", "mode", "load", "wind"]
BEGIN = np.datetime64("2024-03-01T00:00")


def write_home(path: Path, number: int, order: Sequence[str], extra: Sequence[str] = ()) -> None:
    """Write a home that knows three of the fleet's five words."""
    draw = np.random.default_rng(number)
    own = [WORDS[number % 5], WORDS[(number + 1) % 5], WORDS[(number + 3) % 5]]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time", *order, *extra])
        for hour in range(HOURS):
            outdoor = 8 + 6 * np.sin(2 * np.pi * hour / 24) + draw.normal()
            load = 0.4 + 0.1 * (hour % 24 in range(17, 22)) + 0.02 * outdoor + 0.05 * draw.normal()
            cells = {
                "outdoor": f"{outdoor:.3f}" if hour % 41 else "",
                "mode": own[int(outdoor > 5) + int(outdoor > 11)],
                "load": f"{load:.4f}",
                "wind": f"{draw.gamma(2):.2f}",
            }
            time = str(BEGIN + np.timedelta64(hour, "h"))
            rows.writerow([f"{time}:00Z", *(cells[name] for name in order), *extra])


def folders(root: Path) -> tuple[Path, Path, Path]:
    """Write the homes thrice: as they should be, with other columns, and with some that differ."""
    plain, other, odd = root / "plain", root / "other", root / "odd"
    for folder in (plain, other, odd):
        folder.mkdir()
    for number in range(HOMES):
        turned = PLACES if not number else [*PLACES[number % 4 :], *PLACES[: number % 4]][::-1]
        write_home(plain / f"home-{number}.csv", number, PLACES)
        extra = ["garage"] if number in (2, 3) else []
        for folder in (other, odd):
            write_home(folder / f"home-{number}.csv", number, turned, extra)
    write_home(odd / "home-lacks.csv", 7, ["outdoor", "load", "wind"])
    return plain, other, odd


def plan_of(folder: Path, mode: str = "secure", **data: Any) -> Plan:
    return Plan.load(
        name="village",
        seed=5,
        data={"source": str(folder), "target": "load", "gap": 2, "lags": [1, 2, 24], **data},
        model={"hidden": [6]},
        rounds={"count": 2, "deadline_s": 60},
        personalise={"name": "none"},
        engine={"name": "sequential"},
        aggregation={"mode": mode},
    )


def weights(run: RunFolder) -> Mapping[str, Any]:
    return run.read_model().parameters


def assert_equal(found: RunFolder, expected: RunFolder) -> None:
    ours, theirs = weights(found), weights(expected)
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values)


def real_fleet(
    root: Path, plan: Plan, folder: Path, plans: Mapping[str, Plan] | None = None
) -> RunFolder:
    """Run a plan over agents that read a folder's files; some homes have another plan."""
    root.mkdir()
    some = find(plan).tables[0]
    tables = [replace(some, home=path.stem) for path in sorted(folder.glob("*.csv"))]
    server, homes = local_fleet.prepare(root / "deployment", plan, tables)
    for home in homes:
        name = home.path.name
        home.fill(
            replace(home.settings, data=str(folder / f"{name}.csv")),
            plan=(plans or {}).get(name, plan),
            anchor=home.anchor,
            authorities=home.authorities,
        )
    run = RunFolder.create(root / "run", name=plan.name)
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        local_fleet.start(processes, server, homes)
        module = "fedhome.server.daemon.deploy"
        words = (module, str(server.path), str(run.path), "120")
        processes.start("run", *words, log=server.logs / "run.log", ends=(DONE, 1))
        assert processes.wait("run") == DONE, (server.logs / "run.log").read_text()
    return run


def excluded(run: RunFolder) -> dict[str, str]:
    return {
        str(event.data["home"]): str(event.data["reason"])
        for event in run.read_events()
        if event.event == "home-excluded"
    }


def test_columns_in_other_places_change_no_weight(tmp_path: Path) -> None:
    plain, other, _ = folders(tmp_path)
    simulated = fedhome.simulate(plan_of(plain), out=tmp_path / "simulated").folder
    again = fedhome.simulate(plan_of(other), out=tmp_path / "again").folder
    assert_equal(again, simulated)
    notes = [str(event.data["text"]) for event in again.read_events() if event.event == "note"]
    assert "home-2, home-3: not used, as not in all homes or not in the plan: garage" in notes

    up = local_fleet.up(plan_of(other), out=tmp_path / "up")
    assert_same_weights(up, simulated)

    # An owner's example, not what is in each home's file, says what the inputs are.
    plan = like(plan_of(plain), plain).plan
    assert [spec.name for spec in plan.data.inputs or ()] == ["outdoor", "mode", "wind"]
    assert_same_weights(real_fleet(tmp_path / "real", plan, other), simulated)


@pytest.mark.parametrize("mode", ["secure", "plain"])
def test_homes_that_differ_are_left_out_and_named_on_both_sides(tmp_path: Path, mode: str) -> None:
    """One home lacks a column, one was invited to another plan: the others go on."""
    plain, _, odd = folders(tmp_path)
    simulated = fedhome.simulate(plan_of(plain, mode), out=tmp_path / "simulated").folder
    plan = like(plan_of(plain, mode), plain).plan
    write_home(odd / "home-old.csv", 8, PLACES)
    former = plan.change(data={"lags": [1, 2], "indicators": []})
    run = real_fleet(tmp_path / "real", plan, odd, {"home-old": former})
    left = excluded(run)
    assert set(left) == {"home-lacks", "home-old"}
    assert word_in(left["home-lacks"]) == "unlike"
    assert OTHER_INPUTS in left["home-old"] or word_in(left["home-old"]) == "inputs"
    assert "mode" not in left["home-lacks"], "which column it is, is not told"
    for column in ("homes_asked", "homes_answered"):
        assert run.read_rounds().column(column).to_pylist() == [HOMES] * 2
    assert_same_weights(run, simulated)
    logs = tmp_path / "real" / "deployment" / "server" / "logs"
    for name, word, told in (
        ("home-lacks", "unlike", "lacks the column mode"),
        ("home-old", "inputs", OTHER_INPUTS),
    ):
        log = (logs / f"{name}.log").read_text()
        assert told in log
        assert f"WARNING {word}: " in log


def test_the_case_of_columns_whose_order_matters(tmp_path: Path) -> None:
    """Six homes, three of them with humidity before temp_c."""
    case = readings("65-column-order-matters")
    plan = Plan.load(
        seed=3,
        data={"source": str(case), "target": "load_kwh"},
        rounds={"deadline_s": 60},
        personalise={"name": "none"},
        engine={"name": "sequential"},
    )
    simulated = fedhome.simulate(plan, out=tmp_path / "simulated").folder
    named = like(plan, case / "home1.csv").plan
    assert [spec.name for spec in named.data.inputs or ()] == ["humidity", "temp_c"]
    named = like(plan, case).plan
    run = real_fleet(tmp_path / "real", named, case)
    found, expected = (
        one.read_rounds().column("validation_loss").to_pylist() for one in (run, simulated)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert_same_weights(run, simulated)
