"""Every strategy of Flower's, in both engines; a user's own; arguments that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from flwr.app import ArrayRecord
from flwr.serverapp import strategy as flower

import fedhome
from fedhome.errors import PlanError, PluginError
from fedhome.passed_objects import given, name_of
from fedhome.plan.settings import Plan
from fedhome.server.rounds.strategy_answers import metrics_alone, model_and_metrics
from fedhome.server.strategies import STRATEGIES, WRAPPERS, strategy_of
from fedhome.simulations.taken_fleet import check_sums
from helpers import tiny

_ARGS: dict[str, dict[str, Any]] = {
    "bulyan": {"num_malicious_nodes": 0},
    "fedadagrad": {"eta": 0.05},
    "fedadam": {"eta": 0.05},
    "fedavgm": {"server_momentum": 0.5},
    "fedprox": {"proximal_mu": 0.5},
    "fedtrimmedavg": {"beta": 0.25},
    "krum": {"num_malicious_nodes": 1},
    "multikrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 2},
    "qfedavg": {"q": 0.2},
}
_WRAP_ARGS: dict[str, dict[str, Any]] = {
    "dp-client-adaptive": {"noise_multiplier": 0.01, "clipped_count_stddev": 0.5},
    "dp-client-fixed": {"noise_multiplier": 0.01, "clipping_norm": 0.5},
    "dp-server-adaptive": {"noise_multiplier": 0.01, "clipped_count_stddev": 0.5},
    "dp-server-fixed": {"noise_multiplier": 0.01, "clipping_norm": 0.5},
}
_TREES = {"FedXgbBagging", "FedXgbCyclic"}  # they aggregate trees, which no torch module has
_NO_STRATEGY = {"Result", "Strategy"}


def _plan(name: str) -> Plan:
    if name in WRAPPERS:
        return tiny.plan(strategy={"wrap": name, "wrap_args": _WRAP_ARGS[name]})
    return tiny.plan(strategy={"name": name, "args": _ARGS.get(name, {})})


def test_every_strategy_of_flowers_has_a_name() -> None:
    ours = {made.__name__ for made in (*STRATEGIES.values(), *WRAPPERS.values())}
    assert ours == set(flower.__all__) - _TREES - _NO_STRATEGY
    assert len(ours) == 16


def test_a_strategy_of_flowers_former_kind_is_refused_for_what_is_never_called() -> None:
    class Former(flower.FedAvg):
        def aggregate_fit(self, server_round: int, results: object, failures: object) -> None:
            """Is called by no Flower of today."""

        def configure_fit(self, server_round: int) -> None:
            """Neither."""

    class Both(Former):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            self.aggregate_fit(server_round, replies, [])
            return super().aggregate_train(server_round, replies)

        def configure_train(self, *arguments: Any) -> Any:
            self.configure_fit(arguments[0])
            return super().configure_train(*arguments)

    plan = tiny.plan()
    around = flower.DifferentialPrivacyServerSideFixedClipping(Former(), 1.0, 1.0, 3)
    for made in (Former(), around):
        with given({"strategy": made}), pytest.raises(PlanError) as refused:
            strategy_of(plan.change(strategy={"name": name_of(made)}), 3)
        assert "a function aggregate_fit, which is never called: Flower calls aggregate_train" in (
            refused.value.message
        )
        assert "configure_fit, which is never called" in refused.value.message
    with given({"strategy": Both()}):
        assert isinstance(strategy_of(plan.change(strategy={"name": name_of(Both())}), 3), Both)


def test_a_misspelt_function_is_refused_for_what_is_never_called() -> None:
    """The run was FedAvg's, and nobody was told."""

    class Misspelt(flower.FedAvg):
        def aggregate_trian(self, server_round: int, replies: Any) -> None:
            """Is called by nothing."""

        def weigh(self) -> None:
            """Is like none of Flower's."""

    class Both(Misspelt):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            self.aggregate_trian(server_round, replies)
            return super().aggregate_train(server_round, replies)

    plan = tiny.plan()
    with given({"strategy": Misspelt()}), pytest.raises(PlanError) as refused:
        strategy_of(plan.change(strategy={"name": name_of(Misspelt())}), 3)
    assert "a function aggregate_trian, which is never called: Flower calls aggregate_train" in (
        refused.value.message
    )
    assert "weigh" not in refused.value.message
    with given({"strategy": Both()}):
        assert isinstance(strategy_of(plan.change(strategy={"name": name_of(Both())}), 3), Both)


