"""The table of what it is worth that a fleet chooses its rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedhome.simulations.benchmarks.chosen_rates import RATE_WAYS, rates_table, run_rates
from fedhome.simulations.benchmarks.learning_sets import LearningSet

_PLAN, _HOMES, _BOTH = RATE_WAYS.values()


def _run(seed: int, sets: Sequence[str], loss: float, gain: float) -> dict[str, Any]:
    tuned = {f"room-{place}": 0.25 + gain + place / 100 for place in range(3)}
    about = {"set": "robod", "score": "skill", "seed": seed, "sets": list(sets)}
    return {**about, "loss": loss, "rates": [3.0, 0.5], "rounds": 40, "tuned": tuned}


def test_a_way_is_held_against_the_plan_s_rates_of_the_same_seeds_home_by_home() -> None:
    runs = [_run(seed, _PLAN, 0.5, 0.0) for seed in (1, 2)]
    runs += [_run(1, _HOMES, 0.4, 0.1), _run(2, _HOMES, 0.5, 0.2), _run(3, _HOMES, 9.0, 9.0)]
    runs += [_run(1, _BOTH, 0.3, 0.3), _run(2, _BOTH, 0.3, 0.3)]
    (row,) = rates_table(runs).splitlines()[2:]
    assert row == (
        "| robod (2), skill | 0.500 | 0.450 | 0.300 | 3, 0.5; 3, 0.5 | 0.260 "
        "| +0.150 (+0.150 to +0.150) | +0.300 (+0.300 to +0.300) |"
    )
    assert len(rates_table(runs[:4]).splitlines()) == 2, "no seed has all ways"


def test_a_run_tells_the_loss_that_it_ends_with_and_the_rates_that_it_chose() -> None:
    plan = {
        "data": {"homes": 6, "days": 6},
        "model": {"hidden": [4]},
        "rounds": {"count": 12, "judge_every": 2},
        "personalise": {"epochs": 6},
    }
    both = run_rates(LearningSet(name="tiny", plan=plan), 1, Path(), _BOTH)
    assert both["rates"][0] in {1.0, 0.3, 3.0}
    assert both["rates"][1] in {1.0, 0.5, 2.0}
    assert (both["rounds"], both["score"], both["sets"]) == (12, "skill", list(_BOTH))
    assert both["loss"] > 0
    assert len(both["tuned"]) == 6
