"""The rounds: FedAvg by hand over a fake grid, failures, early stopping, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from fedhome.errors import PlanError, PluginError, RoundError, RunError
from fedhome.flower.messages import EXAMPLES, array_record, content_of, failure, read_flat, reply
from fedhome.plan.settings import Plan
from fedhome.server.rounds import checkpoint, strategy_memory
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.wire.layout import Layout
from helpers import tiny

_LAYOUT = Layout(("w",), ((2,),))
_INITIAL = np.array([1.0, 2.0], np.float32)
_STEPS = np.array([[4.0, 0.0], [0.0, 8.0], [-4.0, 4.0]], np.float32)
_EXAMPLES = (1, 2, 1)

How = Callable[[Message, int], Message | None]


def _home(message: Message, position: int) -> Message:
    """Add the home's own step to the model; its loss is the model's first number."""
    start = read_flat(_LAYOUT, content_of(message)[0])
    if message.metadata.message_type == "train":
        metrics = {EXAMPLES: _EXAMPLES[position], "train_loss": float(position)}
        return reply(message, metrics, array_record(_LAYOUT, start + _STEPS[position]))
    return reply(message, {EXAMPLES: 1, "loss": float(start[0]), "score": -float(start[0])})


def _run(plan: Plan, folder: Path, how: How = _home, *, count: int = 3) -> RoundLoop:
    with tiny.rounds_on(tiny.FakeGrid(count, how), plan, _LAYOUT, folder, _INITIAL) as rounds:
        rounds.run()
    return rounds


def _events(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [event["data"] for event in found if event["event"] == name]


def test_two_rounds_of_fedavg_by_hand(tmp_path: Path) -> None:
    rounds = _run(tiny.plan(), tmp_path)
    # Weighted mean of the steps: (4 - 4, 2 * 8 + 4) / 4 = (0, 5), twice.
    assert rounds.state.flat.tolist() == [1.0, 12.0]
    first, second = rounds.state.rows
    assert (first["round"], second["round"]) == (1, 2)
    assert first["train_loss"] == pytest.approx((0 * 1 + 1 * 2 + 2 * 1) / 4)
    assert (first["validation_loss"], first["validation_score"]) == (1.0, -1.0)
    for row in (first, second):
        assert (row["homes_asked"], row["homes_answered"]) == (3, 3)
        assert (row["homes_dropped"], row["homes_late"]) == (0, 0)
        assert (row["bytes_up"], row["bytes_down"]) == (3 * 8, 3 * 8)
    told = _events(tmp_path, "round-closed")
    assert [row["round"] for row in told] == [1, 2]


def test_each_round_starts_from_the_model_of_the_one_before(tmp_path: Path) -> None:
    seen: list[tuple[str, int, list[float]]] = []

    def how(message: Message, position: int) -> Message:
        arrays, config = content_of(message)
        turn = config["server-round"]
        assert isinstance(turn, int)
        kind = message.metadata.message_type
        seen.append((kind, turn, read_flat(_LAYOUT, arrays).tolist()))
        return _home(message, position)

    _run(tiny.plan(), tmp_path, how)
    assert seen[::3] == [
        ("train", 1, [1.0, 2.0]),
        ("evaluate", 1, [1.0, 7.0]),
        ("train", 2, [1.0, 7.0]),
        ("evaluate", 2, [1.0, 12.0]),
    ]


def test_bad_and_missing_replies_are_counted_and_left_out(tmp_path: Path) -> None:
    def how(message: Message, position: int) -> Message | None:
        if message.metadata.message_type == "train" and position:
            return failure(message, "no power") if position == 1 else None
        return _home(message, position)

    rounds = _run(tiny.plan(rounds={"count": 1, "quorum": 0.3}), tmp_path, how)
    assert rounds.state.flat.tolist() == [5.0, 2.0]
    (row,) = rounds.state.rows
    assert (row["homes_answered"], row["homes_dropped"], row["homes_late"]) == (1, 2, 0)
    (dropped,) = _events(tmp_path, "reply-dropped")
    assert dropped["reason"] == "no power"


def test_late_homes_are_counted_and_the_deadline_reaches_the_grid(tmp_path: Path) -> None:
    grid = tiny.FakeGrid(3, lambda m, p: None if p == 2 else _home(m, p))
    grid.late = 1
    plan = tiny.plan(rounds={"count": 1, "deadline_s": 12.5})
    with tiny.rounds_on(grid, plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        rounds.run()
    (row,) = rounds.state.rows
    assert (row["homes_answered"], row["homes_late"], row["homes_dropped"]) == (2, 1, 0)
    assert grid.timeouts == [12.5, 12.5]


def test_a_round_without_a_quorum_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    def how(message: Message, position: int) -> Message | None:
        turn = content_of(message)[1]["server-round"]
        silent = turn == 1 and position < 2 and message.metadata.message_type == "train"
        return None if silent else _home(message, position)

    rounds = _run(tiny.plan(rounds={"quorum": 0.5}), tmp_path, how)
    assert rounds.state.flat.tolist() == [1.0, 7.0]  # of the second round alone
    assert rounds.state.rows[0]["train_loss"] is None
    assert _events(tmp_path, "round-failed") == [{"round": 1, "homes": 1, "needed": 2}]


def test_five_failures_in_a_row_end_the_run_and_keep_the_checkpoint(tmp_path: Path) -> None:
    def how(message: Message, position: int) -> Message | None:
        turn = content_of(message)[1]["server-round"]
        assert isinstance(turn, int)
        return _home(message, position) if turn <= 2 else None

    plan = tiny.plan(rounds={"count": 9})
    with pytest.raises(RoundError, match=r"round 7: 0 of 3 homes answered, 2 are needed"):
        _run(plan, tmp_path, how)
    with tiny.rounds_on(tiny.FakeGrid(3, _home), plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        assert rounds.resume()
        assert rounds.state.round == 6
        assert rounds.run().tolist() == [1.0, 2.0 + 5 * (2 + 3)]


def test_failures_must_be_in_a_row(tmp_path: Path) -> None:
    def how(message: Message, position: int) -> Message | None:
        turn = content_of(message)[1]["server-round"]
        return _home(message, position) if turn == 5 else None

    rounds = _run(tiny.plan(rounds={"count": 9}), tmp_path, how)
    assert rounds.state.flat.tolist() == [1.0, 7.0]


@pytest.mark.parametrize(
    ("quorum", "asked", "needed"), [(0.1, 30, 3), (0.5, 3, 2), (0.01, 3, 1), (1.0, 4, 4)]
)
def test_a_quorum_is_a_share_rounded_up(
    quorum: float, asked: int, needed: int, tmp_path: Path
) -> None:
    def how(message: Message, position: int) -> Message | None:
        start = read_flat(_LAYOUT, content_of(message)[0])
        if position >= needed - missing:
            return None
        return reply(message, {EXAMPLES: 1}, array_record(_LAYOUT, start + 1))

    for missing, expected in ((0, 2.0), (1, 1.0)):
        plan = tiny.plan(rounds={"count": 1, "quorum": quorum, "evaluate_fraction": 0.0})
        rounds = _run(plan, tmp_path / str(missing), how, count=asked)
        assert rounds.state.flat[0] == expected


def _losing_after(best: int) -> How:
    def how(message: Message, position: int) -> Message:
        if message.metadata.message_type == "train":
            return _home(message, position)
        turn = content_of(message)[1]["server-round"]
        assert isinstance(turn, int)
        return reply(message, {EXAMPLES: 1, "loss": float(abs(turn - best)), "score": 0.0})

    return how


def test_early_stopping_takes_the_best_validation_round(tmp_path: Path) -> None:
    plan = tiny.plan(rounds={"count": 20, "patience": 2})
    with tiny.rounds_on(
        tiny.FakeGrid(3, _losing_after(3)), plan, _LAYOUT, tmp_path, _INITIAL
    ) as rounds:
        flat = rounds.run()
    assert rounds.state.round == 5
    assert flat.tolist() == [1.0, 2.0 + 5 * 3]
    assert _events(tmp_path, "early-stop") == [{"round": 5, "best_loss": 0.0}]


def test_without_any_validation_loss_the_last_round_counts(tmp_path: Path) -> None:
    def mute(message: Message, position: int) -> Message:
        if message.metadata.message_type == "evaluate":
            return failure(message, "not today")
        return _home(message, position)

    plan = tiny.plan(rounds={"count": 3, "patience": 9})
    with tiny.rounds_on(tiny.FakeGrid(3, mute), plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        flat = rounds.run()
    assert flat.tolist() == rounds.state.flat.tolist()
    assert flat.tolist() != _INITIAL.tolist()


def test_with_patience_to_spare_the_best_round_still_counts(tmp_path: Path) -> None:
    plan = tiny.plan(rounds={"count": 4, "patience": 9})
    with tiny.rounds_on(
        tiny.FakeGrid(3, _losing_after(2)), plan, _LAYOUT, tmp_path, _INITIAL
    ) as rounds:
        assert rounds.run().tolist() == [1.0, 2.0 + 5 * 2]
    assert _events(tmp_path, "early-stop") == []


class _Silent(flower.FedAvg):
    """Gives no model in its first round, one of another layout in its second."""

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        summed, metrics = super().aggregate_train(server_round, replies)
        if server_round == 1:
            return None, None
        if server_round == 2:
            return array_record(Layout(("w",), ((3,),)), np.zeros(3, np.float32)), metrics
        return summed, metrics


def test_a_strategy_that_gives_no_model_keeps_the_one_before(tmp_path: Path) -> None:
    grid = tiny.FakeGrid(3, _home)
    plan = tiny.plan(rounds={"count": 3}, strategy={"name": f"{__file__}:_Silent"})
    with tiny.rounds_on(grid, plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        assert rounds.run().tolist() == [1.0, 7.0]
    unused = _events(tmp_path, "round-unused")
    assert [event["round"] for event in unused] == [1, 2]
    assert unused[0]["reason"] == "the strategy gave no model"
    assert _LAYOUT.key in unused[1]["reason"]


class _Asking(flower.FedAvg):
    """Tells homes what they do not know, asks none in its second round, forgets the third."""

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
        config["lr"] = 0.1 / server_round
        asked = super().configure_train(server_round, arrays, config, grid)
        return {1: asked, 2: []}.get(server_round)


def test_what_a_strategy_asks_for_in_vain_is_told(tmp_path: Path) -> None:
    plan = tiny.plan(rounds={"count": 3}, strategy={"name": f"{__file__}:_Asking"})
    forgotten = r"_Asking\.configure_train returned nothing, not messages"
    with (
        tiny.rounds_on(tiny.FakeGrid(3, _home), plan, _LAYOUT, tmp_path, _INITIAL) as rounds,
        pytest.raises(PluginError, match=forgotten),
    ):
        rounds.run()
    (failed,) = _events(tmp_path, "round-failed")
    assert failed["reason"] == "the strategy asked no home"
    (note,) = (e["text"] for e in _events(tmp_path, "note") if "strategy tells" in e["text"])
    assert note.startswith("the strategy tells homes lr, which has no effect")
    assert note.endswith("that of the plan, FedAvg, to none")


def test_what_our_strategies_and_wrappers_tell_homes_is_heard(tmp_path: Path) -> None:
    """Flower's FedProx tells a strength, its wrappers a norm: homes listen to both."""
    told = {"name": "fedprox", "args": {"proximal_mu": 0.1}, "wrap": "dp-client-fixed"}
    norms = {"noise_multiplier": 0.1, "clipping_norm": 1.0}
    plan = tiny.plan(rounds={"count": 1}, strategy={**told, "wrap_args": norms})
    with tiny.rounds_on(tiny.FakeGrid(3, _home), plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        rounds.run()
    assert not [e for e in _events(tmp_path, "note") if "strategy tells" in e["text"]]


_MEMORIES: dict[str, dict[str, Any]] = {
    "fedavg": {"name": "fedavg"},
    "momenta": {"name": "fedavgm", "args": {"server_momentum": 0.9, "server_learning_rate": 0.5}},
    "moments": {"name": "fedadam", "args": {"eta": 0.1}},
    "sums of squares": {"name": "fedadagrad", "args": {"eta": 0.1}},
    "an adaptive norm": {
        "name": "fedadam",
        "wrap": "dp-client-adaptive",
        "wrap_args": {"noise_multiplier": 0.5, "clipped_count_stddev": 2.0},
    },
    "an adaptive norm at the server": {
        "name": "fedavgm",
        "args": {"server_momentum": 0.5},
        "wrap": "dp-server-adaptive",
        "wrap_args": {"noise_multiplier": 0.5, "clipped_count_stddev": 2.0},
    },
}


def _clipped(message: Message, position: int) -> Message:
    answer = _home(message, position)
    if message.metadata.message_type == "train":
        answer.content.metric_records["metrics"]["norm_bit"] = position % 2
    return answer


class _PluggedOutError(Exception):
    pass


@pytest.mark.long
@pytest.mark.parametrize("name", _MEMORIES)
def test_a_run_that_goes_on_ends_with_the_weights_it_would_have_had(
    name: str, tmp_path: Path
) -> None:
    plan = tiny.plan(strategy=_MEMORIES[name], rounds={"count": 6, "checkpoint_every": 2})
    whole = _run(plan, tmp_path / "whole", _clipped)

    def dying(message: Message, position: int) -> Message:
        if content_of(message)[1]["server-round"] == 4:
            raise _PluggedOutError
        return _clipped(message, position)

    with pytest.raises(_PluggedOutError):
        _run(plan, tmp_path / "cut", dying)
    grid: InProcessGrid = tiny.FakeGrid(3, _clipped)
    with tiny.rounds_on(grid, plan, _LAYOUT, tmp_path / "cut", _INITIAL) as rounds:
        assert rounds.resume()
        assert rounds.state.round == 2  # the third was done, but not kept
        rounds.run()
    assert not np.array_equal(whole.state.flat, _INITIAL)
    np.testing.assert_array_equal(rounds.state.flat, whole.state.flat)
    for one, other in zip(rounds.state.rows, whole.state.rows, strict=True):
        timeless = {key for key in one if not key.startswith("seconds")}
        assert {key: one[key] for key in timeless} == {key: other[key] for key in timeless}


def test_a_stopped_run_goes_on_to_be_stopped(tmp_path: Path) -> None:
    plan = tiny.plan(rounds={"count": 20, "patience": 2})
    _run(plan, tmp_path, _losing_after(1))
    with tiny.rounds_on(
        tiny.FakeGrid(3, _losing_after(1)), plan, _LAYOUT, tmp_path, _INITIAL
    ) as rounds:
        assert rounds.resume()
        assert rounds.run().tolist() == [1.0, 7.0]
    assert rounds.state.round == 3


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    grid = tiny.FakeGrid(3, _home)
    with tiny.rounds_on(grid, tiny.plan(), _LAYOUT, tmp_path, _INITIAL) as rounds:
        assert not rounds.resume()


def test_a_damaged_checkpoint_and_one_of_another_model_are_refused(tmp_path: Path) -> None:
    rounds = _run(tiny.plan(), tmp_path)
    other = Layout(("w",), ((3,),))
    with pytest.raises(RunError) as caught:
        checkpoint.load(rounds.folder, other)
    assert _LAYOUT.hash[:16] in caught.value.message
    assert other.hash[:16] in caught.value.message
    (file,) = rounds.folder.checkpoint_path.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"\x00" * len(whole), whole[8:]):
        file.write_bytes(damaged)
        with pytest.raises(RunError, match="cannot be read"):
            checkpoint.load(rounds.folder, _LAYOUT)


