"""Personalisation by hand: homes whose model is one number, pulled towards their own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.errors import PluginError, RoundError, UpdateError
from fedhome.flower.messages import content_of, reply
from fedhome.learning.cohort import Cohort, Measured, Trained
from fedhome.learning.device import Device
from fedhome.learning.methods import Method
from fedhome.learning.personalise import choose, fine_tune, personaliser
from fedhome.plan.settings import PersonaliseSettings
from fedhome.questions import responses
from fedhome.questions.question_table import OUTCOME, TRIAL
from fedhome.questions.responses import QuestionContext
from fedhome.questions.settings import INPUTS, inputs_hash
from fedhome.run.events import Event, EventLog, read_events
from fedhome.server.rounds.outcome import personalise
from fedhome.wire.layout import Layout
from helpers import tiny

_START = np.zeros(1, np.float32)
_MODELS = ("baseline", *fine_tune.CHOICES)


class Points(Cohort):
    """Each home learns one number: a pass goes half the way to the mean of the part's aim.

    Args:
        aims: What training, validation and test ask for, float64 ``[homes, 3]``.
        error: Standard error of every comparison.
    """

    def __init__(self, aims: Any, *, error: float = 0.0, initial: float = 10.0) -> None:
        self.aims = np.array(aims, np.float64)
        self.error = error
        self.homes = tuple(f"home-{place}" for place in range(len(self.aims)))
        self.learning: Any = SimpleNamespace(initial=np.full(1, initial, np.float32))
        self.parts: list[tuple[str, int]] = []

    def _aim(self, part: Part) -> NDArray[np.float64]:
        if part == "train+validation":
            return np.asarray(self.aims[:, :2].mean(axis=1), np.float64)
        return self.aims[:, ("train", "validation", "test").index(part)]

    def counts(self, part: Part) -> NDArray[np.int64]:
        del part
        return np.full(len(self.homes), 5)

    def train(
        self,
        start: NDArray[np.float32],
        *,
        stream: int,
        epochs: int,
        part: Part = "train",
        rate: float = 1.0,
        method: Method | None = None,
    ) -> Trained:
        del stream, method
        self.parts.append((part, len(self.homes)))
        params = np.broadcast_to(start, (len(self.homes), 1)).copy()
        for _ in range(epochs):
            params += (0.5 * rate * (self._aim(part)[:, None] - params)).astype(np.float32)
        return Trained(params, np.zeros(len(self.homes)))

    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        own = np.broadcast_to(params, (len(self.homes), 1))[:, 0].astype(np.float64)
        losses = (own - self._aim(part)) ** 2
        return Measured(losses, {"score": -losses})

    def compare(
        self, one: NDArray[np.float32], other: NDArray[np.float32], part: Part
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        gain = self.evaluate(one, part).losses - self.evaluate(other, part).losses
        return gain, np.full(len(self.homes), self.error)

    def baseline(self, part: Part) -> Measured:
        return self.evaluate(np.full(1, 99, np.float32), part)

    def pick(self, homes: NDArray[np.int64]) -> Points:
        some = Points(self.aims[homes], error=self.error)
        some.learning, some.parts = self.learning, self.parts
        return some


def _settings(**changes: Any) -> PersonaliseSettings:
    plain = {"epochs": 2, "local_epochs": 4, "patience": 2, "rates": [0.5, 1.0], "refit": False}
    return tiny.plan(personalise=plain | changes).personalise


def test_a_trial_tells_each_pass_as_a_factor_of_the_loss_before() -> None:
    homes = Points([[4, 4, 0], [4, -4, 0]])
    changes = fine_tune.trial(homes, _START, _settings())
    assert changes.shape == (2, 2, 3)
    # Home 0 goes 0, 1, 1.75 at half the rate and 0, 2, 3 at the whole one, towards 4.
    np.testing.assert_allclose(changes[0] * 16, np.array([[16, 9, 2.25**2], [16, 4, 1]]))
    # Home 1 trains away from its validation: (4 + 1)² / 16, then bounded by 2.
    np.testing.assert_allclose(changes[1], np.array([[1, 25 / 16, 2], [1, 2, 2]]))


def test_an_exploded_trial_counts_as_the_worst_and_nothing_lost_as_no_change() -> None:
    class Exploding(Points):
        def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
            measured = super().evaluate(params, part)
            lost = np.where(params.reshape(-1)[-1] > 0, np.nan, measured.losses)
            return Measured(lost, measured.metrics)

    assert fine_tune.trial(Exploding([[4, 4, 0]]), _START, _settings()).tolist() == [
        [[1, 2, 2], [1, 2, 2]]
    ]
    perfect = fine_tune.trial(Points([[0, 0, 0]]), _START, _settings())
    assert perfect.tolist() == [[[1, 1, 1], [1, 1, 1]]]


def test_the_fleet_takes_the_best_rate_and_pass_and_the_gentlest_on_a_tie() -> None:
    assert choose(np.array([[1.0, 0.9, 0.8], [1.0, 0.7, 0.9]]), (0.3, 1.0)) == (1.0, 1)
    assert choose(np.array([[1.0, 1.2], [1.0, 1.1]]), (0.3, 1.0)) == (0.3, 0)
    assert choose(np.array([[1.0, 0.5], [1.0, 0.5]]), (0.3, 1.0)) == (0.3, 1)


def test_the_gate_keeps_what_the_homes_own_validation_prefers() -> None:
    homes = Points(
        [
            [4, 4, 4],  # alone: 10, 7, 5.5, 4.75, 4.375 at the whole rate; tuned: 2
            [-4, 4, 4],  # alone: 10, 6.5, 3.875 at half the rate; tuned: -2
            [2, 1, 1],  # alone: 10, 6, 4, 3, 2.5 at the whole rate; tuned: 1
            [-20, 1, 1],  # alone: 10, 2.5 at half the rate; tuned: -10; so global (0) is best
        ]
    )
    ended = fine_tune.outcome(homes, _START, _settings(), rate=1.0, epochs=1)
    chosen = [fine_tune.CHOICES[c] for c in ended.chosen]
    assert chosen == ["local", "local", "personalised", "global"]
    np.testing.assert_allclose(ended.models["global"].losses, [16, 16, 1, 1])
    np.testing.assert_allclose(ended.models["local"].losses, [0.375**2, 0.125**2, 1.5**2, 1.5**2])
    np.testing.assert_allclose(ended.models["personalised"].losses, [0.375**2, 0.125**2, 0, 1])


def test_a_difference_within_its_error_departs_from_nothing() -> None:
    aims = [[4, 4, 4]]
    # Against global (loss 16) tuned gains 12; against tuned (4), alone (0.14) gains 3.86.
    for error, chosen in ((1.0, "local"), (2.0, "personalised"), (13.0, "global")):
        ended = fine_tune.outcome(
            Points(aims, error=error), _START, _settings(), rate=1.0, epochs=1
        )
        assert fine_tune.CHOICES[ended.chosen[0]] == chosen


def test_a_home_in_which_the_global_model_diverged_keeps_its_own() -> None:
    start = np.full(1, np.nan, np.float32)
    ended = fine_tune.outcome(Points([[4, 4, 4]]), start, _settings(), rate=1.0, epochs=1)
    assert ended.chosen.tolist() == [fine_tune.CHOICES.index("local")]


def test_without_a_gate_everybody_is_fine_tuned() -> None:
    homes = Points([[4, 4, 4], [-4, 4, 4]])
    ended = fine_tune.outcome(homes, _START, _settings(gate=False), rate=1.0, epochs=1)
    assert ended.chosen.tolist() == [2, 2]
    np.testing.assert_allclose(ended.models["personalised"].losses, [4, 36])


def test_no_passes_give_the_global_model() -> None:
    ended = fine_tune.outcome(
        Points([[4, 4, 4]]), _START, _settings(gate=False), rate=0.5, epochs=0
    )
    assert ended.models["personalised"].losses.tolist() == [16]


def test_a_refit_trains_once_more_on_all_but_the_test() -> None:
    homes = Points([[4, 8, 6]])
    ended = fine_tune.outcome(homes, _START, _settings(gate=False, refit=True), rate=1.0, epochs=2)
    # From 0 half the way to 6, twice: 4.5. Chosen by the passes on training rows alone.
    assert ended.models["personalised"].losses.tolist() == [1.5**2]
    assert {part for part, _ in homes.parts} == {"train", "train+validation"}
    # Alone: 10, 7 is best for 8 at the whole rate, 8.5 then 7.375 … at half: 8.5 (one pass).
    # The refit takes that one pass at half the rate: 10 - 1/4 * (10 - 6) = 9.
    assert ended.models["local"].losses.tolist() == [9.0]


def test_local_only_stops_each_home_on_its_own() -> None:
    homes = Points([[10, 0, 0], [0, 0, 0]])  # the first never improves on its start
    fine_tune.outcome(homes, _START, _settings(local_epochs=5, rates=[1.0]), rate=1.0, epochs=0)
    # From the third pass on the first home is left out: it did not improve twice. (The first
    # pass sets its mark.)
    assert [count for _, count in homes.parts] == [2, 2, 2, 1, 1]


def test_the_scores_are_those_of_the_test_rows() -> None:
    homes = Points([[4, 4, 7]])
    ended = fine_tune.outcome(homes, _START, _settings(gate=False), rate=1.0, epochs=1)
    assert ended.models["personalised"].losses.tolist() == [25]  # tuned to 2
    assert ended.models["global"].losses.tolist() == [49]
    assert ended.models["baseline"].losses.tolist() == [92**2]


def test_the_answer_of_an_outcome_holds_every_model() -> None:
    plan = tiny.plan()
    device = Device(tiny.learning(plan), tiny.home("h", (20, 6, 5)), plan.seed)
    start, how = device.learning.initial, personaliser("fine-tune")
    given = QuestionContext(plan, {"rate": 0.5, "epochs": 1}, device.learning.task.score, how)
    told = responses.row(responses.outcome(device, start, given).columns, 0)
    metrics = device.learning.task.metrics
    expected = {f"{model}.{name}" for model in _MODELS for name in metrics}
    expected |= {f"{model}.loss" for model in _MODELS if model != "baseline"}
    counts = {"num-examples": 5, "examples-train": 20, "examples-validation": 6}
    assert set(told) == expected | {"chosen", *counts}
    assert {name: told[name] for name in counts} == counts
    tried = responses.trial(device, start, given).columns
    assert tried["changes"].shape == (1, 2 * 3)
    assert tried["num-examples"].tolist() == [1]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"rate": 0.5},
        {"rate": "fast", "epochs": 1},
        {"rate": -1.0, "epochs": 1},
        {"rate": 1.0, "epochs": -1},
        {"rate": 1.0, "epochs": 1.5},
    ],
)
def test_an_outcome_that_was_not_chosen_is_refused(config: dict[str, Any]) -> None:
    given = QuestionContext(tiny.plan(), config, "skill", personaliser("fine-tune"))
    with pytest.raises(UpdateError, match="outcome"):
        responses.outcome(Points([[1, 1, 1]]), _START, given)


def test_personalisers_are_found_by_name() -> None:
    assert personaliser("fine-tune") is personaliser("fedhome.learning.personalise:fine_tune")
    with pytest.raises(PluginError, match="unknown"):
        personaliser("fine-tuned")
    with pytest.raises(PluginError, match="lacks trial"):
        personaliser("math:pi")


_TOLD = {
    "num-examples": 5,
    "examples-train": 20,
    "examples-validation": 6,
    "chosen": 1,
    **{f"{model}.skill": 0.5 for model in _MODELS},
    **{f"{model}.loss": 0.25 for model in fine_tune.CHOICES},
}


def _personalised(
    folder: Path, odd: dict[str, dict[str, Any]], *, count: int = 3
) -> tuple[list[dict[str, Any]], list[Event]]:
    """Ask homes to personalise; home 1 answers each question as ``odd`` says."""
    asked: list[dict[str, Any]] = []

    def how(message: Message, position: int) -> Message:
        kind = message.metadata.message_type
        asked.append(dict(content_of(message)[1]))
        good = {"num-examples": 1, "changes": [1.0, 0.8, 0.9, 1.0, 0.7, 1.1]}
        told: dict[str, Any] = good if kind == TRIAL else dict(_TOLD)
        return reply(message, told | (odd.get(kind, {}) if position == 1 else {}))

    grid, layout = tiny.FakeGrid(count, how), Layout(("w",), ((1,),))
    with EventLog(folder / "events.jsonl") as log:
        rows = personalise(
            plan=tiny.plan(personalise={"rates": [0.5, 1.0], "epochs": 2}),
            grid=grid,
            layout=layout,
            flat=_START,
            score="skill",
            log=log,
            name_of=grid.name_of,
        )
    assert asked[-1] == {"rate": 1.0, "epochs": 1, INPUTS: inputs_hash(tiny.plan())}
    return rows, read_events(folder / "events.jsonl")


def test_the_fleet_personalises_as_most_of_its_homes_would(tmp_path: Path) -> None:
    rows, events = _personalised(tmp_path, {})
    assert [event.event for event in events] == ["personalisation-chosen"]
    assert dict(events[0].data) == {"rate": 1.0, "epochs": 1, "homes": 3}
    assert len(rows) == 3 * 4
    assert {row["chosen"] for row in rows} == {"global"}
    (baseline,) = [r for r in rows if (r["home"], r["model"]) == ("home-2", "baseline")]
    assert (baseline["score"], baseline["loss"], baseline["examples_test"]) == (0.5, None, 5)


@pytest.mark.parametrize(
    ("kind", "odd", "why"),
    [
        (TRIAL, {"changes": [1.0, 0.0]}, "not 6 numbers"),
        (TRIAL, {"changes": 0.0}, "not 6 numbers"),
        (TRIAL, {"changes": [float("nan")] * 6}, "not finite"),
        (TRIAL, {"more": 1}, "metrics differ"),
        (OUTCOME, {"chosen": 3}, "none of 0 to 2"),
        (OUTCOME, {"chosen": -1}, "none of 0 to 2"),
        (OUTCOME, {"chosen": 1.0}, "whole numbers"),
        (OUTCOME, {"global.skill": [1.0, 2.0]}, "not a single number"),
        (OUTCOME, {"local.loss": float("inf")}, "not finite"),
    ],
)
def test_one_odd_answer_is_left_out_and_ends_nothing(
    kind: str, odd: dict[str, Any], why: str, tmp_path: Path
) -> None:
    rows, events = _personalised(tmp_path, {kind: odd})
    (dropped,) = [event.data for event in events if event.event == "reply-dropped"]
    assert (dropped["stage"], dropped["node"]) == (kind, 3)
    assert why in str(dropped["reason"])
    left = {"home-0", "home-2"} | ({"home-1"} if kind == TRIAL else set())
    assert {row["home"] for row in rows} == left


def test_when_nobody_answers_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(RoundError, match="no home answered"):
        _personalised(tmp_path, {}, count=0)


def test_when_no_answer_can_be_used_the_reason_is_told(tmp_path: Path) -> None:
    def how(message: Message, position: int) -> Message:
        del position
        return reply(message, {"num-examples": 1, "changes": [1.0]})

    with (
        EventLog(tmp_path / "events.jsonl") as log,
        pytest.raises(RoundError, match="not 6 numbers"),
    ):
        personalise(
            plan=tiny.plan(personalise={"rates": [0.5, 1.0], "epochs": 2}),
            grid=tiny.FakeGrid(2, how),
            layout=Layout(("w",), ((1,),)),
            flat=_START,
            score="skill",
            log=log,
            name_of=str,
        )
