"""Attempts at rates with strategies that remember or adapt: held against plain loops of numpy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from fedhome.errors import PlanError, RunError
from fedhome.flower.messages import EXAMPLES, array_record, content_of, read_flat, reply
from fedhome.plan.settings import Plan
from fedhome.plan.tried_rates import server_rates, train_rates
from fedhome.questions.settings import ROUND
from fedhome.questions.train_config import TrainConfig
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.rate_trials import are_near
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.sum_needs import SumNeeds
from fedhome.wire.layout import Layout
from helpers import tiny

_LAYOUT = Layout(("w",), ((3,),))
_INITIAL = np.array([0.5, -1.0, 2.0], np.float32)
_TARGETS = np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 1.0], [2.5, 1.5, -9.0]])  # [homes, size]
_WANTED = np.array([1.2, -0.2, 1.3])
_AUTO: dict[str, Any] = {"train": {"rate": "auto"}}
_Step = Callable[[NDArray[np.float64], dict[str, Any], int], NDArray[np.float64]]


def _home(message: Message, position: int) -> Message:
    """Go a share of the way to a target of one's own: twice as far at twice the rate."""
    start = read_flat(_LAYOUT, content_of(message)[0])
    if message.metadata.message_type == "train":
        rate = TrainConfig.of(content_of(message)[1]).rate
        moved = start + np.float32(0.25 * rate) * (_TARGETS[position] - start)
        return reply(
            message,
            {EXAMPLES: 1, "train_loss": 0.0},
            array_record(_LAYOUT, moved.astype(np.float32)),
        )
    return reply(message, {EXAMPLES: 1, "loss": _loss(start), "score": 0.0})


def _loss(model: NDArray[Any]) -> float:
    return float(np.linalg.norm(model - _WANTED))


# Reddi et al., "Adaptive federated optimization", 2021, algorithm 2; Hsu et al., 2019, section 3.2.
def _adam(d: NDArray[np.float64], kept: dict[str, Any], number: int) -> NDArray[np.float64]:
    kept["m"] = 0.9 * kept.get("m", 0.0) + 0.1 * d
    kept["v"] = 0.99 * kept.get("v", 0.0) + 0.01 * d**2
    # Kingma & Ba, 2014, section 2; Flower counts rounds from the second.
    bias = np.sqrt(1 - 0.99 ** (number + 1)) / (1 - 0.9 ** (number + 1))
    step: NDArray[np.float64] = 8.0 * bias * kept["m"] / (np.sqrt(kept["v"]) + 2.0)
    return step


def _yogi(d: NDArray[np.float64], kept: dict[str, Any], number: int) -> NDArray[np.float64]:
    del number
    kept["m"] = 0.9 * kept.get("m", 0.0) + 0.1 * d
    v = np.asarray(kept.get("v", np.zeros_like(d)))
    kept["v"] = v - 0.01 * d**2 * np.sign(v - d**2)
    step: NDArray[np.float64] = 2.0 * kept["m"] / (np.sqrt(kept["v"]) + 0.5)
    return step


def _adagrad(d: NDArray[np.float64], kept: dict[str, Any], number: int) -> NDArray[np.float64]:
    del number
    kept["v"] = kept.get("v", 0.0) + d**2
    step: NDArray[np.float64] = 2.0 * d / (np.sqrt(kept["v"]) + 3.0)
    return step


def _momentum(d: NDArray[np.float64], kept: dict[str, Any], number: int) -> NDArray[np.float64]:
    del number
    kept["m"] = 0.9 * kept.get("m", 0.0) + d
    step: NDArray[np.float64] = 0.5 * kept["m"]
    return step


def _mean(d: NDArray[np.float64], kept: dict[str, Any], number: int) -> NDArray[np.float64]:
    del kept, number
    return d


_STRATEGIES: dict[str, tuple[_Step, dict[str, Any]]] = {
    "fedavg": (_mean, {}),
    "fedavgm": (_momentum, {"server_momentum": 0.9, "server_learning_rate": 0.5}),
    "fedadam": (_adam, {"eta": 8.0, "tau": 2.0}),
    "fedyogi": (_yogi, {"eta": 2.0, "tau": 0.5}),
    "fedadagrad": (_adagrad, {"eta": 2.0, "tau": 3.0}),
    "fedmedian": (_mean, {}),
}


