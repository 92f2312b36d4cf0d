"""The comparison of new homes that have more days than homes of the rounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedhome.simulations.benchmarks.learning_sets import LearningSet
from fedhome.simulations.benchmarks.more_days import DAYS, WAYS, run_one, table


def test_homes_are_held_against_what_was_strongest_in_their_run() -> None:
    """By hand: trees in one run, a line in the other; gaps -.1, -.1, .1 and .1."""
    ways = dict.fromkeys(WAYS, np.array([0.5, 0.5]))
    first = {"naive": np.zeros(2), "linear": np.full(2, 0.5), "trees": np.full(2, 0.6), **ways}
    second = {"naive": np.zeros(2), "linear": np.full(2, 0.4), "trees": np.full(2, 0.3), **ways}
    (line,) = table({("default", 7.0): [first, second]}).splitlines()[2:]
    assert line.startswith("| default, 7 | 4 | 0.500 | +0.000 (-0.184 to +0.184) |")


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_each_way_is_scored_in_each_new_home() -> None:
    small = LearningSet(
        name="small",
        plan={
            "data": {"homes": 12, "history_days": 3.0},
            "rounds": {"count": 1},
            "personalise": {"epochs": 2},
        },
    )
    found = run_one(small, 31, Path())
    assert list(found) == list(DAYS)
    for scores in found.values():
        assert {*WAYS, "naive", "linear", "trees"} == set(scores)
        assert {len(homes) for homes in scores.values()} == {2}
    # No home of three days has two stretches of rows to try a pull by: it is not the strongest.
    month = found[28.0]
    built = month["drawn on, followed (built)"]
    assert not np.allclose(month["drawn on, followed wholly"], built)
