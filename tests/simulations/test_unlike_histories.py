"""Homes with many days in one run with homes that have few."""

from __future__ import annotations

import numpy as np
import pytest

from fedhome.plan.settings import Plan
from fedhome.simulations.benchmarks.unlike_histories import FEW, MANY, run_one, table


def test_both_kinds_are_held_against_what_was_strongest_in_their_kind() -> None:
    """By hand: homes with many days are .1 ahead of trees, the others .2 behind the season."""
    alone = {"linear": np.zeros(6), "personalised": np.full(6, 0.5)}
    many = {**alone, "seasonal": np.full(6, 0.1), "trees": np.full(6, 0.4)}
    few = {**alone, "seasonal": np.full(6, 0.7), "trees": np.full(6, 0.4)}
    lines = table([{MANY: many, FEW: few}]).splitlines()
    assert lines[2] == "| 80 | 6 | 0.500 | 0.400 | +0.100 (+0.100 to +0.100) |"
    assert lines[3] == "| 5 | 6 | 0.500 | 0.700 | -0.200 (-0.200 to -0.200) |"


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_one_home_in_so_many_has_many_days() -> None:
    told = {
        "seed": 31,
        "data": {"homes": 8},
        "rounds": {"count": 1},
        "personalise": {"epochs": 2, "opponents": ["seasonal", "linear", "trees"]},
        "aggregation": {"mode": "ideal"},
    }
    found = run_one(Plan.parse(told), 4)
    assert {days: len(of["personalised"]) for days, of in found.items()} == {MANY: 2, FEW: 6}
