"""Rates that a fleet chooses, by what homes make of the models that come of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

import fedhome
from fedhome.errors import ManifestError, PlanError, UpdateError
from fedhome.flower.messages import EXAMPLES, array_record, content_of, failure, read_flat, reply
from fedhome.plan.protocol import terms_hash
from fedhome.plan.settings import Plan
from fedhome.plan.tried_rates import rounds_of_search, train_rates
from fedhome.questions.question_table import ADAPTED
from fedhome.questions.settings import RATE, ROUND, check_settings, train_faults
from fedhome.questions.train_config import TrainConfig
from fedhome.run.folder import RunFolder
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.sum_scale import Scale
from fedhome.wire.layout import Layout
from helpers import tiny

_LAYOUT = Layout(("w",), ((2,),))
_INITIAL = np.array([0.0, 0.0], np.float32)
_BEST = 12.0
_AUTO: dict[str, Any] = {"train": {"rate": "auto"}, "strategy": {"rate": "auto"}}


def _home(message: Message, position: int) -> Message:
    """Go one step of the rate that it was told; adapted, a model is best where it is twelve."""
    del position
    start = read_flat(_LAYOUT, content_of(message)[0])
    kind = message.metadata.message_type
    if kind == "train":
        rate = TrainConfig.of(content_of(message)[1]).rate
        return reply(message, {EXAMPLES: 1, "train_loss": 0.0}, array_record(_LAYOUT, start + rate))
    told = float(abs(start[0] - _BEST)) if kind == ADAPTED else float(-start[0])
    return reply(message, {EXAMPLES: 1, "loss": told, "score": 0.0})


def _plan(**sections: Any) -> Plan:
    return tiny.plan(
        personalise={"name": "fine-tune"},
        **{"rounds": {"count": 14, "judge_every": 2, "patience": 0}, **sections},
    )


def _told(folder: Path, name: str) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event["data"] for event in found if event["event"] == name]


def _run(plan: Plan, folder: Path, how: Any = _home, *, warm: bool = False) -> RoundLoop:
    grid = tiny.FakeGrid(3, how)
    with tiny.rounds_on(grid, plan, _LAYOUT, folder, _INITIAL, warm=warm) as rounds:
        rounds.run()
    return rounds


def test_homes_rates_are_tried_from_one_beginning_then_the_servers_at_the_best(
    tmp_path: Path,
) -> None:
    rounds = _run(_plan(**_AUTO), tmp_path)
    tried = [
        (one["train"], one["server"], round(one["loss"], 4))
        for one in _told(tmp_path, "rates-tried")
    ]
    # Two rounds each: from 0 to twice rate times server; the loss is how far that is from twelve.
    assert tried == [
        (1.0, 1.0, 10.0),
        (0.3, 1.0, 11.4),
        (3.0, 1.0, 6.0),
        (3.0, 0.5, 9.0),
        (3.0, 2.0, 0.0),
    ]
    (chosen,) = _told(tmp_path, "rates-chosen")
    assert chosen == {"round": 10, "train": 3.0, "server": 2.0, "loss": 0.0, "tried": 5}
    # It goes on from there: six more in each round, of which the first is best.
    assert rounds.state.best.tolist() == [12.0, 12.0]
    assert rounds.state.flat.tolist() == [12.0 + 6.0 * 4] * 2


def test_a_run_goes_on_from_the_best_attempt_and_not_from_the_last(tmp_path: Path) -> None:
    plan = _plan(train={"rate": "auto", "rates": [2.0, 1.0, 0.5]})
    rounds = _run(plan, tmp_path)
    assert _told(tmp_path, "rates-chosen")[0]["round"] == 2
    # Round 2 ended at 4; rounds 7 to 14 go on from there.
    assert rounds.state.flat.tolist() == [4.0 + 8 * 2.0] * 2
    assert (rounds.state.best_round, rounds.ends_with) == (10, 10)


def _asked(
    plan: Plan, folder: Path, how: Any = _home
) -> tuple[RoundLoop, dict[int, tuple[bytes, float]]]:
    """Run a plan; return from which model homes trained in each round, and at which rate."""
    seen: dict[int, tuple[bytes, float]] = {}

    def noted(message: Message, position: int) -> Message:
        if message.metadata.message_type == "train" and position == 0:
            arrays, config = content_of(message)
            told = TrainConfig.of(config)
            number = config[ROUND]
            assert isinstance(number, int)
            seen[number] = read_flat(_LAYOUT, arrays).tobytes(), told.rate
        return how(message, position)

    return _run(plan, folder, noted), seen


def test_homes_train_from_the_first_model_once_and_later_attempts_take_that_sum_again(
    tmp_path: Path,
) -> None:
    rounds, seen = _asked(_plan(**_AUTO), tmp_path)
    assert set(range(1, 15)).difference(seen) == {3, 5, 7, 9}, "where attempts begin"
    starts = [np.frombuffer(model, np.float32)[0] for model, _ in seen.values()]
    # Round 1, and the second round of each attempt; then what follows the best of them.
    assert starts == pytest.approx([0, 1, 0.3, 3, 1.5, 6, 12, 18, 24, 30])
    assert [rate for _, rate in seen.values()] == [1, 1, 0.3, 3, 3, 3, 3, 3, 3, 3]
    rows = rounds.state.rows
    assert [row["homes_asked"] for row in rows[:4]] == [3, 3, 0, 3]
    assert all(row["homes_answered"] == 3 for row in rows)
    assert rows[2]["bytes_down"] == 0 < rows[1]["bytes_down"]
    assert rows[2]["validation_loss"] is not None, "its model is tested as any other"


def test_a_first_round_that_fails_is_asked_for_again_by_the_next_attempt(tmp_path: Path) -> None:
    def away(message: Message, position: int) -> Message:
        config = content_of(message)[1]
        if message.metadata.message_type == "train" and config[ROUND] in (1, 2):
            return failure(message, "not today")
        return _home(message, position)

    _, seen = _asked(_plan(train={"rate": "auto"}), tmp_path, away)
    assert set(range(1, 15)).difference(seen) == {5}, "the third attempt has a sum to take"
    starts = [np.frombuffer(seen[number][0], np.float32)[0] for number in (3, 4, 6, 7)]
    assert starts == pytest.approx([0, 0.3, 3, 6]), "it was made at 0.3, and taken ten times"
    assert [one["loss"] for one in _told(tmp_path, "rates-tried")] == [
        None,
        pytest.approx(11.4),
        6.0,
    ]


@pytest.mark.parametrize(("named", "expected"), [(None, 2.0**3), (0.7, 0.7)])
def test_sums_are_scaled_for_homes_that_go_further(named: float | None, expected: float) -> None:
    """A plan's clip stays; one that follows the fleet is the power of two that has room."""
    scale = Scale(Plan.load(aggregation={"mode": "ideal", "clip": named}).aggregation)
    scale.follow(0.7 if named else 2.0, 3.0)
    assert scale.clip == expected
    scale.follow(expected)
    assert scale.clip == expected
    scale.follow(512.0, 4.0)
    assert scale.clip == 512.0, "no home takes a greater one"


