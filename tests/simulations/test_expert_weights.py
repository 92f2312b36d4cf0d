"""Rules for weights and for opponents, tried on what models stated at a run's end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedhome.data.table import HomeTable
from fedhome.errors import RunError
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import ALONE, EXPERTS
from fedhome.run.results import scores
from fedhome.simulations.benchmarks import expert_weights
from fedhome.simulations.benchmarks.expert_weights import (
    by_rule,
    compared,
    in_errors,
    main,
    run_set,
    table,
)
from fedhome.simulations.benchmarks.learning_sets import LearningSet
from fedhome.simulations.benchmarks.mixture_rules import (
    FIRST,
    OPPONENT_RULES,
    WEIGHT_RULES,
    OpponentRule,
    Tried,
    WeightRule,
    opponents_of,
    try_opponents,
    try_weights,
    weights_of,
)
from fedhome.simulations.benchmarks.past_rules import PAST_RULES
from fedhome.simulations.benchmarks.stated_fleet import (
    BY_OTHERS,
    BY_PAST,
    StatedFleet,
    StatedHome,
    stated_fleet,
    without_newest,
)
from fedhome.simulations.gather import read_source
from fedhome.simulations.simulate import simulate

SETTINGS: dict[str, dict[str, object]] = {
    "data": {"homes": 6, "days": 12, "history_days": 6.0},
    "rounds": {"count": 1},
    "personalise": {"epochs": 2, "local_epochs": 2},
    "aggregation": {"mode": "ideal"},
}
PLAN = Plan.parse(SETTINGS)


def _home(name: str, errors: dict[str, float]) -> StatedHome:
    """Return a home of forty numbered rows whose models err by as much, in turn up and down."""
    turns = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None]
    # Products of different models' errors add up to zero over each four rows.
    signs = {
        m: turns if n % 2 else np.roll(turns.repeat(2, 0)[:40], 1, 0) for n, m in enumerate(errors)
    }
    stated = {model: error * signs[model] for model, error in errors.items()}
    own = stated | {
        f"{model}{BY_OTHERS}": stated[model] for model in ("linear", "trees") if model in stated
    }
    zero = np.zeros((40, 1))
    return StatedHome(
        home=name,
        validation=own,
        later=stated,
        truth=(zero, zero),
        naive=(zero + 1.0, zero + 1.0),
        times=(np.arange(40), np.arange(40)),
    )


def _fleet(*homes: StatedHome, experts: tuple[str, ...] = ("tuned", "linear")) -> StatedFleet:
    return StatedFleet(name="s", seed=1, targets="continuous", experts=experts, homes=homes)


def test_the_newest_rows_are_left_out_of_each_class_where_that_is_asked() -> None:
    column = np.array([0.0] * 5 + [1.0] * 10)
    home = HomeTable(home="a", time_s=np.arange(15), columns={"y": column})
    assert without_newest(home, 0.2).time_s.tolist() == list(range(12))
    kept = without_newest(home, 0.2, "y").time_s.tolist()
    assert kept == [0, 1, 2, 3, *range(5, 13)]


def test_a_ridge_evens_weights_out_as_worked_out_by_hand() -> None:
    fleet = _fleet(_home("a", {"tuned": 1.0, "linear": 2.0}))
    # Independent errors of mean squares 1 and 4 have weights 4/5 and 1/5. A ridge of 0.4 adds
    # 0.4 * 2.5 = 1 to both: 5/7 and 2/7; a home's own say of ten blocks stands beside it.
    own = weights_of(fleet, WeightRule(ridges=(0.0,)))[0]
    np.testing.assert_allclose(own, [[0.8, 0.2]])
    one_block = replace(fleet.homes[0], times=(np.arange(40) + 1_700_000_000, np.arange(40)))
    steadied = weights_of(_fleet(one_block), WeightRule(ridges=(0.4,)))[0]
    np.testing.assert_allclose(steadied, [[5 / 7, 2 / 7]])


def test_the_fleet_picks_a_ridge_by_homes_left_out() -> None:
    # Each home's best expert is another: what three say of the fourth is better the more even.
    one, two = {"tuned": 0.5, "linear": 1.0}, {"tuned": 1.0, "linear": 0.5}
    times = (np.arange(40) + 1_700_000_000, np.arange(40))
    homes = [replace(_home(str(n), one if n else two), times=times) for n in range(2)]
    ridges = (0.0, 0.5)
    chosen = weights_of(_fleet(*homes), WeightRule(ridges=ridges))[0]
    even = weights_of(_fleet(*homes), WeightRule(ridges=(0.5,)))[0]
    np.testing.assert_allclose(chosen, even)


def test_few_rows_weigh_by_what_others_chose_and_not_what_is_stated_later() -> None:
    home = _home("a", {"tuned": 1.0, "linear": 1.0, **dict.fromkeys(ALONE, 1.0)})
    worse = dict(home.validation) | {f"linear{BY_OTHERS}": 2 * home.validation["linear"]}
    fleet = _fleet(replace(home, validation=worse))
    np.testing.assert_allclose(weights_of(fleet, WeightRule())[0], [[0.5, 0.5]])
    np.testing.assert_allclose(weights_of(fleet, WeightRule(below=41))[0], [[0.8, 0.2]])
    later = try_weights(fleet, WeightRule(equal=True)).error
    np.testing.assert_allclose(later, [0.5])


def test_an_opponent_follows_the_fleet_as_far_as_that_was_better_on_folds_left_out() -> None:
    losses = {"seasonal": 1.0, "linear": 0.7, "trees": 0.8, "local": 1.0, "settings": 1.0}
    other = losses | {"linear": 0.9, "trees": 0.65}
    fleet = _fleet(*(_home(str(n), losses if n else other) for n in range(4)))
    own = [ALONE[at] for at in opponents_of(fleet, OPPONENT_RULES[FIRST])]
    assert own == ["trees", "linear", "linear", "linear"]
    forced = [ALONE[at] for at in opponents_of(fleet, OpponentRule(strengths=(1e9,)))]
    assert forced == ["linear"] * 4
    # All folds of a home say the same, so that no pull is better than some.
    free = OpponentRule(strengths=(0.0, 1e9))
    assert opponents_of(fleet, free).tolist() == opponents_of(fleet, OPPONENT_RULES[FIRST]).tolist()
    np.testing.assert_allclose(
        try_opponents(fleet, free).score, 1 - np.array([0.65**2, 0.49, 0.49, 0.49])
    )


def test_a_line_by_the_past_stands_in_the_lines_place_and_is_held_against_it() -> None:
    losses = {"tuned": 1.0} | dict.fromkeys(ALONE, 0.9) | {"linear": 0.8}
    homes = []
    for n in range(4):
        home = _home(str(n), losses)
        own = dict.fromkeys((BY_PAST, f"{BY_PAST}{BY_OTHERS}"), 0.5 * home.later["linear"])
        stated = {BY_PAST: 0.5 * home.later["linear"]}
        homes.append(
            replace(
                home,
                validation=dict(home.validation) | own,
                later=dict(home.later) | stated,
            )
        )
    found = by_rule([_fleet(*homes)])
    rule = "line's penalty by the past, too"
    assert [found["line"][name][0].score for name in (FIRST, rule)] == pytest.approx(
        [1 - 0.64, 1 - 0.16]
    )
    assert found["opponents"][rule][0].change == pytest.approx(0.64 - 0.16)
    assert found["weights"][rule][0].change > 0
    without = by_rule([_fleet(*(_home(str(n), losses) for n in range(4)))])
    assert rule not in without["line"], "a folder of before has no such lines"


def test_changes_are_told_in_units_of_their_standard_error() -> None:
    changes = np.array([0.0, 0.1, 0.2, 0.3])
    # A mean of 0.15, a variance of 1/60, and a standard error of its root over two.
    assert in_errors(changes) == pytest.approx(0.15 / np.sqrt(1 / 60 / 4))
    assert in_errors(np.zeros(5)) == 0.0
    assert np.isnan(in_errors(changes[:3]))
    before = Tried(np.zeros(4), np.ones(4), np.array([-1, 0, 0, 1]))
    after = Tried(changes, np.full(4, np.e), np.array([0, 0, 0, 1]))
    names = ["a", "b", "c", "d"]
    told = compared("s", [names, names], [before, before], [after, before])
    assert told.homes == 4  # a home of two runs counts once
    assert told.change == pytest.approx(0.075)
    assert told.errors == pytest.approx(in_errors(changes / 2))
    assert told.hurt == pytest.approx(0.125)


@pytest.mark.long
def test_the_first_rules_are_what_a_run_does(tmp_path: Path) -> None:
    tables = read_source(PLAN).homes
    fleet = stated_fleet("mine", PLAN, tables)
    path = tmp_path / "mine.npz"
    fleet.write(path)
    fleet = StatedFleet.read(path)
    result = simulate(PLAN, homes=list(tables), out=tmp_path / "run")
    rows = {row["home"]: row for row in result.homes.to_pylist() if row["model"] == "personalised"}
    weights = weights_of(fleet, WEIGHT_RULES[FIRST])[0]
    picked = opponents_of(fleet, OPPONENT_RULES[FIRST])
    assert {home.home for home in fleet.homes} == set(rows)
    for home, own, at in zip(fleet.homes, weights, picked, strict=True):
        row = rows[home.home]
        np.testing.assert_allclose(own, [row[f"weight_{name}"] for name in EXPERTS], atol=1e-4)
        assert row["best"] == ALONE[at]
    found = scores(result.homes)["personalised"]
    tried = try_weights(fleet, WEIGHT_RULES[FIRST])
    np.testing.assert_allclose(tried.score, [found[h.home] for h in fleet.homes], atol=1e-4)
    told = by_rule([fleet])
    assert set(told["weights"]) == {*WEIGHT_RULES, *PAST_RULES, "line's penalty by the past, too"}
    assert set(told["opponents"]) == {*OPPONENT_RULES, "line's penalty by the past, too"}
    assert f"| {FIRST} | 1 | +0.0000 | " in table(told["weights"])


def test_a_run_that_personalises_nothing_is_refused_in_words() -> None:
    plan = Plan.parse(SETTINGS | {"personalise": {"name": "none"}})
    with pytest.raises(RunError, match="mine: no home stated anything here"):
        stated_fleet("mine", plan, read_source(plan).homes)


@pytest.mark.long
def test_real_homes_keep_all_their_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = read_source(Plan.parse({"data": {"homes": 5, "days": 20}})).homes
    one = LearningSet(name="real", plan={"rounds": {"count": 1}}, folder=".", read=lambda _: tables)
    monkeypatch.setattr(expert_weights, "SETS", (one,))
    short = {"sets": ["personalise.epochs=1", "personalise.local_epochs=1"], "homes": None}
    cut = {"called": "", "left_out": 0.2}
    run_set(argparse.Namespace(out=tmp_path, data=tmp_path, **short, **cut), "real", 11)
    kept = StatedFleet.read(tmp_path / "real-11.npz")
    # Sixteen days are left, and a fifth of them is for validation, which of five days is one.
    assert min(len(home.times[0]) for home in kept.homes) > 48


@pytest.mark.long
def test_a_folder_of_homes_is_run_once_without_its_newest_fifth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    homes = tmp_path / "mine"
    homes.mkdir()
    values = np.random.default_rng(1).normal(size=(5, 100))
    for home, x in enumerate(values):
        rows = "\n".join(f"{a:.3f},{'high' if a > 0 else 'low'}" for a in x)
        (homes / f"home-{home}.csv").write_text(f"x,y\n{rows}\n")
    sets = ["data.target=y", "rounds.count=1", "personalise.epochs=1", "personalise.local_epochs=1"]
    asked = ["weights", "--out", str(tmp_path / "out"), "--homes", str(homes), "--each"]
    asked += ["--called", "yours", "--left-out", "0.2"]
    asked += [word for one in sets for word in ("--set", one)]
    monkeypatch.setattr(sys, "argv", asked)
    main()
    told = capsys.readouterr().out
    assert told.startswith("yours, seed 11: 5 homes\nweights\n")
    assert "yours (5), by others, shrunk: " in told
    kept = StatedFleet.read(tmp_path / "out" / "yours-11.npz")
    assert kept.targets == "binary"
    # The 80th row is the last one, and a yes is "low", the second by the alphabet.
    newest = [home.truth[1][-5:, 0] for home in kept.homes]
    np.testing.assert_array_equal(np.array(newest), values[:, 75:80] < 0)
    main()
    assert "seed 11" not in capsys.readouterr().out
