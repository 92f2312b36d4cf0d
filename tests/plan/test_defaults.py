"""One set of defaults: whoever is asked for them, and whatever runs by them, has the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedhome
from fedhome.cli import app
from fedhome.cli.fleet_words import plan_of
from fedhome.cli.plan import settings
from fedhome.cli.scenarios import named_plan
from fedhome.cli.simulate import resolve
from fedhome.clients.home import real_home
from fedhome.data.files.home_parquet import write_home
from fedhome.learning.settled_plan import settled
from fedhome.plan.data_settings import SYNTHETIC_HISTORY_DAYS, SYNTHETIC_HOMES
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.simulations import datasets
from fedhome.simulations.gather import gather
from fedhome.simulations.homes import generate
from helpers.living import named

ROOT = Path(__file__).parents[2]
SCENARIOS = {  # name: learning rate, days of history that homes keep
    "activity": (0.1, None),
    "energy-homes17": (0.02, None),
    "few-days": (0.1, 3),
    "months": (0.05, 90),
    "newcomers": (0.1, 28),
    "stragglers": (0.05, 35),
}


class _Begun(Exception):  # noqa: N818 - ends a simulation that has begun, and is no error
    """Holds what it was to run."""


def _shown(*words: str) -> str:
    done = CliRunner().invoke(app, ["plan", *words], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def _begin(*_: Any, **__: Any) -> None:
    raise _Begun


@pytest.mark.long
def test_whoever_asks_for_the_defaults_is_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    default = fedhome.Plan()
    assert fedhome.Plan.load() == default
    assert resolve(None, None, []) == resolve("default", None, []) == default
    assert plan_of(tmp_path) == default  # what `fedhome fleet invite` asks homes for
    for words in (("show",), ("show", "default")):
        assert Plan.parse(tomllib.loads(_shown(*words))) == default
    assert "(default" not in _shown("explain")  # as it marks a value that is not


def test_what_is_simulated_without_a_plan_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(_Begun):
        fedhome.simulate(on_event=_begin)
    assert Plan.parse(RunFolder(tmp_path / "runs" / "default-1").read_plan()) == Plan()

    plans: list[Plan] = []
    monkeypatch.setattr(
        "fedhome.simulations.simulate.simulate", lambda plan, **_: plans.append(plan) or _begin()
    )
    for words in (["simulate"], ["simulate", "default"]):
        assert isinstance(CliRunner().invoke(app, words).exception, _Begun)
    assert plans == [Plan(), Plan()]


@pytest.mark.long
def test_a_plan_that_was_shown_is_the_one_that_is_simulated(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    for name in ("default", *SCENARIOS):
        file.write_text(_shown("show", name))
        assert resolve(str(file), None, []) == resolve(name, None, [])


def test_explain_says_what_each_setting_is_and_means() -> None:
    told = _shown("explain")
    for name, value, default, meaning in settings(Plan(), Plan()):
        assert value == default
        assert meaning, name
        assert re.search(rf"^ *{re.escape(name)} ", told, re.MULTILINE), name
    assert re.search(r"train\.learning_rate +│ 0\.1 ", told)
    assert re.search(r"data\.history_days +│ unset .*unset: 5 of synthetic homes", told)
    assert re.search(r"data\.homes +│ unset .*100 if unset", told)
    assert (SYNTHETIC_HISTORY_DAYS, SYNTHETIC_HOMES) == (5, 100)


def test_the_readme_tells_the_defaults() -> None:
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    plan, numbers = Plan(), {5: "five", 40: "forty"}
    homes, days = plan.data.homes or SYNTHETIC_HOMES, plan.data.simulated().history_days
    assert days is not None
    for words in (
        f"That makes {homes} synthetic homes",
        f"with {numbers[int(days)]} days of readings each",
        f"with FedAvg for up to {numbers[plan.rounds.count]} rounds",
        f"runs/{plan.name}-1/report.html",
        "a multilayer perceptron",
        "predict their next hour's load",
    ):
        assert words in readme, words
    assert (plan.strategy.name, plan.model.name, plan.personalise.name) == (
        "fedavg",
        "mlp",
        "fine-tune",
    )
    tables = generate(homes=1, days=2, seed=1)
    learnt = settled(plan, list(tables)).plan
    assert (learnt.data.target, learnt.data.horizon) == ("load_kwh", 1)


@pytest.mark.long
@pytest.mark.parametrize("columns", [80, 45])
def test_plans_can_be_read_on_narrow_screens(columns: int) -> None:
    runner = CliRunner()
    for name in (None, "stragglers"):
        words = ["plan", "explain", *([name] if name else [])]
        told = runner.invoke(app, words, env={"COLUMNS": str(columns)}).output
        assert max(map(len, told.splitlines())) <= columns
        for setting, *_ in settings(Plan(), Plan()):
            assert re.search(rf"^ *{re.escape(setting)} ", told, re.MULTILINE), setting
    shown = runner.invoke(app, ["plan", "show"], env={"COLUMNS": str(columns)}).output
    assert max(map(len, shown.splitlines())) <= columns


def test_the_scenarios_do_not_move_with_the_defaults() -> None:
    folder = ROOT / "simulations" / "scenarios"
    assert {path.stem for path in folder.glob("*.toml")} == set(SCENARIOS)
    for name, (rate, days) in SCENARIOS.items():
        plan = named_plan(name)
        assert (plan.train.learning_rate, plan.data.history_days) == (rate, days), name
        table = tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))
        assert table["train"]["learning_rate"] == rate  # not by chance
    for name in datasets.CATALOGUE:
        plan = resolve(None, name, [])
        assert (plan.train.learning_rate, plan.data.history_days) == (0.05, None)


@pytest.mark.long
def test_synthetic_homes_learn_from_five_days_and_real_ones_from_all(tmp_path: Path) -> None:
    # 35 days by the hour are 840 rows; 25 lags take the first. Four fifths of the 815 that are left
    # come before the test, less a gap of 24: 628. Of five days, 120 rows, a quarter is for
    # validation, and a tenth of them all is the gap before that.
    (table,) = generate(homes=1, days=35, seed=1)
    assert all(np.isfinite(column).all() for column in table.columns.values())
    synthetic = gather(Plan.load(data={"homes": 5})).homes
    assert synthetic[0].counts == (78, 30, 163)

    folder = tmp_path / "mine"
    folder.mkdir()
    write_home(table, folder / "oak.parquet")
    everything = (447, 157, 163)  # three quarters of 628 less a gap of 24, a quarter, the test
    (real,) = gather(Plan.load(data={"source": str(folder)})).homes
    assert real.counts == everything
    device = real_home(named(Plan()), str(folder / "oak.parquet")).device
    assert device.examples.counts == everything
