"""Homes that fail on purpose: the same ones in every engine, and counted as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedhome.simulations.faults import ABSENT, ANSWERS, LATE, faults_of
from helpers import tiny

_NAMES = [f"home-{place}" for place in range(2000)]
_EVERYBODY = np.arange(2000)


def test_a_plan_without_faults_has_none() -> None:
    assert faults_of(tiny.plan(), _NAMES, np.full(2000, 20)) is None


def test_so_many_homes_are_silent_each_round_anew() -> None:
    silent = faults_of(tiny.plan(faults={"dropout": 0.2}), _NAMES, np.full(2000, 20))
    assert silent is not None
    first, second = silent(1, _EVERYBODY), silent(2, _EVERYBODY)
    for told in (first, second):
        assert set(told.tolist()) == {ANSWERS, ABSENT}
        assert (told == ABSENT).mean() == pytest.approx(0.2, abs=0.045)  # five deviations
    assert (first != second).any()
    np.testing.assert_array_equal(first, silent(1, _EVERYBODY))
    some = np.array([7, 3, 1999])
    np.testing.assert_array_equal(silent(1, some), first[some])  # whoever else is asked


def test_stragglers_are_late_by_the_steps_that_they_take() -> None:
    plan = tiny.plan(
        train={"batch_size": 10, "epochs": 3},
        faults={"stragglers": 0.5, "slowdown": 4.0, "step_s": 1.0},
        rounds={"deadline_s": 24.0},
    )
    # 20 rows are 2 batches, 6 steps in all: 6 s, or 24 s when slow; with a row more 9 and 36 s.
    rows = np.where(np.arange(2000) % 2 == 0, 20, 21)
    silent = faults_of(plan, _NAMES, rows)
    assert silent is not None
    told = silent(1, _EVERYBODY)
    assert (told[::2] == ANSWERS).all()
    assert (told[1::2] == LATE).mean() == pytest.approx(0.5, abs=0.08)
    np.testing.assert_array_equal(told, silent(9, _EVERYBODY))  # slow once, slow always


@pytest.mark.long
def test_both_engines_lose_the_same_homes(tmp_path: Path) -> None:
    plan = tiny.plan(
        seed=5,
        rounds={"count": 4, "deadline_s": 1.0, "quorum": 0.1},
        faults={"dropout": 0.3, "stragglers": 0.4, "slowdown": 1000.0, "step_s": 0.01},
    )
    fleet = tiny.homes([(12, 4, 4)] * 6)
    found = [
        tiny.run(plan.change(engine={"name": name}), fleet, tmp_path / name)
        for name in ("vector", "sequential")
    ]
    names = ("homes_asked", "homes_answered", "homes_late", "homes_dropped")
    rows = [[[row[name] for name in names] for row in rounds.state.rows] for rounds in found]
    assert rows[0] == rows[1]
    assert all(asked == answered + late + gone for asked, answered, late, gone in rows[0])
    assert {late for _, _, late, _ in rows[0]} - {0}
    assert len({tuple(row) for row in rows[0]}) > 1
    np.testing.assert_allclose(found[0].state.flat, found[1].state.flat, rtol=2e-4, atol=2e-5)


def test_faults_do_not_touch_evaluation(tmp_path: Path) -> None:
    plan = tiny.plan(
        rounds={"count": 2, "quorum": 0.01, "deadline_s": 1.0},
        faults={"stragglers": 1.0, "slowdown": 1e6},
    )
    rounds = tiny.run(plan, tiny.homes(), tmp_path)
    np.testing.assert_array_equal(rounds.state.flat, tiny.learning(plan).initial)
    for row in rounds.state.rows:
        assert (row["homes_answered"], row["homes_late"], row["train_loss"]) == (0, 4, None)
        assert row["validation_loss"] is not None
