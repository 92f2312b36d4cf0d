"""A home whose inputs are others is left out of a run and named; the others go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedhome.errors import InputsError, ManifestError, RoundError
from fedhome.flower.messages import CONFIG, content_of, failure, reply
from fedhome.plan.settings import Plan
from fedhome.questions.settings import (
    INPUTS,
    OTHER_INPUTS,
    check_inputs,
    inputs_hash,
)
from fedhome.run.events import EventLog
from fedhome.server.rounds.fitting_homes import (
    FittingGrid,
    Shape,
    UnfitHomes,
    shape_of,
    tell_inputs,
)
from helpers import tiny
from helpers.wired_fleet import WiredFleet, secure_plan

ODD = "h02"
PLAIN = Plan.load(aggregation={"mode": "plain"})
SECURE = Plan.load(aggregation={"mode": "secure"})  # sums over five at least


def excluded(log: EventLog) -> dict[str, str]:
    from fedhome.run.folder import RunFolder  # noqa: PLC0415

    events = RunFolder(log.path.parent).read_events()
    return {
        str(event.data["home"]): str(event.data["reason"])
        for event in events
        if event.event == "home-excluded"
    }


def shapes(*answers: tuple[int, int] | str | RecordDict) -> Grid:
    """Return a grid whose homes answer with a shape, refuse, or send what they like."""

    def how(message: Message, position: int) -> Message:
        assert content_of(message)[1][INPUTS] == inputs_hash(Plan())
        answer = answers[position]
        if isinstance(answer, str):
            return failure(message, answer)
        if isinstance(answer, RecordDict):
            return Message(answer, reply_to=message)
        return reply(message, {"num-examples": 1, "features": answer[0], "outputs": answer[1]})

    return tiny.FakeGrid(len(answers), how)


@pytest.mark.parametrize(
    ("answers", "left", "told"),
    [
        (((5, 1), (5, 1), (4, 1)), 2, "its model has 4 inputs and 1 outputs, that of most homes 5"),
        (((4, 1), (5, 1), (5, 1)), 0, "its model has 4 inputs"),
        (((5, 1), OTHER_INPUTS, (5, 1)), 1, OTHER_INPUTS),
        (((5, 1), "inputs", (5, 1)), 1, "(inputs)"),
        (((5, 1), (5, 1), "unlike"), 2, "do not have the plan's inputs (unlike)"),
        (((5, 1), "readings", (5, 1)), None, ""),
    ],
)
def test_who_differs_is_named_and_nobody_else(
    answers: tuple[Any, ...], left: int | None, told: str, tmp_path: Path
) -> None:
    grid = shapes(*answers)
    with EventLog(tmp_path / "events.jsonl") as log:
        nodes = list(grid.get_node_ids())
        out = UnfitHomes(log, lambda node: f"home-{nodes.index(node)}")
        assert shape_of(grid, PLAIN, out) == (5, 1)
        told_of = excluded(log)
    assert set(told_of) == (set() if left is None else {f"home-{left}"})
    assert all(told in reason and "hint" not in reason for reason in told_of.values())
    assert list(FittingGrid(grid, out).get_node_ids()) == [
        node for place, node in enumerate(nodes) if place != left
    ]


def test_where_nobody_fits_the_run_ends_with_the_reason(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:
        out = UnfitHomes(log, str)
        with pytest.raises(RoundError, match="do not have the plan's inputs"):
            shape_of(shapes("unlike", "unlike"), PLAIN, out)
        assert out.without([2, 3]) == [2, 3]


@pytest.mark.parametrize(
    "said",
    [
        RecordDict(),
        RecordDict({"metrics": MetricRecord()}),
        RecordDict({"metrics": MetricRecord({"features": 5})}),
        RecordDict({"metrics": MetricRecord({"features": 5.0, "outputs": 1})}),
        RecordDict({"metrics": MetricRecord({"features": [5], "outputs": [1]})}),
        RecordDict({"metrics": MetricRecord({"features": 0, "outputs": 1})}),
        RecordDict({"metrics": MetricRecord({"features": 5, "outputs": -1})}),
        RecordDict({"arrays": ArrayRecord()}),
    ],
)
def test_a_home_that_tells_no_width_ends_no_run_and_is_named(
    said: RecordDict, tmp_path: Path
) -> None:
    grid = shapes(said, *[(5, 1)] * 5)
    with EventLog(tmp_path / "events.jsonl") as log:
        first = next(iter(grid.get_node_ids()))
        out = UnfitHomes(log, lambda node: "odd" if node == first else "other")
        assert shape_of(grid, SECURE, out) == (5, 1)
        told = excluded(log)
    assert list(told) == ["odd"]
    assert "without the width of its model" in told["odd"]


def test_control_a_reply_without_numbers_ended_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_it_was(answer: Message) -> Shape:
        metrics = next(iter(answer.content.metric_records.values()))
        return Shape(int(metrics["features"]), int(metrics["outputs"]))  # type: ignore[arg-type]

    monkeypatch.setattr("fedhome.server.rounds.fitting_homes._told_in", as_it_was)
    with EventLog(tmp_path / "events.jsonl") as log, pytest.raises(StopIteration):
        shape_of(shapes(RecordDict(), *[(5, 1)] * 5), SECURE, UnfitHomes(log, str))


def test_fewer_homes_than_a_sum_takes_set_no_fleets_width(tmp_path: Path) -> None:
    """The others cannot read their readings today; of a width in the billions nothing is made."""
    answers: tuple[Any, ...] = ((1 << 40, 1), *["readings"] * 5)
    with EventLog(tmp_path / "events.jsonl") as log:
        out = UnfitHomes(log, str)
        with pytest.raises(RoundError, match="1 home gave the same width") as refused:
            shape_of(shapes(*answers), SECURE, out)
        assert "and 5 must" in refused.value.message
        assert not out.nodes
        # The control: where nothing is kept from the server, no sum says how many there must be.
        assert shape_of(shapes(*answers), PLAIN, out) == (1 << 40, 1)


def test_a_home_refuses_what_means_something_else() -> None:
    plan = Plan.load(data={"inputs": [{"name": "a"}, {"name": "b"}]})
    check_inputs({INPUTS: inputs_hash(plan)}, plan)
    other = plan.change(data={"inputs": [{"name": "b"}, {"name": "a"}]})
    with pytest.raises(ManifestError) as refused:
        check_inputs({INPUTS: inputs_hash(other)}, plan)
    assert (refused.value.reason, refused.value.message) == ("inputs", OTHER_INPUTS)


def test_a_strategy_of_ones_own_that_sends_no_settings_tells_them_too() -> None:
    plan, node = Plan(), 3
    silent = Message(RecordDict({"arrays": ArrayRecord()}), node, "train")
    own = RecordDict({"arrays": ArrayRecord(), "settings": ConfigRecord({"lr": 0.5})})
    tell_inputs([silent, Message(own, node, "train"), Message(own, node + 1, "train")], plan, 7)
    assert silent.content[CONFIG] == ConfigRecord({INPUTS: inputs_hash(plan)})
    assert own["settings"] == ConfigRecord({"lr": 0.5, INPUTS: inputs_hash(plan)})
    assert CONFIG not in own


class Forgetful(FedAvg):
    """Tells its homes nothing but the number of the round."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Leave out what the loop would have told."""
        assert not config
        return super().configure_train(server_round, arrays, ConfigRecord(), grid)