def _loop(name: str, train: float, server: float, rounds: int) -> NDArray[np.float64]:
    """Return the model of a run at two rates, from the first round on."""
    model, kept = _INITIAL.astype(np.float64), dict[str, Any]()
    middle = np.median if name == "fedmedian" else np.mean
    for number in range(1, rounds + 1):
        update = middle(0.25 * train * (_TARGETS - model), axis=0)
        model = model + server * _STRATEGIES[name][0](update, kept, number)
    return model


def _plan(name: str, args: dict[str, Any] | None = None, **sections: Any) -> Plan:
    given = _STRATEGIES[name][1] if args is None else args
    strategy = {"name": name, "args": given, **sections.pop("strategy", {})}
    return tiny.plan(
        personalise={"name": "fine-tune"},
        **{
            "strategy": strategy,
            "rounds": {"count": 14, "judge_every": 2, "patience": 0},
            **sections,
        },
    )


def _told(folder: Path, name: str) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event["data"] for event in found if event["event"] == name]


def _run(plan: Plan, folder: Path, how: Any = _home) -> RoundLoop:
    grid = tiny.FakeGrid(3, how)
    with tiny.rounds_on(grid, plan, _LAYOUT, folder, _INITIAL) as rounds:
        rounds.run()
    return rounds


@pytest.mark.parametrize("name", _STRATEGIES)
def test_an_attempt_is_what_a_run_at_its_rates_would_be(name: str, tmp_path: Path) -> None:
    """Also where a strategy does not go three times as far for updates of three times the size."""
    # With an adaptive strategy half of a step at three times homes' rate is near one at their own.
    plan = _plan(name, **_AUTO, strategy={"rate": "auto", "rates": [1.0, 0.18, 6.0]})
    rounds = _run(plan, tmp_path)
    homes, servers = train_rates(plan), server_rates(plan)
    tried = _told(tmp_path, "rates-tried")
    first = [_loss(_loop(name, rate, servers[0], 2)) for rate in homes]
    assert [one["loss"] for one in tried[:3]] == pytest.approx(first, rel=1e-5)
    best = homes[int(np.argmin(first))]
    second = [_loss(_loop(name, best, rate, 2)) for rate in servers[1:]]
    assert [one["loss"] for one in tried[3:]] == pytest.approx(second, rel=1e-5)
    (chosen,) = _told(tmp_path, "rates-chosen")
    assert (chosen["loss"], chosen["tried"]) == (min(one["loss"] for one in tried), 5)
    goes_on = _loop(name, chosen["train"], chosen["server"], 2 + 4)
    np.testing.assert_allclose(rounds.state.flat, goes_on, rtol=1e-4)


@pytest.mark.parametrize("name", ["fedavgm", "fedadam"])
@pytest.mark.parametrize("server", [0.5, 2.0])
def test_a_strategy_with_a_memory_goes_as_far_as_its_rate_says_round_after_round(
    name: str, server: float, tmp_path: Path
) -> None:
    plan = _plan(name, strategy={"rate": server}, rounds={"count": 5, "judge_every": 0})
    found = _run(plan, tmp_path).state.flat
    np.testing.assert_allclose(found, _loop(name, 1.0, server, 5), rtol=1e-4)


def _asked(plan: Plan, folder: Path) -> dict[int, NDArray[np.float32]]:
    """Run a plan; return from which model homes trained in each round in which they did."""
    seen: dict[int, NDArray[np.float32]] = {}

    def noted(message: Message, position: int) -> Message:
        arrays, config = content_of(message)
        if message.metadata.message_type == "train" and position == 0:
            number = config[ROUND]
            assert isinstance(number, int)
            seen[number] = read_flat(_LAYOUT, arrays)
        return _home(message, position)

    _run(plan, folder, noted)
    return seen