def test_a_helper_that_a_strategy_calls_itself_is_no_misspelt_function() -> None:
    class Helped(flower.FedAvg):
        def configure_train(self, *given: Any) -> Any:
            self.aggregate_training()
            return super().configure_train(*given)

        def aggregate_training(self) -> None:
            """Is like aggregate_train, which stays Flower's."""

    class Unhelped(flower.FedAvg):
        aggregate_training = Helped.aggregate_training

    plan = tiny.plan()
    with given({"strategy": Helped()}):
        assert isinstance(strategy_of(plan.change(strategy={"name": name_of(Helped())}), 3), Helped)
    with given({"strategy": Unhelped()}), pytest.raises(PlanError, match="aggregate_training"):
        strategy_of(plan.change(strategy={"name": name_of(Unhelped())}), 3)


def test_a_misspelt_function_that_only_an_unused_one_names_is_refused() -> None:
    class Unused(flower.FedAvg):
        def aggregate_trian(self, server_round: int, replies: Any) -> Any:
            """Is named below, by what nothing calls."""

        def try_it(self) -> Any:
            return self.aggregate_trian(0, self.mean)

        @property
        def mean(self) -> Any:
            return self.try_it()

    class Used(Unused):
        def __repr__(self) -> str:
            return f"Used({self.mean})"

    plan = tiny.plan()
    with given({"strategy": Unused()}), pytest.raises(PlanError, match="aggregate_trian"):
        strategy_of(plan.change(strategy={"name": name_of(Unused())}), 3)
    with given({"strategy": Used()}):
        assert isinstance(strategy_of(plan.change(strategy={"name": name_of(Used())}), 3), Used)


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("fedadam", {"eta": True}, "'fedadam' wants a number as 'eta', .* (it is true)"),
        ("switched", {"often": 1}, "wants true or false as 'often', not a number (it is 1)"),
        ("switched", {"often": False, "share": 1, "both": True, "fraction_train": 1}, ""),
        ("switched", {"share": True}, "wants a number as 'share'"),
        ("switched", {"fraction_train": False}, "wants a number as 'fraction_train'"),
        ("switched", {"most": True}, "wants a number as 'most'"),
        ("switched", {"quick": 0}, "wants true or false as 'quick'"),
    ],
)
def test_true_is_no_number_and_a_number_not_true(name: str, args: dict[str, Any], why: str) -> None:
    class Switched(flower.FedAvg):
        def __init__(
            self,
            often: bool = False,
            share: float = 0.5,
            both: Any = None,
            most: int | None = None,
            quick: Optional[bool] = None,  # noqa: UP045 - as others write it
            **kwargs: Any,
        ) -> None:
            super().__init__(**kwargs)
            self.told = often, share, both, most, quick

    plan = tiny.plan()
    with given({"strategy": Switched}):
        named = name_of(Switched) if name == "switched" else name
        told = plan.change(strategy={"name": named, "args": args})
        if not why:
            assert isinstance(strategy_of(told, 3), Switched)
            return
        with pytest.raises(PlanError, match=why.replace("(", r"\(").replace(")", r"\)")):
            strategy_of(told, 3)


@pytest.mark.long
@pytest.mark.parametrize("name", [*STRATEGIES, *WRAPPERS])
def test_every_strategy_learns_the_same_in_both_engines(name: str, tmp_path: Path) -> None:
    plan, fleet = _plan(name), tiny.homes()
    found = [
        tiny.run(plan.change(engine={"name": engine}), fleet, tmp_path / engine)
        for engine in ("vector", "sequential")
    ]
    initial = tiny.learning(plan).initial
    for rounds in found:
        flat = rounds.state.flat
        assert flat.dtype == np.float32
        assert np.isfinite(flat).all()
        assert not np.allclose(flat, initial, atol=1e-3)
        for row in rounds.state.rows:
            assert row["homes_answered"] == 4
            assert row["train_loss"] is not None
    np.testing.assert_allclose(found[0].state.flat, found[1].state.flat, rtol=1e-3, atol=1e-4)


