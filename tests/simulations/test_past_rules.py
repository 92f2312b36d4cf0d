"""Experts weighed by a home's past: by hand, and on what a run's homes state of theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedhome.data.series.examples import HomeExamples
from fedhome.learning.build import learning_of
from fedhome.learning.device import Device
from fedhome.learning.mixture import FIRST_STRENGTH, best_weights
from fedhome.learning.personalise import fine_tune
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.plan.settings import Plan
from fedhome.simulations.benchmarks.mixture_rules import FIRST, WEIGHT_RULES, weights_of
from fedhome.simulations.benchmarks.past_rules import (
    PAST_RULES,
    PastRule,
    completed,
    past_weights,
    try_past,
)
from fedhome.simulations.benchmarks.stated_fleet import (
    AGAIN,
    BY_OTHERS,
    BY_PAST,
    StatedFleet,
    StatedHome,
    stated_fleet,
    with_line_by_past,
)
from fedhome.simulations.benchmarks.stated_past import AT_HOME, StatedPast, stated_past
from fedhome.simulations.gather import read_source

_DAY_S = 86_400
_OUR_DAYS_S = 1_700_000_000
_SIGNS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]] * 2, float)
_EXPERTS = ("tuned", *AT_HOME)


def _errors(errors: dict[str, float]) -> dict[str, np.ndarray]:
    """Return errors over eight rows, whose products add up to zero for each two of the models."""
    return {name: error * _SIGNS[:, [_EXPERTS.index(name)]] for name, error in errors.items()}


def _home(name: str, errors: dict[str, float], past: dict[str, float], days: int = 1) -> StatedHome:
    """Return a home of eight hours whose models err as much, by a sign of each one's own."""
    own = _errors(errors)
    zero = np.zeros((8, 1))
    times = _OUR_DAYS_S + 3600 * np.arange(8)
    return StatedHome(
        home=name,
        validation=own | {f"{one}{BY_OTHERS}": own[one] for one in ("linear", "trees")},
        later=own | dict.fromkeys(("seasonal", "local", "settings"), own["naive"]),
        truth=(zero, zero),
        naive=(zero + 1.0, zero + 1.0),
        times=(times * days, times + _DAY_S),
        past=StatedPast(
            stated=_errors(past), truth=zero, naive=zero + 1.0, days=np.zeros(8, np.int64)
        ),
    )


def _fleet(*homes: StatedHome) -> StatedFleet:
    return StatedFleet(name="s", seed=1, targets="continuous", experts=_EXPERTS, homes=homes)


_LIKE = {"tuned": 1.0, "naive": 1.0, "linear": 1.0, "trees": 1.0}
_OF_TREES = {"naive": 2.0, "linear": 2.0, "trees": 0.5}
_OF_LINES = {"naive": 2.0, "linear": 0.5, "trees": 2.0}


def test_errors_that_are_not_known_follow_the_fleets_regression() -> None:
    fleet = np.array([[3.0, 2.0], [2.0, 4.0]])
    # A slope of a half, and 3 - 1 beyond it: of a known error of 8, halves are 4, and 2 + 2.
    np.testing.assert_allclose(completed(np.array([[8.0]]), fleet, [1]), [[4, 4], [4, 8]])
    # What the fleet says of known ones changes nothing.
    np.testing.assert_allclose(completed(fleet[1:, 1:], fleet, [1]), fleet)
    np.testing.assert_allclose(completed(np.eye(2), fleet, [0, 1]), np.eye(2))


def test_a_home_of_one_stretch_is_weighed_by_its_past_as_worked_out_by_hand() -> None:
    fleet = _fleet(_home("a", _LIKE, _OF_TREES), _home("b", _LIKE, _OF_LINES))
    built, _ = weights_of(fleet, WEIGHT_RULES[FIRST])
    np.testing.assert_allclose(built, np.full((2, 4), 0.25))
    rule = PastRule(own=False, scaled=False, strength=10.0)
    found = past_weights(fleet, rule)
    # The fleet's matrix is one on its diagonal: ten of 1.1, and a day of what the past says.
    of_one = best_weights(np.diag([11 + 1, 11 + 4, 11 + 4, 11 + 0.25]))
    np.testing.assert_allclose(found[0], of_one, atol=1e-6)
    np.testing.assert_allclose(found[1], of_one[[0, 1, 3, 2]], atol=1e-6)
    # In units of the fleet the season errs 4 in the mean, and the line and trees 2.125 each.
    scaled = past_weights(fleet, replace(rule, scaled=True))
    units = np.diag([1, 4 / 4, 4 / 2.125, 0.25 / 2.125])
    np.testing.assert_allclose(scaled[0], best_weights(11 * np.eye(4) + units), atol=1e-6)
    with_own = past_weights(fleet, replace(rule, own=True))
    past = np.diag([1, 4, 4, 0.25])
    np.testing.assert_allclose(with_own[0], best_weights(12 * np.eye(4) + past), atol=1e-6)


