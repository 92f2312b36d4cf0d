"""A home pays for each sum before it takes part, by what the manifest says, and no further."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.clients.privacy_budget import HomeBudget, ceiling_of, set_ceiling, statement_of
from fedhome.errors import ManifestError, PrivacyBudgetError, RunError, StateError
from fedhome.fleet.entries import Anchor
from fedhome.plan.settings import Plan
from fedhome.privacy.accounting import epsilon_of
from fedhome.privacy.noise import Noise
from fedhome.privacy.privacy_ledger import FILE, PrivacyLedger
from fedhome.questions.private_sums import cost_of
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form
from fedhome.secagg.policy import Policy
from fedhome.store import disk
from helpers.secagg_world import LAYOUT, RUN, World

FORM = Form(7, LAYOUT, FixedPoint(9, 0.5, "l2", 1), (), 128, Noise(150.0, 8))


def _world(tmp_path: Path, *, ceiling: float = 8.0, corrupt: float = 0.0) -> World:
    world = World.of(10, policy=Policy(corrupt=corrupt), bundles=4)
    world.homes["h00"]._budget = HomeBudget(
        PrivacyLedger(tmp_path), ceiling=lambda: ceiling, delta=1e-5
    )
    return world


def test_a_sum_is_paid_for_before_the_home_joins(tmp_path: Path) -> None:
    world = _world(tmp_path)
    world.draw_up(form=FORM, a_min=8).join("h00")
    ledger = PrivacyLedger(tmp_path)  # as another process would find it
    assert [(entry.run, entry.sums) for entry in ledger.runs] == [(RUN, 1)]
    assert ledger.rho == pytest.approx(cost_of(FORM, "train", 7))  # one of eight may be corrupt


@pytest.mark.long
def test_fewer_homes_less_noise_and_more_corrupt_homes_cost_more(tmp_path: Path) -> None:
    costs = []
    for number, (form, a_min, corrupt) in enumerate(
        [
            (FORM, 8, 0.0),
            (FORM, 6, 0.0),
            (replace(FORM, noise=Noise(75.0, 8)), 8, 0.0),
            (FORM, 8, 0.3),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = _world(folder, ceiling=99.0, corrupt=corrupt)
        world.draw_up(form=form, a_min=a_min).join("h00")
        costs.append(PrivacyLedger(folder).rho)
    first = costs[0]
    assert costs[1:] == pytest.approx([7 / 5 * first, 4 * first, 7 / 5 * first], rel=1e-6)


def test_at_the_ceiling_the_home_refuses_and_keeps_its_bundle(tmp_path: Path) -> None:
    epsilon = epsilon_of(2.5 * cost_of(FORM, "train", 8), 1e-5)
    world = _world(tmp_path, ceiling=epsilon)
    for _ in range(2):
        world.draw_up(form=FORM, a_min=8).join("h00")
    third = world.draw_up(form=FORM, a_min=8)
    before = world.homes["h00"].state
    with pytest.raises(PrivacyBudgetError) as refused:
        third.join("h00")
    assert refused.value.reason == "budget"
    assert isinstance(refused.value, ManifestError)
    assert world.homes["h00"].state == before
    assert PrivacyLedger(tmp_path).runs[0].sums == 2


@pytest.mark.parametrize("lost", ["gone", "of an earlier day"])
def test_a_ledger_that_is_set_back_is_noticed(lost: str, tmp_path: Path) -> None:
    """Also by an agent that was started anew: the home's state knows how much was spent."""
    world, path = _world(tmp_path, ceiling=99.0), tmp_path / FILE
    world.draw_up(form=FORM, a_min=8).join("h00")
    earlier = path.read_bytes()
    world.draw_up(form=FORM, a_min=8).join("h00")
    newest = path.read_bytes()
    path.unlink()
    if lost != "gone":
        path.write_bytes(earlier)
    world.restart("h00")
    home = world.homes["h00"]
    assert home.state.spent == 2 * math.ceil(cost_of(FORM, "train", 7) * 2**40)
    home._budget = HomeBudget(PrivacyLedger(tmp_path), ceiling=lambda: 99.0, delta=1e-5)
    with pytest.raises(ManifestError, match="less than it was") as refused:
        world.draw_up(form=FORM, a_min=8).join("h00")
    assert refused.value.reason == "budget"

    path.write_bytes(newest)  # what is brought back is taken
    home._budget = HomeBudget(PrivacyLedger(tmp_path), ceiling=lambda: 99.0, delta=1e-5)
    world.draw_up(form=FORM, a_min=8).join("h00")
    assert PrivacyLedger(tmp_path).runs[0].sums == 3


def test_control_a_home_that_remembers_nothing_starts_to_count_anew(tmp_path: Path) -> None:
    world = _world(tmp_path, ceiling=99.0)
    world.draw_up(form=FORM, a_min=8).join("h00")
    (tmp_path / FILE).unlink()
    home = world.homes["h00"]
    home.state = replace(home.state, spent=0)
    home._budget = HomeBudget(PrivacyLedger(tmp_path), ceiling=lambda: 99.0, delta=1e-5)
    world.draw_up(form=FORM, a_min=8).join("h00")
    assert PrivacyLedger(tmp_path).runs[0].sums == 1