@pytest.mark.long
def test_clipping_at_the_homes_bounds_the_step(tmp_path: Path) -> None:
    norm = 0.05
    plan = tiny.plan(
        rounds={"count": 1},
        strategy={
            "wrap": "dp-client-fixed",
            "wrap_args": {"noise_multiplier": 0.0, "clipping_norm": norm},
        },
    )
    step = tiny.run(plan, tiny.homes(), tmp_path).state.flat - tiny.learning(plan).initial
    assert 0.2 * norm < np.linalg.norm(step) < 1.001 * norm


def test_the_plans_rounds_reach_the_strategy() -> None:
    plan = tiny.plan(
        rounds={"fraction": 0.5, "evaluate_fraction": 0.25}, strategy={"name": "QFedAvg"}
    )
    made: Any = strategy_of(plan, 8)
    assert isinstance(made, flower.QFedAvg)  # names are read in any case
    assert (made.fraction_train, made.fraction_evaluate) == (0.5, 0.25)
    assert (made.min_train_nodes, made.min_evaluate_nodes, made.min_available_nodes) == (1, 1, 1)
    assert made.client_learning_rate == plan.train.learning_rate
    wrapped: Any = strategy_of(_plan("dp-server-fixed").change(rounds={"fraction": 0.5}), 8)
    assert wrapped.num_sampled_clients == 4
    assert isinstance(wrapped.strategy, flower.FedAvg)


def test_who_needs_single_updates_needs_groups_or_a_plain_plan() -> None:
    plan = Plan.load(sets=["strategy.name=mine:Own", "aggregation.mode=secure"])
    with pytest.raises(PlanError, match="strategy 'mine:Own' needs single updates"):
        check_sums(plan, 100, sums=False)
    check_sums(plan, 100, sums=True)
    check_sums(plan.change(aggregation={"groups": 2}), 100, sums=False)


