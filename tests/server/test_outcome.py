"""What a server makes of the homes' answers at a run's end, and of such as are no answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedhome.errors import RoundError
from fedhome.flower.messages import content_of, reply
from fedhome.learning.mixture import BOUND, FIRST_STRENGTH, STRENGTHS, knowing_nothing, upper
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import BLEND, OUTCOME, SHRINK, TRIAL, summed
from fedhome.questions.settings import INPUTS, inputs_hash
from fedhome.run.compared_models import EXPERTS, FEDERATED, MODELS, WORST_ERROR
from fedhome.run.events import Event, EventLog, read_events
from fedhome.run.results import homes_table, summary
from fedhome.server.rounds.outcome import personalise
from fedhome.wire.layout import Layout
from helpers import tiny

_START = np.zeros(1, np.float32)
_PLAN = tiny.plan(personalise={"name": "fine-tune"})
_MATRIX = np.diag([1.0, 2.0, 4.0, 4.0, 4.0])
_TOLD = {
    "num-examples": 5,
    "examples-train": 20,
    "examples-validation": 6,
    "expert": 3,
    "best": 1,
    "null": 0,
    **dict(zip((f"weight.{name}" for name in EXPERTS), (0.1, 0.2, 0.0, 0.4, 0.3), strict=True)),
    "verdict.global": -1,
    "verdict.tuned": 0,
    "verdict.personalised": 1,
    **{f"{model}.skill": 0.5 for model in MODELS},
    **{f"{model}.loss": 0.25 for model in MODELS},
}
_GOOD: dict[str, dict[str, Any]] = {
    # At 0.5 and at 1.0: after 0, 1 and 2 passes; alone after 1, 2 and 3.
    TRIAL: {
        "num-examples": 1,
        "changes": [1.0, 0.8, 0.9, 1.0, 0.7, 1.1, 0.9, 0.6, 0.7, 0.8, 0.65, 0.7],
    },
    BLEND: {"num-examples": 1, "errors": upper(_MATRIX).tolist()},
    # Best at strengths of 3 and 10.
    SHRINK: {"num-examples": 1, "errors": [0.9, 0.8, 0.7, 0.7, 0.75, 0.8, 0.9]},
    OUTCOME: _TOLD,
}


def _personalised(
    folder: Path,
    odd: dict[str, dict[str, Any]],
    *,
    count: int = 3,
    everybody: bool = False,
    plan: Plan = _PLAN,
) -> tuple[list[dict[str, Any]], list[Event], dict[str, dict[str, Any]]]:
    """Ask homes to personalise; home 1 answers each question as ``odd`` says."""
    asked: dict[str, dict[str, Any]] = {}

    def how(message: Message, position: int) -> Message:
        kind = message.metadata.message_type
        asked[kind] = dict(content_of(message)[1])
        changes = odd.get(kind, {}) if everybody or position == 1 else {}
        return reply(message, dict(_GOOD[kind]) | changes)

    grid, layout = tiny.FakeGrid(count, how), Layout(("w",), ((1,),))
    with EventLog(folder / "events.jsonl") as log:
        rows = personalise(
            plan=plan,
            grid=grid,
            layout=layout,
            flat=_START,
            score="skill",
            log=log,
            name_of=grid.name_of,
        )
    return rows, read_events(folder / "events.jsonl"), asked


def test_the_fleet_ends_as_suits_most_of_its_homes(tmp_path: Path) -> None:
    rows, events, asked = _personalised(tmp_path, {})
    (chosen,) = events
    assert chosen.event == "personalisation-chosen"
    # As 1, 1/2, 1/4, 1/4 and 1/4.
    weights = dict(zip(EXPERTS, np.array([4, 2, 1, 1, 1]) / 9, strict=True))
    told = dict(chosen.data)
    assert told.pop("weights") == pytest.approx(weights, rel=1e-6)
    assert told.pop("matrix") == pytest.approx(upper(_MATRIX).tolist())
    assert told == {
        "rate": 1.0,
        "epochs": 1,
        "homes": 3,
        "strength": 10.0,  # of those that are as good the strongest
        "alone": {"rate": 0.5, "epochs": 2, "batch": 0},
    }
    about = {INPUTS: inputs_hash(_PLAN)}
    matrix = asked[OUTCOME]["matrix"]
    assert matrix == pytest.approx(upper(_MATRIX).tolist())
    assert asked[TRIAL] == about
    assert asked[BLEND] == {"rate": 1.0, "epochs": 1, **about}
    assert asked[SHRINK] == {"rate": 1.0, "epochs": 1, "matrix": matrix, "homes": 3, **about}
    assert asked[OUTCOME] == {
        "rate": 1.0,
        "epochs": 1,
        "matrix": matrix,
        "strength": 10.0,
        "alone-rate": 0.5,
        "alone-epochs": 2,
        "alone-batch": 0,
        **about,
    }
    assert len(rows) == 3 * len(MODELS)
    homes_table(rows)


def test_homes_that_train_alone_have_the_batches_that_suit_most_of_them(tmp_path: Path) -> None:
    """Of batches of 8 and of 4, each at both rates: the second at 1.0, after two passes."""
    plan = _PLAN.change(personalise={"local_batches": [8, 4]})
    alone = [0.9, 0.6, 0.7, 0.8, 0.65, 0.7, 0.9, 0.6, 0.7, 0.8, 0.5, 0.7]
    changes = [*_GOOD[TRIAL]["changes"][:6], *alone]
    told = {TRIAL: {"changes": changes}}
    _, (chosen,), asked = _personalised(tmp_path, told, everybody=True, plan=plan)
    assert chosen.data["alone"] == {"rate": 1.0, "epochs": 2, "batch": 4}
    assert [asked[OUTCOME][f"alone-{what}"] for what in ("rate", "epochs", "batch")] == [1.0, 2, 4]
    assert not list(summed(OUTCOME).faults({**asked[OUTCOME], "bins": 0}, plan))
    (fault,) = summed(OUTCOME).faults({**asked[OUTCOME], "alone-batch": 0, "bins": 0}, plan)
    assert "alone-batch 0, which is none of the plan's [8, 4]" in fault


def test_a_pull_that_no_home_could_try_is_none_that_was_chosen(tmp_path: Path) -> None:
    """Homes of a single stretch of rows follow the fleet, and say of all pulls the same."""
    untried = {SHRINK: {"errors": [0.7] * 7}}
    _, _, asked = _personalised(tmp_path, untried, everybody=True)
    assert asked[OUTCOME]["strength"] == FIRST_STRENGTH
    # Control: where one home can try it, and none is better than to follow, it is the strongest.
    (tmp_path / "tried").mkdir()
    falling = {SHRINK: {"errors": [0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6]}}
    _, _, asked = _personalised(tmp_path / "tried", falling, everybody=True)
    assert asked[OUTCOME]["strength"] == max(STRENGTHS)


@pytest.mark.parametrize("kind", [BLEND, SHRINK, OUTCOME])
def test_what_a_server_asks_its_homes_own_plan_allows(kind: str, tmp_path: Path) -> None:
    """Also where all experts err as far as can be: rounding leads to nothing beyond the bound."""
    worst = {"errors": [BOUND] * 15}
    for odd in ({}, {BLEND: worst}, {BLEND: {"errors": [BOUND - 1e-9] * 14 + [-BOUND]}}):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        _, _, asked = _personalised(folder, odd, everybody=True)
        assert list(summed(kind).faults(asked[kind], _PLAN)) == []


def test_the_rows_of_a_home_say_how_it_ended(tmp_path: Path) -> None:
    rows, _, _ = _personalised(tmp_path, {OUTCOME: {"null": -1, "global.skill": 0.25}})
    of = {row["model"]: row for row in rows if row["home"] == "home-1"}
    assert tuple(of) == MODELS
    assert {row["expert"] for row in of.values()} == {"linear"}
    assert {row["best"] for row in of.values()} == {"linear"}
    verdicts = {model: row["verdict"] for model, row in of.items() if row["verdict"]}
    assert verdicts == {
        "local": "hurt",  # the null: the same model, trained twice
        "global": "hurt",
        "tuned": "no difference",
        "personalised": "helped",
    }
    assert (of["global"]["score"], of["tuned"]["score"]) == (0.25, 0.5)
    assert {name: of["personalised"][f"weight_{name}"] for name in EXPERTS} == {
        "tuned": 0.1,
        "global": 0.2,
        "naive": 0.0,
        "linear": 0.4,
        "trees": 0.3,
    }
    assert not any(name.startswith("weight_") for name in of["tuned"])
    assert (of["baseline"]["loss"], of["baseline"]["examples_test"]) == (0.25, 5)


def test_nobody_disappears_for_numbers_that_are_not_finite(tmp_path: Path) -> None:
    """A home answers the worst there is; the line names the home and says what to do."""
    diverged = {"global.skill": -1.0, "global.loss": WORST_ERROR, "verdict.global": -1}
    rows, events, _ = _personalised(tmp_path, {OUTCOME: diverged})
    (note,) = [event.data["text"] for event in events if event.event == "note"]
    assert note == (
        "the global model's numbers were not finite in 1 home: home-1; its score there counts "
        "as the worst: lower train.learning_rate, or set train.clip_norm"
    )
    of = {row["home"]: row for row in rows if row["model"] == "global"}
    assert (of["home-1"]["score"], of["home-1"]["loss"]) == (-1.0, None)
    (found,) = [row for row in summary(homes_table(rows)) if row.model == "global"]
    assert (found.homes, found.left_out, found.compared) == (3, 0, 3)
    assert found.mean == pytest.approx(0.0)  # of 0.5, -1 and 0.5


def test_of_many_homes_some_are_named(tmp_path: Path) -> None:
    diverged = {OUTCOME: {"tuned.skill": -1.0, "tuned.loss": WORST_ERROR}}
    _, events, _ = _personalised(tmp_path, diverged, count=7, everybody=True)
    (note,) = [event.data["text"] for event in events if event.event == "note"]
    assert "in 7 homes: home-0, home-1, home-2, home-3, home-4 and others;" in note


@pytest.mark.parametrize(
    ("kind", "odd", "why"),
    [
        (TRIAL, {"changes": [1.0, 0.0]}, "not 12 numbers"),
        (TRIAL, {"changes": 0.0}, "not 12 numbers"),
        (TRIAL, {"changes": [float("nan")] * 12}, "not finite"),
        (TRIAL, {"more": 1}, "metrics differ"),
        (BLEND, {"errors": [1.0] * 14}, "not 15 numbers"),
        (BLEND, {"errors": [float("inf")] * 15}, "not finite"),
        (SHRINK, {"errors": [1.0] * 6}, "not 7 numbers"),
        (OUTCOME, {"expert": 5}, "its expert is none of 0 to 4"),
        (OUTCOME, {"expert": -1}, "its expert is none of 0 to 4"),
        (OUTCOME, {"expert": 1.0}, "whole numbers"),
        (OUTCOME, {"best": 5}, "its best is none of 0 to 4"),
        (OUTCOME, {"null": 2}, "none of -1, 0 and 1"),
        (OUTCOME, {"verdict.tuned": -2}, "none of -1, 0 and 1"),
        (OUTCOME, {"global.skill": [1.0, 2.0]}, "not a single number"),
        (OUTCOME, {"local.loss": float("inf")}, "not finite"),
    ],
)
def test_one_odd_answer_is_left_out_and_ends_nothing(
    kind: str, odd: dict[str, Any], why: str, tmp_path: Path
) -> None:
    rows, events, _ = _personalised(tmp_path, {kind: odd})
    (dropped,) = [event.data for event in events if event.event == "reply-dropped"]
    assert (dropped["stage"], dropped["home"]) == (kind, "home-1")
    assert why in str(dropped["reason"])
    left = {"home-0", "home-2"} | (set() if kind == OUTCOME else {"home-1"})
    assert {row["home"] for row in rows} == left


@pytest.mark.parametrize("name", [*(f"verdict.{model}" for model in FEDERATED), "weight.trees"])
def test_an_outcome_that_lacks_something_is_left_out(name: str, tmp_path: Path) -> None:
    def how(message: Message, position: int) -> Message:
        del position
        told = dict(_GOOD[message.metadata.message_type])
        told.pop(name, None)
        return reply(message, told)

    with (
        EventLog(tmp_path / "events.jsonl") as log,
        pytest.raises(RoundError, match=f"it lacks {name}"),
    ):
        _ask(tiny.FakeGrid(2, how), log)


def test_when_nobody_answers_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(RoundError, match="no home answered"):
        _personalised(tmp_path, {}, count=0)


def test_when_no_answer_can_be_used_the_reason_is_told(tmp_path: Path) -> None:
    def how(message: Message, position: int) -> Message:
        del position
        return reply(message, {"num-examples": 1, "changes": [1.0]})

    with (
        EventLog(tmp_path / "events.jsonl") as log,
        pytest.raises(RoundError, match="not 12 numbers"),
    ):
        _ask(tiny.FakeGrid(2, how), log)


def _ask(grid: tiny.FakeGrid, log: EventLog) -> None:
    personalise(
        plan=_PLAN,
        grid=grid,
        layout=Layout(("w",), ((1,),)),
        flat=_START,
        score="skill",
        log=log,
        name_of=str,
    )


def test_with_noise_the_plan_says_how_homes_end(tmp_path: Path) -> None:
    """Nothing is tried: the first rate, a third of the passes, and experts of like worth."""
    asked: dict[str, dict[str, Any]] = {}

    def how(message: Message, position: int) -> Message:
        del position
        asked[message.metadata.message_type] = dict(content_of(message)[1])
        return reply(message, dict(_TOLD))

    plan = _PLAN.change(
        data={"homes": 9},
        privacy={"mechanism": "discrete-gaussian", "epsilon": 4.0},
        aggregation={"mode": "ideal"},
    )
    grid = tiny.FakeGrid(2, how)
    with EventLog(tmp_path / "events.jsonl") as log:
        personalise(
            plan=plan,
            grid=grid,
            layout=Layout(("w",), ((1,),)),
            flat=_START,
            score="skill",
            log=log,
            name_of=grid.name_of,
        )
    assert asked == {
        OUTCOME: {
            "rate": 0.5,
            "epochs": 1,
            "matrix": upper(knowing_nothing(5)).tolist(),
            "strength": 10.0,
            "alone-rate": 0.5,
            "alone-epochs": 1,
            "alone-batch": 0,
            INPUTS: inputs_hash(plan),
        }
    }
