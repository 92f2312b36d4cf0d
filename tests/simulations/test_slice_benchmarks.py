"""Benchmarks of slices: rules get equal bytes, and tables say what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedhome.data.homes_folder import FolderRead
from fedhome.learning.build import learning_of
from fedhome.learning.carried_slice import carried_slices
from fedhome.plan.rule_traits import RULES
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.simulations.benchmarks.learning_sets import SETS
from fedhome.simulations.benchmarks.slice_rules_compared import (
    by_depth,
    by_width,
    plan_of_rule,
    rules_table,
)
from fedhome.simulations.benchmarks.slicing import TIERS, plan_of, with_tables
from fedhome.simulations.benchmarks.slicing_speed import plan_of_speed, seconds_unsliced
from fedhome.simulations.gather import find_in, gather

pytestmark = pytest.mark.long

CLASSES = tuple("abcdef")
FEATURES = 72


def _nested() -> Plan:
    return Plan.parse(
        {
            "aggregation": {"mode": "plain"},
            "slicing": {"tiers": list(TIERS)},
            "task": {"kind": "multi-class"},
        }
    )


def _numbers(plan: Plan) -> list[int]:
    whole = learning_of(plan, FEATURES, CLASSES)
    return [one.numbers for one in carried_slices(plan, whole, FEATURES, CLASSES)]


@pytest.mark.parametrize("rule", RULES)
def test_a_rules_devices_send_no_more_than_the_default_rules_and_hardly_less(rule: str) -> None:
    plan = _nested()
    limits = _numbers(plan)
    sent = _numbers(plan_of_rule(plan, rule, FEATURES, len(CLASSES)))
    for limit, own in zip(limits, sent, strict=True):
        assert 0.9 * limit <= own <= limit


def test_widths_and_depths_by_hand() -> None:
    # one input, one output: layers of n and n units have 2n + (n + 1)n + n + 1 numbers
    assert by_width(9, (4, 4), 1, 1) == 95 / 256  # one of each: two of each are 13
    assert by_width(33, (4, 4), 1, 1) == 1.0
    with pytest.raises(ValueError, match="no network of 2 layers"):
        by_width(3, (4, 4), 1, 1)
    # a unit costs 1 + 1 + 1, the exit's bias 1: 7 numbers are two; then 2 + 1 + 1 each, and 1
    assert by_depth((7, 16), 1, 1) == (2, 2)


def test_the_default_scenarios_homes_as_tables_are_those_that_its_plan_makes() -> None:
    default = next(one for one in SETS if one.name == "default")
    plan = plan_of(default, 2, ["data.homes=3"])
    of_tables, tables = with_tables(default, plan, Path())
    read = FolderRead(homes=tables, excluded=[], notes=())
    found = find_in(read, of_tables.change(data={"source": "mine"})).gathered.homes
    made = gather(plan).homes
    assert len(found) == len(made) == 3
    for one, other in zip(found, made, strict=True):
        assert (one.home, one.counts) == (other.home, other.counts)
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)


def test_a_table_has_means_over_homes_and_seeds() -> None:
    def run(rule: str, seed: int, *scores: float) -> dict[str, Any]:
        tier = {"tier": "sensor", "told": "2 units", "bytes_up": 1024, "memory": 2048}
        one = {**tier, "step_ms": 0.5, "tuned": list(scores), "global": [0.25] * len(scores)}
        return {"set": "wisdm51", "seed": seed, "rule": rule, "tiers": [one]}

    told = rules_table([run("nested", 1, 0.5, 0.7), run("nested", 2, 0.9, 0.9)])
    assert "| wisdm51 (2), sensor | nested | 2 units | 0.750/0.710 (0.250) | 1,024 |" in told
    assert "| nested | 0.750/0.710 | 0.750/0.710 | 0.250/0.250 |" in told


def test_equal_arithmetic_is_every_shape_of_a_tier_by_its_homes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of_speed("eager", 1, 3)
    homes = [_Named(f"home-{number}") for number in range(3)]
    asked = []

    def timed(plain: Plan, own: list[_Named]) -> float:
        asked.append((plain.model.hidden, [home.home for home in own]))
        return 1.0

    monkeypatch.setattr("fedhome.simulations.benchmarks.slicing_speed.seconds_of_training", timed)
    assert seconds_unsliced(plan, homes) == 6.0  # type: ignore[arg-type]
    shapes = [hidden for hidden, _ in asked]
    assert shapes == [(16,), (16,), (32, 32), (16,), (32, 32), (64, 64)]
    tiers = tiers_of(plan, [home.home for home in homes]).tolist()
    assert [own for _, own in asked[-3:]] == [[homes[tiers.index(2)].home]] * 3


class _Named:
    def __init__(self, home: str) -> None:
        self.home = home