def weights(fleet: WiredFleet) -> np.ndarray[Any, Any]:
    with fleet.run(strategy={"name": f"{__file__}:Forgetful"}) as rounds:
        return rounds.run()


@pytest.mark.long
def test_a_sum_goes_on_without_a_home_of_another_plan(tmp_path: Path) -> None:
    plan = secure_plan(rounds={"count": 3})
    fleet = WiredFleet(tmp_path / "mixed", plan)
    fleet.homes[ODD] = replace(fleet.homes[ODD], plan=plan.change(data={"target": "heat_kwh"}))
    found = weights(fleet)
    # It is asked once, refuses for that reason, and is left out; it never joined a sum.
    assert fleet.wire.refusals == [(ODD, "inputs")] * fleet.wire.refusals.count((ODD, "inputs"))
    assert 1 <= len(fleet.wire.refusals) <= 2  # in the first sum, and in its count of examples
    assert fleet.events.count('"home-excluded"') == 1
    assert f"home '{ODD}': inputs of another meaning than in the home's plan" in fleet.events
    assert fleet.parts[ODD].words is None

    without = WiredFleet(tmp_path / "without", plan)
    without.wire.away = {ODD}
    np.testing.assert_array_equal(found, weights(without))


def test_which_columns_a_home_lacks_the_server_is_not_told() -> None:
    from fedhome.clients.failure_reason import reason_of  # noqa: PLC0415

    told = reason_of(InputsError("home 'oak' lacks the column bedroom_of_jane"))
    assert told == "unlike"