def test_a_rate_that_is_named_is_taken_from_the_first_round(tmp_path: Path) -> None:
    plan = _plan(train={"rate": 2.0}, strategy={"rate": 0.5}, rounds={"count": 3, "judge_every": 0})
    assert _run(plan, tmp_path).state.flat.tolist() == pytest.approx([3.0, 3.0])
    assert not _told(tmp_path, "rates-tried")


def test_what_the_strategy_remembers_is_that_of_the_first_sum_in_each_attempt(
    tmp_path: Path,
) -> None:
    """So an attempt at a rate of the server's is bit for bit a run at that rate."""
    momentum = {"name": "fedavgm", "args": {"server_momentum": 0.5, "server_learning_rate": 1.0}}
    plan = _plan(
        strategy={**momentum, "rate": "auto", "rates": [1.0, 2.0]},
        rounds={"count": 6, "judge_every": 2, "patience": 0},
    )
    found = _run(plan, tmp_path / "auto").state.flat
    assert _told(tmp_path / "auto", "rates-chosen")[0]["server"] == 2.0
    fixed = _plan(
        strategy={**momentum, "rate": 2.0}, rounds={"count": 4, "judge_every": 2, "patience": 0}
    )
    assert found.tobytes() == _run(fixed, tmp_path / "fixed").state.flat.tobytes()