def test_control_without_a_budget_a_home_takes_part_for_ever(tmp_path: Path) -> None:
    world = _world(tmp_path)
    world.homes["h00"]._budget = None
    for _ in range(4):
        world.draw_up(form=FORM, a_min=8).join("h00")
    assert not (tmp_path / FILE).exists()


def test_a_sum_without_noise_is_refused(tmp_path: Path) -> None:
    world = _world(tmp_path)
    with pytest.raises(PrivacyBudgetError) as refused:
        world.draw_up(form=replace(FORM, noise=None), a_min=8).join("h00")
    assert refused.value.reason == "noise"


@pytest.mark.parametrize("purpose", ["trial", "census", "anything"])
def test_what_is_not_asked_with_noise_is_refused(purpose: str, tmp_path: Path) -> None:
    world = _world(tmp_path)
    with pytest.raises(ManifestError) as refused:
        world.draw_up(form=FORM, a_min=8, purpose=purpose).join("h00")
    assert refused.value.reason == "noise"


def test_where_the_ledger_cannot_be_written_nothing_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = _world(tmp_path)
    sum_ = world.draw_up(form=FORM, a_min=8)

    def full(path: Path, data: bytes) -> None:
        raise StateError(f"{path}: no room for {len(data)} bytes", reason="disk-full")

    monkeypatch.setattr(disk, "put", full)
    before = world.homes["h00"].state
    with pytest.raises(StateError):
        sum_.join("h00")
    assert world.homes["h00"].state == before


def _folder(path: Path, **privacy: Any) -> HomeFolder:
    folder = HomeFolder(path)
    folder.fill(
        HomeSettings(home="oak", server="hub.example:9443", data="/data"),
        plan=Plan.parse({"privacy": privacy}),
        anchor=Anchor(fleet=bytes(16), authority=bytes(32)),
        authorities=b"",
    )
    return folder


def test_a_home_whose_plan_has_noise_has_a_budget(tmp_path: Path) -> None:
    folder = _folder(tmp_path, mechanism="discrete-gaussian", epsilon=5.0)
    plan = Plan.load(folder.plan_path)
    assert HomeBudget.of(folder, plan) is not None
    assert HomeBudget.of(folder, Plan()) is None
    assert ceiling_of(folder, plan) == pytest.approx(5.0)
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(StateError):
        HomeBudget.of(folder, plan)


@pytest.mark.long
def test_people_see_what_was_spent_and_set_a_ceiling(tmp_path: Path) -> None:
    folder = _folder(tmp_path, mechanism="discrete-gaussian", epsilon=5.0)
    PrivacyLedger(tmp_path).spend(RUN, 0.1, ceiling=5.0, delta=1e-5)
    run = CliRunner().invoke(app, ["client", "privacy", str(tmp_path)])
    told = " ".join(run.output.split())
    assert run.exit_code == 0
    assert f"run {RUN.hex()[:12]}: 1 sums, epsilon 1.9" in told
    assert "of 5 (the plan's own), delta 1e-05" in told

    run = CliRunner().invoke(app, ["client", "privacy", str(tmp_path), "--ceiling", "2.5"])
    assert "of 2.5 (set here)" in " ".join(run.output.split())
    settings = tomllib.loads((tmp_path / "home.toml").read_text())
    assert (settings["privacy_ceiling"], settings["home"]) == (2.5, "oak")
    assert ceiling_of(folder, Plan.load(folder.plan_path)) == 2.5


@pytest.mark.parametrize("ceiling", [float("nan"), float("inf"), -1.0])
def test_a_ceiling_that_is_none_is_refused(ceiling: float, tmp_path: Path) -> None:
    folder = _folder(tmp_path, mechanism="discrete-gaussian", epsilon=5.0)
    with pytest.raises(RunError, match="is no epsilon"):
        set_ceiling(folder, ceiling)
    assert folder.settings.privacy_ceiling == 0
    folder.change_settings(replace(folder.settings, privacy_ceiling=ceiling))  # by hand
    with pytest.raises(RunError, match="is no epsilon"):
        ceiling_of(folder, Plan.load(folder.plan_path))


def test_a_home_that_is_forgotten_has_still_spent_what_it_spent(tmp_path: Path) -> None:
    _folder(tmp_path, mechanism="discrete-gaussian", epsilon=5.0)
    PrivacyLedger(tmp_path).spend(RUN, 0.125, ceiling=5.0, delta=1e-5)
    run = CliRunner().invoke(app, ["client", "forget", str(tmp_path), "--yes"])
    assert run.exit_code == 0
    assert "is spent" in " ".join(run.output.split())
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert PrivacyLedger(tmp_path).rho == 0.125


def test_people_without_noise_are_told_that_there_is_no_bound(tmp_path: Path) -> None:
    assert "no bound" in statement_of(_folder(tmp_path))[-1]
