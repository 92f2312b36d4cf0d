"""Runs whose homes add noise: one model with and without masks, and a cost that is kept to."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedhome
from fedhome.errors import PlanError, RoundError
from fedhome.learning.mixture import knowing_nothing, upper
from fedhome.plan.private_plan import noise_of, private_run
from fedhome.plan.settings import Plan
from fedhome.privacy.noise import update_norm
from fedhome.run.compared_models import EXPERTS, MODELS
from fedhome.run.events import SPENT, EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.report.facts import facts
from fedhome.server.report.run_results import load
from fedhome.server.rounds.noise_budget import NoiseBudget
from fedhome.server.rounds.secure_grid import SecureGrid
from helpers import tiny
from helpers.sum_rounds import sum_rounds

pytestmark = pytest.mark.long

COUNTS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 6, 5), (12, 5, 5), (27, 4, 6))
NOISE = {"mechanism": "discrete-gaussian", "epsilon": 40.0, "clip": 0.5}


def _plan(mode: str = "ideal", **sections: Any) -> Plan:
    aggregation = {"mode": mode, **sections.pop("aggregation", {})}
    privacy = {**NOISE, **sections.pop("privacy", {})}
    plan = tiny.plan(aggregation=aggregation, data={"homes": None})
    return plan.change(privacy=privacy, **sections)


def _run(plan: Plan, folder: Path) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    with sum_rounds(plan, tiny.homes(COUNTS), folder) as rounds:
        rounds.run()
    names = ("homes_answered", "train_loss", "validation_loss", "validation_score")
    return rounds.state.flat, [{name: row[name] for name in names} for row in rounds.state.rows]


def _spent(folder: Path) -> list[dict[str, Any]]:
    return [dict(e.data) for e in RunFolder(folder).read_events() if e.event == SPENT]


_PLANS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "lanes of 21 bits": {"aggregation": {"bits": 12}, "privacy": {"epsilon": 200.0}},
    "homes drop": {
        "aggregation": {"dropped": 0.6, "min_cohort": 3},
        "faults": {"dropout": 0.3},
        "rounds": {"quorum": 0.3, "count": 4},
    },
    "homes whose learning explodes": {"train": {"learning_rate": 1e30}},
}


@pytest.mark.parametrize("engine", ["vector", "sequential"])
@pytest.mark.parametrize("name", _PLANS)
def test_secure_is_ideal_bit_for_bit_with_noise(name: str, engine: str, tmp_path: Path) -> None:
    chosen = _PLANS[name] | {"engine": {"name": engine}}
    secure, told = _run(_plan("secure", **dict(chosen)), tmp_path / "secure")
    ideal, expected = _run(_plan("ideal", **dict(chosen)), tmp_path / "ideal")
    np.testing.assert_array_equal(secure, ideal)
    assert told == expected
    assert np.isfinite(secure).all()
    assert not np.allclose(secure, tiny.learning(_plan()).initial, atol=1e-4)
    assert all(row["train_loss"] is None for row in told)  # it is not asked
    assert told[0]["validation_score"] is not None


def test_a_home_that_failed_is_not_told_from_the_others(tmp_path: Path) -> None:
    _, rows = _run(_plan(train={"learning_rate": 1e30}), tmp_path)
    assert [row["homes_answered"] for row in rows] == [7, 7]
    assert not [e for e in RunFolder(tmp_path).read_events() if e.event == "reply-dropped"]


def test_the_noise_of_the_mean_is_as_large_as_the_plan_says(tmp_path: Path) -> None:
    rounds = {"count": 1, "evaluate_fraction": 0.0}
    plan = _plan(rounds=rounds)
    noisy, _ = _run(plan, tmp_path / "noisy")
    nearly, _ = _run(_plan(rounds=rounds, privacy={"epsilon": 1e7}), tmp_path / "nearly")
    most = (1 << 15) - 1
    sigma = noise_of(plan, "train", 7, update_norm(most, noisy.size)).sigma
    # Seven homes' noise in a mean of seven, in units of the update.
    expected = sigma * math.sqrt(7) / 7 * 0.5 / most
    assert np.std(noisy - nearly) == pytest.approx(expected, rel=0.35)  # of 41 numbers
    # It is made for five of the seven, as the others may vanish, of whom one may be corrupt.
    run = private_run(plan)
    assert sigma * math.sqrt(4) / most == pytest.approx(run.noise_multiplier, rel=1e-3)


def test_what_is_spent_is_in_the_log_and_adds_up_to_the_plans_epsilon(tmp_path: Path) -> None:
    _run(_plan(), tmp_path)
    spent = _spent(tmp_path)
    assert [(s["stage"], s["round"]) for s in spent] == [
        ("train", 1),
        ("evaluate", 1),
        ("train", 2),
        ("evaluate", 2),
    ]
    assert all(a["epsilon"] < b["epsilon"] for a, b in pairwise(spent))
    assert spent[-1]["epsilon"] == pytest.approx(40.0)
    shares = {
        kind: cost / private_run(_plan()).rho for kind, cost in private_run(_plan()).costs.items()
    }
    assert shares == pytest.approx({"train": 0.45, "evaluate": 0.05})


def test_a_round_that_is_done_again_is_paid_twice_and_the_run_then_ends_early(
    tmp_path: Path,
) -> None:
    plan = _plan(rounds={"count": 3, "evaluate_fraction": 0.0})
    with sum_rounds(plan, tiny.homes(COUNTS), tmp_path) as killed:
        killed._round(1)  # asked for, and no checkpoint is left of it
    with sum_rounds(plan, tiny.homes(COUNTS), tmp_path) as again:
        assert not again.resume()
        again.plan = plan.change(rounds={"count": 9})  # a server that goes on and on
        with pytest.raises(RoundError, match="would cost more than the plan's epsilon of 40"):
            again.run()
    spent = _spent(tmp_path)
    assert [s["round"] for s in spent] == [1, 1, 2]
    assert spent[-1]["epsilon"] == pytest.approx(40.0)
    dropped = [
        e.data["reason"] for e in RunFolder(tmp_path).read_events() if e.event == "reply-dropped"
    ]
    assert all("cost more than the plan's epsilon of 40" in str(reason) for reason in dropped)


def test_a_server_whose_memory_knows_no_weights_asks_for_none(tmp_path: Path) -> None:
    with sum_rounds(_plan(), tiny.homes(COUNTS), tmp_path) as rounds:
        assert isinstance(rounds.grid, SecureGrid)
        rounds.grid.scale.recall({"clip": 1.0, "weight_cap": None, "turn": 3})
        rounds.run()
    assert [row["homes_answered"] for row in rounds.state.rows] == [7, 7]
    assert {s["stage"] for s in _spent(tmp_path)} == {"train", "evaluate"}


def test_a_model_too_large_for_its_bits_is_refused(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:
        with pytest.raises(PlanError, match="rounding 5000 numbers may lengthen an update by 56%"):
            NoiseBudget(_plan(aggregation={"bits": 8}), homes=7, parameters=5000, log=log)
        NoiseBudget(_plan(aggregation={"bits": 16}), homes=7, parameters=5000, log=log)
        with pytest.raises(PlanError, match="4 of 4 homes are asked"):
            NoiseBudget(_plan(aggregation={"corrupt": 0.3}), homes=4, parameters=50, log=log)
        assert (
            NoiseBudget.of(
                _plan().change(privacy={"mechanism": "none", "epsilon": None}),
                homes=7,
                parameters=9,
                log=log,
            )
            is None
        )


def test_a_run_begins_by_saying_that_its_noise_is_too_much(tmp_path: Path) -> None:
    _run(_plan(privacy={"epsilon": 3.0}), tmp_path)
    notes = [e.data["text"] for e in RunFolder(tmp_path).read_events() if e.event == "note"]
    assert len(notes) == 1
    assert "--homes 7 --epsilon 3 --rounds 2 --parameters 41` says what would do" in str(notes[0])
    with sum_rounds(
        _plan(privacy={"epsilon": 3.0}), tiny.homes(COUNTS), tmp_path
    ):  # going on, it is not said again
        pass
    notes = [e for e in RunFolder(tmp_path).read_events() if e.event == "note"]
    assert len(notes) == 1


def test_without_noise_a_grid_has_no_budget(tmp_path: Path) -> None:
    with sum_rounds(
        tiny.plan(aggregation={"mode": "ideal"}, data={"homes": None}), tiny.homes(COUNTS), tmp_path
    ) as plain:
        assert isinstance(plain.grid, SecureGrid)
        assert plain.grid.budget is None


def test_a_whole_run_says_what_it_cost(tmp_path: Path) -> None:
    sets = [
        "data.homes=9",
        "model.hidden=[]",
        "rounds.count=2",
        "personalise.epochs=4",
        "personalise.local_epochs=1",
        "aggregation.mode=ideal",
        "aggregation.dropped=0.0",
        "privacy.mechanism=discrete-gaussian",
        "privacy.epsilon=40",
    ]
    result = fedhome.simulate(sets=sets, out=tmp_path / "run")
    events = {event.event: event.data for event in result.folder.read_events()}
    assert [s["stage"] for s in _spent(tmp_path / "run")] == [
        *["train", "evaluate"] * 2,
        "evaluate.outcome",
    ]
    assert events[SPENT]["epsilon"] == pytest.approx(40.0)
    # The trial is not asked: a third of the passes, at the first rate.
    chosen = dict(events["personalisation-chosen"])
    assert chosen.pop("weights") == pytest.approx(dict.fromkeys(EXPERTS, 0.2))  # of nothing known
    assert chosen.pop("matrix") == upper(knowing_nothing(len(EXPERTS))).tolist()
    alone = {"rate": 0.3, "epochs": 1}
    assert chosen == {**alone, "alone": {**alone, "batch": 0}, "homes": 0, "strength": 10.0}
    # Sixteen flags of a home are hidden by the noise of eight of nine homes: one may be corrupt.
    cost = private_run(result.plan).costs["evaluate.outcome"]
    told = events["scores-counted"]["noise_homes"]
    assert told == pytest.approx(math.sqrt(16 / (2 * cost)) * math.sqrt(9 / 8), rel=1e-3)
    assert facts(load([result.folder])[0])["Privacy"] == (
        "homes added noise (discrete-gaussian): \u03b5 40 at \u03b4 1e-05, for a home in every sum "
        "(in a simulation it hides nothing)"
    )
    assert result.homes.num_rows == len(MODELS) * 9
