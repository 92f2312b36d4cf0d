"""Rounds are judged by what homes make of their models, and the best one is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from flwr.app import Message

import fedhome
from fedhome.clients.membership.consent import Invitation, consent_text
from fedhome.errors import PlanError
from fedhome.flower.messages import EXAMPLES, array_record, content_of, failure, read_flat, reply
from fedhome.plan.judged_rounds import judged_every, patience_of
from fedhome.plan.protocol import most_sums_a_day
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import ADAPTED, SUMMED
from fedhome.run.folder import RunFolder
from fedhome.wire.layout import Layout
from helpers import tiny

_LAYOUT = Layout(("w",), ((2,),))
_INITIAL = np.array([0.0, 0.0], np.float32)
_WEIGHTS = (1, 2, 1)

How = Callable[[Message, int], Message | None]


def _home(message: Message, position: int) -> Message:
    """Learn to count rounds; the model itself is best last, the adapted one in round four."""
    start = read_flat(_LAYOUT, content_of(message)[0])
    kind = message.metadata.message_type
    if kind == "train":
        metrics = {EXAMPLES: 1, "train_loss": 0.0}
        return reply(message, metrics, array_record(_LAYOUT, start + 1))
    told = float(abs(start[0] - 4)) if kind == ADAPTED else float(-start[0])
    told += (position - 1) * _WEIGHTS[1 - position % 2]  # cancels in the weighted mean
    return reply(message, {EXAMPLES: _WEIGHTS[position], "loss": told, "score": 0.0})


def _run(plan: Plan, folder: Path, how: How = _home) -> tuple[list[float], int]:
    with tiny.rounds_on(tiny.FakeGrid(3, how), plan, _LAYOUT, folder, _INITIAL) as rounds:
        flat = rounds.run()
        candidate = rounds.candidate()
    assert candidate is not None
    assert candidate.flat.tolist() == flat.tolist()
    return flat.tolist(), candidate.round


def _plan(**sections: Any) -> Plan:
    return tiny.plan(personalise={"name": "fine-tune"}, **sections)


def _told(folder: Path, name: str) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event["data"] for event in found if event["event"] == name]


def test_the_round_is_kept_whose_adapted_model_is_best(tmp_path: Path) -> None:
    plan = _plan(rounds={"count": 7, "judge_every": 2})
    assert _run(plan, tmp_path) == ([4.0, 4.0], 4)
    judged = _told(tmp_path, "model-judged")
    assert [one["round"] for one in judged] == [2, 4, 6, 7]
    assert [one["loss"] for one in judged] == pytest.approx([2.0, 0.0, 2.0, 3.0], abs=1e-5)
    assert _told(tmp_path, "model-picked") == [{"round": 4, "loss": 0.0, "adapted": True}]


def test_without_judging_the_last_round_counts(tmp_path: Path) -> None:
    flat, kept = _run(_plan(rounds={"count": 7, "judge_every": 0}), tmp_path)
    assert (flat, kept) == (pytest.approx([7.0, 7.0]), 7)
    assert not _told(tmp_path, "model-judged") + _told(tmp_path, "model-picked")


def test_patience_counts_rounds_since_the_best_judged_one(tmp_path: Path) -> None:
    plan = _plan(rounds={"count": 20, "judge_every": 2, "patience": 4})
    assert _run(plan, tmp_path) == ([4.0, 4.0], 4)
    assert _told(tmp_path, "early-stop") == [{"round": 8, "best_loss": 0.0}]


def test_patience_waits_for_a_round_to_be_judged(tmp_path: Path) -> None:
    plan = _plan(rounds={"count": 20, "judge_every": 3, "patience": 1})
    assert _run(plan, tmp_path)[1] == 3
    assert _told(tmp_path, "early-stop") == [{"round": 6, "best_loss": pytest.approx(1.0)}]


def test_unless_a_plan_says_otherwise_every_fifth_round_is_judged_and_ten_in_vain_are_enough(
    tmp_path: Path,
) -> None:
    assert _run(_plan(rounds={"count": 30}), tmp_path)[1] == 5
    assert [one["round"] for one in _told(tmp_path, "model-judged")] == [5, 10, 15]
    assert _told(tmp_path, "early-stop") == [{"round": 15, "best_loss": pytest.approx(1.0)}]
    private = {"mechanism": "discrete-gaussian", "epsilon": 8.0}
    assert judged_every(Plan.load(privacy=private, aggregation={"mode": "secure"})) == 0
    assert judged_every(Plan.load(personalise={"name": "none"})) == 0
    assert patience_of(Plan.load(), picks=False) is None
    assert patience_of(Plan.load(rounds={"patience": 0}), picks=True) is None


def test_a_round_that_nobody_judges_is_told_and_not_kept(tmp_path: Path) -> None:
    def silent_in_four(message: Message, position: int) -> Message:
        kind = message.metadata.message_type
        if kind == ADAPTED and content_of(message)[1]["server-round"] == 4:
            return failure(message, "not today")
        return _home(message, position)

    plan = _plan(rounds={"count": 6, "judge_every": 2})
    assert _run(plan, tmp_path, silent_in_four)[1] == 2
    (note,) = [one["text"] for one in _told(tmp_path, "note")]
    assert note.startswith("round 4 is not judged, and so not kept as the best: no home answered")


def test_one_homes_loss_can_keep_an_early_round_as_the_docs_say(tmp_path: Path) -> None:
    """It is open: what a home tells of its loss is bounded by the range, and by nothing else."""

    def afraid(message: Message, position: int) -> Message:
        answer = _home(message, position)
        late = content_of(message)[1].get("server-round", 0) > 2
        if message.metadata.message_type == ADAPTED and position == 0 and late:
            answer.content["metrics"]["loss"] = 1024.0
        return answer

    plan = _plan(rounds={"count": 20, "judge_every": 2, "patience": 10})
    assert _run(plan, tmp_path / "one home", afraid)[1] == 2
    assert _told(tmp_path / "one home", "early-stop")[0]["round"] == 12
    assert _run(plan, tmp_path / "none")[1] == 4, "the control"


def test_rounds_that_nobody_judges_are_no_rounds_in_vain(tmp_path: Path) -> None:
    """A home that spoils what is asked between rounds would end the run after ten of forty.

    That ten rounds that were judged, and were no better, end it is the control, above.
    """

    def never(message: Message, position: int) -> Message:
        if message.metadata.message_type == ADAPTED:
            return failure(message, "its sum is beyond what homes can add")
        return _home(message, position)

    flat, kept = _run(_plan(rounds={"count": 14}), tmp_path, never)
    assert (flat, kept) == (pytest.approx([14.0, 14.0]), 14)
    assert not _told(tmp_path, "early-stop") + _told(tmp_path, "model-picked")


def test_rounds_whose_loss_nobody_knows_are_no_rounds_in_vain(tmp_path: Path) -> None:
    def silent_after_two(message: Message, position: int) -> Message:
        asked = content_of(message)[1]["server-round"]
        if message.metadata.message_type == "evaluate" and asked > 2:
            return failure(message, "not today")
        return _home(message, position)

    plan = _plan(rounds={"count": 9, "judge_every": 0, "patience": 3})
    assert _run(plan, tmp_path, silent_after_two)[1] == 2
    assert not _told(tmp_path, "early-stop")
    assert len(_told(tmp_path, "round-closed")) == 9


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    def huge(message: Message, position: int) -> Message:
        answer = _home(message, position)
        if message.metadata.message_type == ADAPTED:
            answer.content["metrics"]["loss"] = 1.5e308
        return answer

    assert _run(_plan(rounds={"count": 2, "judge_every": 2}), tmp_path, huge)[1] == 2
    (note,) = [one["text"] for one in _told(tmp_path, "note")]
    assert note.startswith("round 2 is not judged, and so not kept as the best: the losses")


def test_a_run_that_goes_on_keeps_the_same_round(tmp_path: Path) -> None:
    class Cut(Exception):  # noqa: N818 - a power cut
        pass

    def cut_in_five(message: Message, position: int) -> Message:
        if content_of(message)[1].get("server-round") == 5:
            raise Cut
        return _home(message, position)

    plan = _plan(rounds={"count": 7, "judge_every": 2})
    with (
        tiny.rounds_on(tiny.FakeGrid(3, cut_in_five), plan, _LAYOUT, tmp_path, _INITIAL) as rounds,
        pytest.raises(Cut),
    ):
        rounds.run()
    with tiny.rounds_on(tiny.FakeGrid(3, _home), plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        assert rounds.resume()
        assert rounds.run().tolist() == [4.0, 4.0]
        assert rounds.state.best_round == 4


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"personalise": {"name": "none"}}, "personalise.name is"),
        (
            {
                "privacy": {"mechanism": "discrete-gaussian", "epsilon": 8.0},
                "aggregation": {"mode": "secure"},
            },
            "asks homes for one sum more",
        ),
    ],
)
def test_plans_in_which_nothing_can_be_judged_are_refused(
    changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(**changes, rounds={"judge_every": 5})
    assert any(fault in one for one in caught.value.faults)


def test_a_home_answers_only_where_its_plan_judges_and_as_it_says() -> None:
    row = SUMMED[ADAPTED]
    asked = {"rate": 0.3, "epochs": 10, "server-round": 2}
    judging = Plan.load(rounds={"judge_every": 2})
    assert not list(row.faults(asked, judging))
    assert list(row.faults(asked, judging.change(rounds={"judge_every": 0})))
    for wrong in ({"rate": 7.0}, {"epochs": 31}, {"server-round": 41}):
        assert list(row.faults({**asked, **wrong}, judging))


def test_people_are_told_and_sums_a_day_are_as_many_more() -> None:
    plain = Plan.load(aggregation={"mode": "secure"}, rounds={"count": 10, "judge_every": 0})
    judging = plain.change(rounds={"judge_every": 4})
    told, usual = (
        consent_text(Invitation(home="oak", fleet=bytes(16), server="a:1", plan=plan))
        for plan in (judging, plain)
    )
    words = "when the model of some rounds is tested as homes would make it their own"
    assert words in " ".join(told.split())
    assert words not in " ".join(usual.split())
    assert most_sums_a_day(judging) - most_sums_a_day(plain) == 3 * 3


@pytest.mark.long
def test_masked_sums_judge_as_ideal_ones_and_one_home_at_a_time_as_all_at_once(
    tmp_path: Path,
) -> None:
    def judged(name: str, *sets: str) -> list[tuple[int, float]]:
        usual = ("data.homes=5", "data.days=8", "rounds.count=3", "rounds.judge_every=2")
        quick = (
            "personalise.epochs=3",
            "personalise.opponents=['seasonal']",
            "personalise.experts=['tuned']",
        )
        out = tmp_path / name
        fedhome.simulate(sets=[*usual, *quick, *sets], out=out)
        return [(one["round"], one["loss"]) for one in _told(RunFolder(out).path, "model-judged")]

    ideal = judged("ideal", "aggregation.mode=ideal")
    assert [number for number, _ in ideal] == [2, 3]
    assert judged("secure", "aggregation.mode=secure") == ideal
    one_by_one = judged("one", "aggregation.mode=ideal", "engine.name=sequential")
    in_the_clear = judged("plain", "aggregation.mode=plain")
    for others in (one_by_one, in_the_clear):
        np.testing.assert_allclose(others, ideal, rtol=1e-3)


def test_a_run_that_goes_on_judges_by_the_model_as_it_is_and_says_so(tmp_path: Path) -> None:
    plan = _plan(rounds={"count": 6, "judge_every": 2})
    with tiny.rounds_on(
        tiny.FakeGrid(3, _home), plan, _LAYOUT, tmp_path, _INITIAL, warm=True
    ) as rounds:
        assert rounds.run().tolist() == pytest.approx([6.0, 6.0])
    assert not _told(tmp_path, "model-judged")
    (note,) = [one["text"] for one in _told(tmp_path, "note")]
    assert note.startswith("rounds.judge_every has no effect here")


def test_a_checkpoint_from_before_rounds_were_judged_is_gone_on_from(tmp_path: Path) -> None:
    plan = _plan(rounds={"count": 3, "judge_every": 0, "patience": 9})
    with tiny.rounds_on(tiny.FakeGrid(3, _home), plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        rounds.run()
    (path,) = (tmp_path / "checkpoint").iterdir()
    with safetensors.safe_open(path, framework="numpy") as file:
        record = json.loads(file.metadata()["state"])
        arrays = {name: file.get_tensor(name) for name in ("flat", "best")}
    assert record.pop("best_round") == 3
    path.write_bytes(safetensors.numpy.save(arrays, {"state": json.dumps(record)}))
    longer = plan.change(rounds={"count": 7, "judge_every": 2})
    with tiny.rounds_on(tiny.FakeGrid(3, _home), longer, _LAYOUT, tmp_path, _INITIAL) as rounds:
        assert rounds.resume()
        assert rounds.run().tolist() == pytest.approx([4.0, 4.0])
        candidate = rounds.candidate()
    assert candidate is not None
    assert candidate.round == 4