def test_attempts_that_would_go_on_from_nearly_one_model_are_not_made_and_it_is_said(
    tmp_path: Path,
) -> None:
    """With hardly any floor Adam's first step is the same at any size of its update."""
    floor = {"eta": 0.3, "tau": 1e-6}
    plan = _plan("fedadam", floor, **_AUTO, strategy={"rate": "auto"})
    seen = _asked(plan, tmp_path)
    tried = [(one["train"], one["server"]) for one in _told(tmp_path, "rates-tried")]
    assert tried == [(1.0, 1.0), (1.0, 0.5), (1.0, 2.0)]
    notes = [one["text"] for one in _told(tmp_path, "note") if "not tried" in one["text"]]
    assert [note.split(" times")[0] for note in notes] == ["homes' rate 0.3", "homes' rate 3"]
    (chosen,) = _told(tmp_path, "rates-chosen")
    assert chosen["tried"] == 3
    # Homes are told the run's rounds, whatever the strategy counts; attempts begin in 3 and 5.
    assert sorted(seen) == [1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    steps = [float(np.linalg.norm(seen[number] - _INITIAL)) for number in (2, 4, 6)]
    assert steps == pytest.approx([steps[0], steps[0] / 2, steps[0] * 2], rel=1e-5)


def test_attempts_of_a_strategy_that_goes_nowhere_are_not_made(tmp_path: Path) -> None:
    """The models of all attempts are then one, about which homes answer once."""
    plan = _plan("fedadam", {"eta": 0.0}, **_AUTO)
    _run(plan, tmp_path)
    (chosen,) = _told(tmp_path, "rates-chosen")
    assert chosen["tried"] == 1
    assert are_near(_INITIAL, _INITIAL, _INITIAL)
    assert not are_near(_INITIAL, _INITIAL, 2 * _INITIAL)


def test_an_attempt_of_which_the_strategy_makes_no_model_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = flower.FedAdam.aggregate_train

    def far(self: flower.FedAdam, number: int, replies: Iterable[Message]) -> Any:
        assert self.current_arrays is not None
        found, (began,) = list(replies), self.current_arrays.values()
        way = read_flat(_LAYOUT, content_of(found[0])[0]) - began
        return (None, None) if np.linalg.norm(way) > 3 else made(self, number, found)

    monkeypatch.setattr(flower.FedAdam, "aggregate_train", far)
    _run(_plan("fedadam", **_AUTO), tmp_path)
    assert [one["train"] for one in _told(tmp_path, "rates-tried")] == [1.0, 0.3]
    (note,) = [one["text"] for one in _told(tmp_path, "note") if "not tried" in one["text"]]
    assert note.startswith("homes' rate 3 times")
    assert "makes no model" in note
    assert "nearly" not in note


def test_where_the_last_attempts_are_not_made_the_run_goes_on_from_the_best(tmp_path: Path) -> None:
    plan = _plan("fedadam", {"eta": 0.3, "tau": 1e-6}, **_AUTO)
    rounds = _run(plan, tmp_path)
    (chosen,) = _told(tmp_path, "rates-chosen")
    assert (chosen["round"], chosen["tried"]) == (2, 1)
    whole = _run(_plan("fedadam", {"eta": 0.3, "tau": 1e-6}), tmp_path / "whole")
    assert rounds.state.flat.tobytes() == whole.state.flat.tobytes(), "no round is lost by it"
    assert rounds.state.rows[2]["homes_asked"] == 3


@pytest.mark.parametrize("last", [1, 4, 7, 11])
def test_a_run_that_was_cut_off_asks_its_strategy_as_it_would_have(
    last: int, tmp_path: Path
) -> None:
    class Cut(Exception):  # noqa: N818 - a power cut
        pass

    def cut(message: Message, position: int) -> Message:
        kind, config = message.metadata.message_type, content_of(message)[1]
        if kind == "evaluate" and config[ROUND] == last:
            raise Cut
        return _home(message, position)

    plan = _plan("fedadam", **_AUTO)
    whole = _run(plan, tmp_path / "whole")
    with pytest.raises(Cut):
        _run(plan, tmp_path / "cut", cut)
    with tiny.rounds_on(
        tiny.FakeGrid(3, _home), plan, _LAYOUT, tmp_path / "cut", _INITIAL
    ) as rounds:
        assert rounds.resume() == (last > 1)
        rounds.run()
    assert rounds.state.flat.tobytes() == whole.state.flat.tobytes()


_OWN = """
import numpy as np
from flwr.serverapp.strategy import FedAvg


class Own(FedAvg):
    works_on_sums = True

    def __init__(self, **given):
        super().__init__(**given)
        self.sent, self.{name} = {{}}, {value}

    def configure_train(self, server_round, arrays, config, grid):
        self.sent[server_round] = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        self.sent.pop(server_round)
        return super().aggregate_train(server_round, replies)
"""


def _own(folder: Path, name: str, value: str) -> str:
    file = folder / f"own_{name}.py"
    file.write_text(_OWN.format(name=name, value=value))
    return f"{file}:Own"


def test_a_strategy_of_ones_own_is_asked_again_with_what_it_remembered_then(
    tmp_path: Path,
) -> None:
    """It keeps something by the number of a round, which is there once."""
    rounds = _run(_plan(_own(tmp_path, "kept", "[1]"), {}, **_AUTO), tmp_path / "own")
    plain = _run(_plan("fedavg", **_AUTO), tmp_path / "fedavg")
    assert len(_told(tmp_path / "own", "rates-tried")) == 3
    np.testing.assert_allclose(rounds.state.flat, plain.state.flat, rtol=1e-6)


def test_a_strategy_whose_memory_cannot_be_copied_is_refused_before_homes_are_asked(
    tmp_path: Path,
) -> None:
    def asked(message: Message, position: int) -> Message:
        raise AssertionError(message, position)

    name = _own(tmp_path, "drawn", "[np.random.default_rng(1)]")
    with pytest.raises(RunError, match=r"Own.drawn\[0\] is a Generator") as refused:
        _run(_plan(name, {}, **_AUTO), tmp_path / "run", asked)
    assert "train.rate" in refused.value.hint


def test_strategies_whose_homes_cut_their_updates_off_are_refused(tmp_path: Path) -> None:
    wrap = {"wrap": "dp-client-fixed", "wrap_args": {"noise_multiplier": 0.1, "clipping_norm": 1.0}}
    with pytest.raises(PlanError) as caught:
        _plan("fedavg", strategy=wrap, **_AUTO)
    assert any("homes cut their updates off" in fault for fault in caught.value.faults)
    made = flower.DifferentialPrivacyClientSideFixedClipping(flower.FedAvg(), 0.1, 1.0, 3)
    grid = tiny.FakeGrid(3, _home)
    with tiny.rounds_on(grid, _plan("fedavg", **_AUTO), _LAYOUT, tmp_path, _INITIAL) as rounds:
        other = RoundLoop(
            plan=rounds.plan,
            strategy=made,
            grid=grid,
            layout=_LAYOUT,
            initial=_INITIAL,
            folder=rounds.folder,
            log=rounds.log,
        )
        with pytest.raises(RunError, match="homes cut their updates off"):
            other.run()


def test_an_attempt_that_asks_nobody_waits_for_homes_before_its_model_is_tested(
    tmp_path: Path,
) -> None:
    names = tuple(f"home-{place}" for place in range(3))
    there, tested = set(names), set[int]()

    def leaving(message: Message, position: int) -> Message:
        assert there, "asked while nobody was there"
        kind, config = message.metadata.message_type, content_of(message)[1]
        if kind == "evaluate" and config.get(ROUND) == 2:
            tested.add(position)
        if len(tested) == len(names):  # that was the last question of the first attempt
            there.clear()
            tested.clear()
        return _home(message, position)

    def come(seconds: float) -> None:
        del seconds
        there.update(names)

    plan = _plan("fedavg", **_AUTO)
    grid = tiny.FakeGrid(3, leaving)
    with tiny.rounds_on(grid, plan, _LAYOUT, tmp_path, _INITIAL) as rounds:
        patience = Patience(
            plan.rounds,
            needs=SumNeeds(plan=plan, homes=names),
            there=lambda: there,
            log=rounds.log,
            sleep=come,
        )
        waiting = RoundLoop(
            plan=plan,
            strategy=rounds.strategy,
            grid=grid,
            layout=_LAYOUT,
            initial=_INITIAL,
            folder=rounds.folder,
            log=rounds.log,
            patience=patience,
        )
        waiting.run()
    assert [one["round"] for one in _told(tmp_path, "waiting")] == [3]
    assert waiting.state.rows[2]["homes_asked"] == 0
    assert waiting.state.rows[2]["validation_loss"] is not None