def test_arguments_win_over_what_the_plans_rounds_say() -> None:
    made: Any = strategy_of(tiny.plan(strategy={"args": {"min_train_nodes": 3}}), 8)
    assert made.min_train_nodes == 3


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ({"args": {"beta": 1, "gamma": 2}}, ["no argument 'beta'", "no argument 'gamma'"]),
        ({"wrap": "dp-client-fixed"}, ["'noise_multiplier'", "'clipping_norm'"]),
        (
            {
                "wrap": "dp-client-fixed",
                "wrap_args": {"noise_multiplier": -1.0, "clipping_norm": 1},
            },
            ["refuses its arguments", "noise multiplier"],
        ),
        ({"name": "math:pi"}, ["not a class or a function"]),
        ({"name": "builtins:dict"}, ["does not tell its arguments"]),
        ({"name": "pathlib:Path"}, ["not a flwr.serverapp.strategy.Strategy but PosixPath"]),
    ],
)
def test_arguments_that_do_not_fit_are_a_plan_error(
    strategy: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(PlanError) as caught:
        strategy_of(tiny.plan(strategy=strategy), 4)
    assert all(words in str(caught.value) for words in told)


@pytest.mark.parametrize(
    "strategy", [{"name": "fedsgd"}, {"wrap": "armour"}, {"name": "my_missing_module:Mine"}]
)
def test_an_unknown_name_says_what_is_known(strategy: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=r"fedavg|dp-client-fixed|beside the plan"):
        strategy_of(tiny.plan(strategy=strategy), 4)


_MINE = '''
import numpy as np
from flwr.serverapp.strategy import FedAvg
from fedhome.flower.messages import array_record

class Halved(FedAvg):
    """Goes half the way."""

    def __init__(self, share=0.5, **kwargs):
        super().__init__(**kwargs)
        self.share = share
        self.seen = []

    def configure_train(self, server_round, arrays, config, grid):
        self.before = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        self.seen.append(len(replies))
        summed, metrics = super().aggregate_train(server_round, replies)
        for key, array in summed.items():
            start = self.before[key].numpy()
            moved = start + self.share * (array.numpy() - start)
            summed[key] = type(self.before[key])(moved.astype(np.float32))
        return summed, metrics

def made(**kwargs):
    return Halved(share=0.0, **kwargs)
'''


@pytest.mark.long
def test_a_users_own_strategy_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"my_strategy_{abs(hash(tmp_path))}"
    (tmp_path / f"{module}.py").write_text(_MINE)
    monkeypatch.syspath_prepend(tmp_path)
    plan = tiny.plan(rounds={"count": 1})
    start = tiny.learning(plan).initial
    whole = tiny.run(plan, tiny.homes(), tmp_path / "whole").state.flat
    for engine in ("vector", "sequential"):
        mine = plan.change(strategy={"name": f"{module}:Halved"}, engine={"name": engine})
        half = tiny.run(mine, tiny.homes(), tmp_path / engine)
        np.testing.assert_allclose(half.state.flat - start, (whole - start) / 2, atol=1e-5)
        assert vars(half.strategy)["seen"] == [4]  # it saw every home, not their mean
    few = plan.change(
        strategy={"name": f"{module}:Halved", "args": {"share": 1.0}}, rounds={"fraction": 0.5}
    )
    assert tiny.run(few, tiny.homes(), tmp_path / "few").state.rows[0]["homes_asked"] == 2
    with pytest.raises(PlanError, match="no argument 'shore'"):
        strategy_of(plan.change(strategy={"name": f"{module}:Halved", "args": {"shore": 1}}), 4)
    still = plan.change(strategy={"name": f"{module}:made"})
    kept = tiny.run(still, tiny.homes(), tmp_path / "still").state.flat
    np.testing.assert_array_equal(kept, start)


class _Deaf(flower.FedAvg):
    """Takes nothing, so the plan's shares do not reach it."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.5)


def test_a_share_of_homes_that_does_not_reach_the_strategy_is_refused() -> None:
    """All homes were asked, and nobody was told."""
    plan = tiny.plan(strategy={"name": f"{__file__}:_Deaf"})
    assert strategy_of(plan, 4).fraction_evaluate == 0.5  # type: ignore[attr-defined]
    told = r"rounds\.fraction is 0\.5, but the strategy was made with fraction_train = 1\.0"
    for wrap in ({}, {"wrap": "dp-client-fixed", "wrap_args": _WRAP_ARGS["dp-client-fixed"]}):
        few = plan.change(rounds={"fraction": 0.5}, strategy=wrap)
        with pytest.raises(PlanError, match=told) as error:
            strategy_of(few, 4)
        assert "**kwargs" in (error.value.hint or "")


def test_a_wrapper_that_would_take_the_strategys_place_is_refused() -> None:
    for wrap in ("flwr.serverapp.strategy:FedAvg", "flwr.serverapp.strategy:FedProx"):
        with pytest.raises(PlanError, match="takes no argument 'strategy': it wraps nothing"):
            strategy_of(tiny.plan(strategy={"name": "fedadam", "wrap": wrap}), 8)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "Mine.aggregate_train returned nothing, not a pair"),
        (ArrayRecord(), "returned a value of type ArrayRecord, not a pair"),
        (({}, None), "returned a value of type dict for the model"),
        ((None, 0.5), "returned a value of type float for the metrics"),
    ],
)
def test_what_a_strategy_of_ones_own_returns_by_mistake_is_named(answer: Any, told: str) -> None:
    class Mine:
        pass

    with pytest.raises(PluginError, match=told) as error:
        model_and_metrics(Mine(), answer)
    assert "an ArrayRecord, or None, and metrics, or None" in error.value.hint
    assert model_and_metrics(Mine(), (None, None)) == (None, None)
    with pytest.raises(PluginError, match="aggregate_evaluate returned a value of type tuple"):
        metrics_alone(Mine(), (None, None))
    assert metrics_alone(Mine(), None) is None


def test_a_strategy_that_forgets_to_return_ends_the_run_in_words(tmp_path: Path) -> None:
    class Forgets(flower.FedAvg):
        works_on_sums = True

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            super().aggregate_train(server_round, replies)

    plan = tiny.plan(aggregation={"mode": "plain"})
    with pytest.raises(PluginError, match="aggregate_train returned nothing"):
        fedhome.simulate(plan, strategy=Forgets, out=tmp_path / "run")
