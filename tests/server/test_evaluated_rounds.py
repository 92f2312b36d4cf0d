"""Homes test the model of some rounds alone: what is asked, kept, told and paid for then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

import fedhome
from fedhome.flower.messages import EXAMPLES, array_record, content_of, read_flat, reply
from fedhome.plan.judged_rounds import evaluated_rounds, evaluates_in, rounds_of_evaluation
from fedhome.plan.private_plan import private_run
from fedhome.plan.protocol import most_sums_a_day
from fedhome.plan.settings import Plan
from fedhome.plan.told_weights import sums_line, weighed_sums
from fedhome.questions.question_table import EVALUATE, summed
from fedhome.run.folder import RunFolder
from fedhome.wire.layout import Layout
from helpers import tiny
from helpers.wired_fleet import WiredFleet, secure_plan

_LAYOUT = Layout(("w",), ((2,),))
_INITIAL = np.array([0.0, 0.0], np.float32)


def _counting(best: int, asked: list[tuple[str, Any]]) -> Any:
    """Return a home that learns to count rounds, and finds the model of one of them best."""

    def answer(message: Message, position: int) -> Message:
        start = read_flat(_LAYOUT, content_of(message)[0])
        kind = message.metadata.message_type
        if position == 0:
            asked.append((kind, content_of(message)[1]["server-round"]))
        if kind == "train":
            metrics = {EXAMPLES: 1, "train_loss": 0.0}
            return reply(message, metrics, array_record(_LAYOUT, start + 1))
        return reply(message, {EXAMPLES: 1, "loss": abs(float(start[0]) - best), "score": 0.0})

    return answer


def _run(folder: Path, *, best: int, warm: bool = False, **rounds: Any) -> dict[str, Any]:
    plan = tiny.plan(personalise={"name": "none"}, rounds=rounds)
    asked: list[tuple[str, Any]] = []
    grid = tiny.FakeGrid(3, _counting(best, asked))
    with tiny.rounds_on(grid, plan, _LAYOUT, folder, _INITIAL, warm=warm) as loop:
        loop.run()
        candidate = loop.candidate()
        assert candidate is not None
        return {
            "tested": [number for kind, number in asked if kind == EVALUATE],
            "trained": [number for kind, number in asked if kind == "train"],
            "losses": [row["validation_loss"] for row in loop.state.rows],
            "seconds": [row["seconds_evaluate"] for row in loop.state.rows],
            "round": candidate.round,
            "loss": candidate.loss,
        }


def test_homes_test_the_first_every_so_many_and_the_last_round(tmp_path: Path) -> None:
    ran = _run(tmp_path, best=0, count=8, evaluate_every=3)
    assert ran["trained"] == list(range(1, 9))
    assert ran["tested"] == [1, 3, 6, 8]
    assert ran["losses"] == [1.0, None, 3.0, None, None, 6.0, None, 8.0]
    assert (ran["round"], ran["loss"]) == (8, 8.0)


def test_patience_is_counted_in_rounds_whether_they_are_tested_or_not(tmp_path: Path) -> None:
    each = _run(tmp_path / "each", best=4, count=30, patience=6)
    some = _run(tmp_path / "some", best=4, count=30, patience=6, evaluate_every=2)
    assert len(each["losses"]) == len(some["losses"]) == 10  # six rounds after the fourth
    assert some["tested"] == [1, 2, 4, 6, 8, 10]
    assert each["round"] == some["round"] == 4


def test_a_run_that_goes_on_is_picked_among_rounds_that_were_tested(tmp_path: Path) -> None:
    ran = _run(tmp_path, best=5, warm=True, count=9, evaluate_every=3)
    assert ran["tested"] == [1, 3, 6, 9]
    assert (ran["round"], ran["loss"]) == (6, 1.0)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 40])
@pytest.mark.parametrize("judged", [0, 1, 4, 6])
@pytest.mark.parametrize("count", [1, 2, 12, 13, 40])
def test_their_number_is_that_of_the_rounds_in_which_homes_test(
    count: int, judged: int, every: int
) -> None:
    rounds = {"count": count, "judge_every": judged, "evaluate_every": every}
    plan = Plan.load(rounds=rounds)
    tested = [number for number in range(1, count + 1) if evaluates_in(plan, number)]
    assert evaluated_rounds(plan) == summed(EVALUATE).times(plan) == len(tested)
    assert {1, count} <= {*tested}
    if judged:  # a run may end with any of these, and is held against others by that loss
        assert {*range(judged, count + 1, judged)} <= {*tested}
    assert sum(rounds_of_evaluation(plan, number) for number in tested) == count


def test_fewer_tests_tell_less_and_each_is_paid_for_with_more() -> None:
    each = Plan.load(rounds={"count": 20, "judge_every": 0})
    some = each.change(rounds={"evaluate_every": 5})  # of rounds 1, 5, 10, 15 and 20
    assert weighed_sums(each)["validation"] == (20, 0)
    assert weighed_sums(some)["validation"] == (5, 0)
    assert most_sums_a_day(each) - most_sums_a_day(some) == 3 * 15
    noisy = {"mechanism": "discrete-gaussian", "epsilon": 8.0}
    by_all, by_some = (private_run(plan.change(privacy=noisy)) for plan in (each, some))
    assert by_some.rho == pytest.approx(by_all.rho)
    assert by_some.costs["train"] == pytest.approx(by_all.costs["train"])
    assert by_some.costs[EVALUATE] == pytest.approx(4 * by_all.costs[EVALUATE])


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ({}, "40 times to train, 40 times to test the model as it is, 8 times to test it once"),
        ({}, "leaves out up to 31 of them"),  # all but the first and the eight that are judged
        ({"judge_every": 0, "count": 10}, "leaves out up to 8 of them"),
        ({"judge_every": 0, "count": 10, "evaluate_every": 5}, "10 times to train, 3 times to"),
        ({"judge_every": 0, "evaluate_fraction": 0.0}, "40 times to train, 0 times to"),
    ],
)
def test_plan_explain_says_how_often_homes_are_asked(rounds: dict[str, Any], said: str) -> None:
    assert said in sums_line(Plan.load(rounds=rounds))[1]


@pytest.mark.parametrize("rounds", [{"evaluate_every": 40}, {"evaluate_fraction": 0.0}])
def test_what_cannot_be_left_out_is_not_spoken_of(rounds: dict[str, Any]) -> None:
    assert "leaves out" not in sums_line(Plan.load(rounds=rounds))[1]


def test_real_homes_are_asked_three_questions_instead_of_six(tmp_path: Path) -> None:
    fleet = WiredFleet(tmp_path, secure_plan(rounds={"count": 4, "evaluate_every": 3}))
    asked: list[str] = []
    home = fleet.wire.homes["h00"]

    def listening(message: Message) -> Message:
        asked.append(message.metadata.message_type)
        return home(message)

    fleet.wire.homes["h00"] = listening
    with fleet.run() as loop:
        loop.run()
        losses = [row["validation_loss"] for row in loop.state.rows]
    assert [loss is None for loss in losses] == [False, True, False, False]
    second = asked[_nth(asked, "train", 2) : _nth(asked, "train", 3)]
    third = asked[_nth(asked, "train", 3) : _nth(asked, "train", 4)]
    assert (second[0], second.count(EVALUATE)) == ("train", 0)
    assert (third[0], third.count(EVALUATE)) == ("train", 1)
    assert len(third) == 2 * len(second)


def _nth(asked: list[str], kind: str, number: int) -> int:
    """Return where the question of a kind was asked for the n-th time."""
    return [place for place, one in enumerate(asked) if one == kind][number - 1]


@pytest.mark.long
@pytest.mark.parametrize("mode", ["ideal", "secure"])
def test_what_is_tested_and_learnt_is_the_same_bit_for_bit(tmp_path: Path, mode: str) -> None:
    usual = ["data.homes=6", "data.days=10", "rounds.count=5", "model.hidden=[4]"]
    usual += ["personalise.name=none", f"aggregation.mode={mode}"]
    tables, models = [], []
    for every in (1, 2):
        out = tmp_path / f"{every}"
        fedhome.simulate(sets=[*usual, f"rounds.evaluate_every={every}"], out=out)
        tables.append(RunFolder(out).read_rounds().to_pylist())
        models.append((out / "model.safetensors").read_bytes())
    assert models[0] == models[1]
    each, some = tables
    for row, other in zip(each, some, strict=True):
        tested = row["round"] in {1, 2, 4, 5}
        told = {name: row[name] if tested else None for name in _TESTED}
        assert {name: other[name] for name in _TESTED} == told
        assert row["train_loss"] == other["train_loss"]
        assert (row["bytes_up"] > other["bytes_up"]) == (not tested)


_TESTED = ("validation_loss", "validation_score")