class _Remembering(flower.FedAvg):
    def __init__(self, thing: object) -> None:
        super().__init__()
        self.thing = thing


@pytest.mark.parametrize(
    "thing",
    [
        None,
        True,
        3,
        2.5,
        "text",
        (1, [2.0, "three"]),
        {"a": 1, 2: (3, None)},
        np.arange(6.0).reshape(2, 3),
        np.float32(1.5),
        {"nested": [np.arange(3), {"deep": np.zeros(())}]},
        array_record(_LAYOUT, _INITIAL),
    ],
)
def test_plain_data_is_remembered(thing: Any) -> None:
    told, arrays = strategy_memory.remember(_Remembering(thing))
    fresh = _Remembering("something else")
    strategy_memory.recall(fresh, json.loads(json.dumps(told)), arrays)
    assert _plain(fresh.thing) == _plain(thing)


def _plain(thing: Any) -> Any:
    if isinstance(thing, np.ndarray | np.generic):
        return thing.tolist()
    if isinstance(thing, dict):
        return {key: _plain(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return type(thing)(_plain(item) for item in thing)
    if hasattr(thing, "to_numpy_ndarrays"):
        return [list(thing), [array.numpy().tolist() for array in thing.values()]]
    return thing


def test_what_is_no_plain_data_cannot_be_gone_on_with() -> None:
    told, arrays = strategy_memory.remember(_Remembering(object()))
    with pytest.raises(RunError, match=r"_Remembering\.thing is a object"):
        strategy_memory.recall(_Remembering(object()), told, arrays)
    told, arrays = strategy_memory.remember(_Remembering(_plain))  # code does not change
    fresh = _Remembering(_run)
    strategy_memory.recall(fresh, told, arrays)
    assert fresh.thing is _run


def test_the_global_generators_are_pinned_for_the_strategy(tmp_path: Path) -> None:
    asked: list[NDArray[np.int64]] = []

    class Noting(tiny.FakeGrid):
        def answer(self, messages: list[Message]) -> list[Message]:
            asked.append(np.sort([self.position(message) for message in messages]))
            return super().answer(messages)

    def how(message: Message, position: int) -> Message:
        del position
        return _home(message, 0)

    plan = tiny.plan(rounds={"count": 4, "fraction": 0.3, "evaluate_fraction": 0.2})
    for folder in ("one", "two"):
        with tiny.rounds_on(Noting(20, how), plan, _LAYOUT, tmp_path / folder, _INITIAL) as rounds:
            rounds.run()
    assert [len(some) for some in asked[:2]] == [6, 4]
    for one, two in zip(asked[:8], asked[8:], strict=True):
        np.testing.assert_array_equal(one, two)
    assert len({tuple(some) for some in asked[:8:2]}) > 1  # other homes in other rounds


def test_a_plan_whose_strategy_cannot_be_built_is_refused(tmp_path: Path) -> None:
    plan = tiny.plan(strategy={"args": {"beta": 1}})
    with pytest.raises(PlanError, match="beta"):
        _run(plan, tmp_path)


class _Unreadable(flower.FedAvg):
    """Gives a model of another layout in every round but its third."""

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        summed, metrics = super().aggregate_train(server_round, replies)
        if server_round == 3:
            return summed, metrics
        return array_record(Layout(("w",), ((3,),)), np.zeros(3, np.float32)), metrics


def test_a_run_whose_strategy_gives_models_that_cannot_be_taken_ends(tmp_path: Path) -> None:
    grid = tiny.FakeGrid(3, _home)
    plan = tiny.plan(rounds={"count": 20}, strategy={"name": f"{__file__}:_Unreadable"})
    with tiny.rounds_on(grid, plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        with pytest.raises(RoundError, match=r"round 8: .*cannot be taken.* 5 times") as raised:
            rounds.run()
        assert "_Unreadable.aggregate_train" in str(raised.value.hint)
        assert rounds.state.made == 3


class _Speechless(flower.FedAvg):
    """Tells nothing of what homes' tests gave."""

    def aggregate_evaluate(self, *_told: Any) -> Any:
        return None


@pytest.mark.parametrize(("patience", "told"), [(2, 1), (0, 0)])
def test_a_strategy_that_gives_no_loss_is_told_where_it_would_end_the_run(
    tmp_path: Path, patience: int, told: int
) -> None:
    grid = tiny.FakeGrid(3, _home)
    plan = tiny.plan(
        rounds={"count": 4, "patience": patience, "judge_every": 0},
        strategy={"name": f"{__file__}:_Speechless"},
    )
    with tiny.rounds_on(grid, plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        rounds.run()
        assert rounds.state.round == 4
    notes = [one["text"] for one in _events(tmp_path, "note")]
    assert [("_Speechless.aggregate_evaluate" in one) for one in notes] == [True] * told