def test_a_run_that_was_cut_off_tries_nothing_twice_and_ends_with_the_same_model(
    tmp_path: Path,
) -> None:
    class Cut(Exception):  # noqa: N818 - a power cut
        pass

    whole = _run(_plan(**_AUTO), tmp_path / "whole")
    for last in (2, 6, 11):

        def cut(message: Message, position: int, last: int = last) -> Message:
            if content_of(message)[1].get("server-round") == last:
                raise Cut
            return _home(message, position)

        folder = tmp_path / f"cut-{last}"
        with pytest.raises(Cut):
            _run(_plan(**_AUTO), folder, cut)
        grid = tiny.FakeGrid(3, _home)
        with tiny.rounds_on(grid, _plan(**_AUTO), _LAYOUT, folder, _INITIAL) as rounds:
            assert rounds.resume()
            rounds.run()
        assert rounds.state.flat.tobytes() == whole.state.flat.tobytes()
        assert len(_told(folder, "rates-tried")) == 5
        assert len(_told(folder, "rates-chosen")) == 1


def test_an_attempt_that_nobody_judges_is_not_chosen_and_where_none_is_the_first_stays(
    tmp_path: Path,
) -> None:
    def silent(*rounds: int) -> Any:
        def how(message: Message, position: int) -> Message:
            asked = content_of(message)[1].get("server-round")
            if message.metadata.message_type == ADAPTED and asked in rounds:
                return failure(message, "not today")
            return _home(message, position)

        return how

    plan = _plan(train={"rate": "auto"})
    _run(plan, tmp_path / "one", silent(6))
    assert _told(tmp_path / "one", "rates-chosen")[0]["train"] == 1.0, "3 is best, and unknown"
    _run(plan, tmp_path / "all", silent(*range(1, 15)))
    (chosen,) = _told(tmp_path / "all", "rates-chosen")
    assert (chosen["train"], chosen["loss"]) == (1.0, None)


def test_rounds_of_the_search_are_none_in_vain(tmp_path: Path) -> None:
    plan = _plan(
        train={"rate": "auto", "rates": [6.0, 1.0, 0.3]},
        rounds={"count": 20, "judge_every": 2, "patience": 4},
    )
    rounds = _run(plan, tmp_path)
    assert rounds.state.best_round == 2, "the first attempt is best at once"
    assert _told(tmp_path, "early-stop")[0]["round"] == 6 + 4


def test_a_run_that_begins_with_another_ones_model_tries_nothing_and_says_so(
    tmp_path: Path,
) -> None:
    plan = _plan(train={"rate": "auto", "rates": [2.0, 1.0], "warm_rate": 0.5})
    rounds = _run(plan, tmp_path, warm=True)
    assert rounds.state.flat.tolist() == pytest.approx([14.0, 14.0])
    assert "homes learn at 2 times the plan" in str(_told(tmp_path, "note"))