def test_the_fleet_chooses_how_far_homes_follow_their_past_by_validation_rows() -> None:
    own = {"a": _LIKE | {"linear": 2.0, "trees": 0.5}, "b": _LIKE | {"linear": 0.5, "trees": 2.0}}
    right = _fleet(_home("a", own["a"], _OF_TREES), _home("b", own["b"], _OF_LINES))
    wrong = _fleet(_home("a", own["a"], _OF_LINES), _home("b", own["b"], _OF_TREES))
    rule = PastRule(own=False, scaled=False)
    followed, held = (past_weights(one, rule) for one in (right, wrong))
    built, _ = weights_of(right, WEIGHT_RULES[FIRST])
    # No fleet is best: errors of 4 and 0.25 of a pair, and 1 of the tuned model.
    np.testing.assert_allclose(followed[0], best_weights(np.diag([1, 4, 4, 0.25])), atol=1e-5)
    np.testing.assert_allclose(held, built, atol=0.01)


def test_homes_of_several_stretches_or_without_a_past_are_as_built() -> None:
    several = _home("a", _LIKE, _OF_TREES, days=24)
    without = replace(_home("b", _LIKE, _OF_LINES), past=StatedPast())
    for homes in ((several, several), (without, without)):
        fleet = _fleet(*homes)
        built, _ = weights_of(fleet, WEIGHT_RULES[FIRST])
        for rule in PAST_RULES.values():
            np.testing.assert_array_equal(past_weights(fleet, rule), built)


def _on_days(*days: float) -> Experts:
    """Return a home of twelve rows a day whose inputs tell nothing, with a day of validation."""
    plan = Plan.parse({"data": {"target": "y", "horizon": 0, "lags": [], "calendar": False}})
    rows = 12 * len(days)
    examples = HomeExamples(
        home="a",
        x=np.zeros((rows + 1, 1), np.float32),
        y=np.repeat(days, 12).astype(np.float32)[[*range(rows), -1], None],
        naive=np.ones(rows + 1, np.float32),
        counts=(rows - 12, 12, 1),
        time_s=_OUR_DAYS_S + 7200 * np.arange(rows + 1),
    )
    device = Device(learning_of(plan, 1), examples, seed=0)
    start = device.learning.initial
    adaptation = Adaptation(1.0, 0)
    return Experts(device, plan.personalise, start=start, how=fine_tune, adaptation=adaptation)


def test_each_day_of_the_past_is_stated_by_the_days_before_it() -> None:
    (past,) = stated_past(_on_days(5.0, 7.0, 9.0, 1.0))
    assert past.days.tolist() == [0] * 12 + [1] * 12
    np.testing.assert_array_equal(past.truth[:, 0], [7.0] * 12 + [9.0] * 12)
    np.testing.assert_array_equal(past.naive[:, 0], [1.0] * 24)
    for name in ("linear", "trees"):  # a mean of 5, and of 5 and 7; trees draw their rows
        reach = 0.5 if name == "trees" else 1e-6
        np.testing.assert_allclose(past.stated[name][:12, 0], 5.0, atol=1e-6)
        np.testing.assert_allclose(past.stated[name][12:, 0], 6.0, atol=reach)


def test_a_home_without_days_before_its_last_one_has_no_past() -> None:
    (past,) = stated_past(_on_days(5.0, 7.0))
    assert len(past.days) == len(past.truth) == 0


@pytest.mark.long
def test_what_a_runs_homes_state_of_their_past_is_kept(tmp_path: Path) -> None:
    plan = Plan.parse(
        {
            "data": {"homes": 5, "days": 12, "history_days": 4.0},
            "rounds": {"count": 1},
            "personalise": {"epochs": 1, "local_epochs": 1},
            "aggregation": {"mode": "ideal"},
        }
    )
    fleet = stated_fleet("mine", plan, read_source(plan).homes)
    fleet.write(tmp_path / "mine.npz")
    kept = StatedFleet.read(tmp_path / "mine.npz")
    for home, read in zip(fleet.homes, kept.homes, strict=True):
        assert set(home.past.stated) == set(AT_HOME)
        assert len(np.unique(home.past.days)) >= 1
        assert home.past.truth.std() > 0
        assert not any(np.array_equal(one, home.past.truth) for one in home.past.stated.values())
        np.testing.assert_allclose(read.past.truth, home.past.truth, rtol=1e-6)
        np.testing.assert_allclose(read.past.stated["trees"], home.past.stated["trees"], rtol=1e-5)
        np.testing.assert_array_equal(read.past.days, home.past.days)
        assert {BY_PAST, AGAIN} <= set(read.later)
        assert read.validation[f"{BY_PAST}{BY_OTHERS}"].shape == read.truth[0].shape
        assert not np.array_equal(read.later[AGAIN], read.later["local"])
    chosen = with_line_by_past(fleet)
    changed = [
        not np.array_equal(new.later["linear"], old.later["linear"])
        for new, old in zip(chosen.homes, fleet.homes, strict=True)
    ]
    assert any(changed), "in some home the past chooses another penalty"
    rule = PAST_RULES["validation rows, ten blocks"]
    (first, *_), (own, *_) = past_weights(kept, rule), weights_of(kept, WEIGHT_RULES[FIRST])[0]
    assert rule.strength == FIRST_STRENGTH
    assert not np.allclose(first, own)
    assert len(try_past(kept, PAST_RULES["past"]).score) == 5