def test_what_has_no_effect_is_told_once_also_where_a_run_is_resumed(tmp_path: Path) -> None:
    plan = _plan(train={"rate": "auto"})
    _run(plan, tmp_path, warm=True)
    grid = tiny.FakeGrid(3, _home)
    with tiny.rounds_on(grid, plan, _LAYOUT, tmp_path, _INITIAL, warm=True) as rounds:
        assert rounds.resume()
        rounds.run()
    told = [str(one["text"]) for one in _told(tmp_path, "note")]
    assert sum("has no effect here" in one for one in told) == len(told) == 2


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"train": {"rate": "auto"}, "rounds": {"judge_every": 0}}, "here they judge none"),
        ({"strategy": {"rate": "auto"}, "personalise": {"name": "none"}}, "here they judge none"),
        ({**_AUTO, "rounds": {"count": 25}}, "takes 25 rounds (5 attempts of 5"),
        ({"train": {"rates": [1.0, 2.0]}}, "but it is 1"),
        ({"train": {"rate": "auto", "rates": [1.0, 1.0]}}, "names one twice"),
        ({"train": {"rate": "auto", "rates": [1.0, 1.2]}}, "from nearly one model"),
        ({"strategy": {"rate": "auto", "rates": [1.0, 1.2]}}, "from nearly one model"),
        (
            {"train": {"rate": "auto"}, "strategy": {"rate": "auto", "rates": [1.0, 3.0]}},
            "at 3 times train.learning_rate and 1 times the strategy's step, and at 1 and 3, would",
        ),
        ({"train": {"rate": "auto"}, "rounds": {"judge_every": 1}}, "two rounds or more"),
        (
            {"train": {"rate": 0.0}},
            'train.rate: a number above 0, or "auto", is needed (it is 0.0)',
        ),
        ({"strategy": {"rate": "fast"}}, "strategy.rate: a number above 0"),
    ],
)
def test_plans_whose_rates_cannot_be_chosen_are_refused(
    changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(**changes)
    assert any(fault in one for one in caught.value.faults), caught.value.faults


def test_methods_that_keep_something_at_home_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="would carry over"):
        fedhome.simulate(
            sets=["train.rate=auto", "method.name=fedper", "data.homes=5", "data.days=8"],
            out=tmp_path / "run",
        )


def test_a_home_takes_only_rates_of_its_plan() -> None:
    auto, plain = Plan.load(train={"rate": "auto"}), Plan.load()
    named = Plan.load(train={"rate": 0.5})
    assert (train_rates(auto), rounds_of_search(auto)) == ((1.0, 0.3, 3.0), 15)
    check_settings(train_faults({ROUND: 1, RATE: 3.0}, auto))
    check_settings(train_faults({ROUND: 1}, auto))
    check_settings(train_faults({ROUND: 1, RATE: 0.5}, named))
    for settings, plan in (({RATE: 2.0}, auto), ({RATE: 3.0}, plain), ({}, named)):
        with pytest.raises(ManifestError, match="train-rate"):
            check_settings(train_faults({ROUND: 1, **settings}, plan))
    for wrong in (0.0, -1.0, float("inf"), float("nan"), "1", True):
        with pytest.raises(UpdateError, match="train-rate"):
            TrainConfig.of({ROUND: 1, RATE: wrong})


def test_homes_of_plans_without_rates_are_bound_by_the_same_hash_as_before() -> None:
    plain = Plan.load()
    assert terms_hash(plain) == terms_hash(Plan.load(strategy={"rate": 0.5}))
    assert terms_hash(plain) != terms_hash(Plan.load(train={"rate": 0.5}))
    assert terms_hash(plain) != terms_hash(Plan.load(train={"rate": "auto"}))


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_every_way_to_add_up_and_every_engine_chooses_alike(tmp_path: Path) -> None:
    def chosen(name: str, *sets: str) -> list[tuple[float, float, float]]:
        usual = ("data.homes=5", "data.days=8", "rounds.count=11", "rounds.judge_every=2")
        quick = (
            "train.rate=auto",
            "strategy.rate=auto",
            "personalise.epochs=3",
            "personalise.opponents=['seasonal']",
            "personalise.experts=['tuned']",
        )
        fedhome.simulate(sets=[*usual, *quick, *sets], out=tmp_path / name)
        told = _told(RunFolder(tmp_path / name).path, "rates-tried")
        return [(one["train"], one["server"], one["loss"]) for one in told]

    ideal = chosen("ideal", "aggregation.mode=ideal")
    assert len(ideal) == 5
    assert chosen("secure", "aggregation.mode=secure") == ideal
    for others in (
        chosen("handlers", "aggregation.mode=secure", "engine.name=sequential"),
        chosen("one", "aggregation.mode=ideal", "engine.name=sequential"),
        chosen("plain", "aggregation.mode=plain"),
    ):
        np.testing.assert_allclose(others, ideal, rtol=1e-2)
