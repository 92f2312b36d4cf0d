"""Strategies by name: any of Flower's, or a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy

from fedhome.errors import FedHomeError, PlanError
from fedhome.flower.strategy_layers import layers_of
from fedhome.own_code import fault_of, line_of
from fedhome.plan.round_settings import RoundSettings
from fedhome.plan.settings import Plan
from fedhome.plugins import load
from fedhome.server.strategies.arguments import signatures_of, switch_faults, takes_any
from fedhome.server.strategies.never_called import check_called
from fedhome.spelling import did_you_mean

STRATEGIES: Mapping[str, type[Strategy]] = {
    "bulyan": flower.Bulyan,
    "fedadagrad": flower.FedAdagrad,
    "fedadam": flower.FedAdam,
    "fedavg": flower.FedAvg,
    "fedavgm": flower.FedAvgM,
    "fedmedian": flower.FedMedian,
    "fedprox": flower.FedProx,
    "fedtrimmedavg": flower.FedTrimmedAvg,
    "fedyogi": flower.FedYogi,
    "krum": flower.Krum,
    "multikrum": flower.MultiKrum,
    "qfedavg": flower.QFedAvg,
}
WRAPPERS: Mapping[str, type[Strategy]] = {
    "dp-client-adaptive": flower.DifferentialPrivacyClientSideAdaptiveClipping,
    "dp-client-fixed": flower.DifferentialPrivacyClientSideFixedClipping,
    "dp-server-adaptive": flower.DifferentialPrivacyServerSideAdaptiveClipping,
    "dp-server-fixed": flower.DifferentialPrivacyServerSideFixedClipping,
}

_SHARES = {"fraction": "fraction_train", "evaluate_fraction": "fraction_evaluate"}
_NEEDED_NODES = ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes")


def strategy_of(plan: Plan, homes: int) -> Strategy:
    """Build the plan's strategy, with its wrapper if it names one.

    The plan's rounds give it ``fraction_train`` and ``fraction_evaluate``; minimum numbers of
    nodes are 1, since Flower's sampling blocks for ever below them and the quorum is ours. One that
    is made already is copied as it is.

    Args:
        plan: The plan.
        homes: Number of homes in the fleet.

    Raises:
        PlanError: Arguments that the strategy does not have, or lacks; or it waits for more homes;
            or nothing would call functions of it (:mod:`fedhome.server.strategies.never_called`).
        PluginError: A name behind which there is none, or own code that fails; with its line.
    """
    arguments = {
        "fraction_train": plan.rounds.fraction,
        "fraction_evaluate": plan.rounds.evaluate_fraction,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1,
        "min_available_nodes": 1,
        "client_learning_rate": plan.train.learning_rate,
    }
    name, args = plan.strategy.name, plan.strategy.args
    found = _class_of(name, STRATEGIES, "strategy")
    if isinstance(found, Strategy):
        strategy = _fresh(name, found, args)
    else:
        strategy = _build(name, found, arguments, args)
    check_called(name, strategy)
    shares_of(strategy, plan.rounds)
    _check_enough(name, strategy, homes)
    if plan.strategy.wrap:
        name, args = plan.strategy.wrap, plan.strategy.wrap_args
        around = {
            "strategy": strategy,
            "num_sampled_clients": max(1, int(homes * plan.rounds.fraction)),
        }
        wrapper = _class_of(name, WRAPPERS, "wrapper")
        if isinstance(wrapper, Strategy):
            raise PlanError(
                [f"wrapper {name!r} is made already"],
                hint="name its class, which is then put around strategy.name",
            )
        if "strategy" not in _arguments(name, wrapper)[0]:  # it would stand in the other's place
            raise PlanError(
                [f"wrapper {name!r} takes no argument 'strategy': it wraps nothing"],
                hint="a strategy itself is named as strategy.name",
            )
        strategy = _build(name, wrapper, around, args)
    return strategy


def shares_of(
    strategy: Strategy, rounds: RoundSettings, *, where: str = "the plan"
) -> dict[str, Any]:
    """Return what a strategy that is made has of the plan's rounds: which share of homes it asks.

    Args:
        strategy: It; one that takes no ``fraction_train`` asks as many as its class has it.
        rounds: The plan's settings.
        where: Who says it, for the error.

    Raises:
        PlanError: Strategy and plan both say something, and not the same.
    """
    *_, inner = layers_of(strategy)
    faults, found = [], {}
    for key, attribute in _SHARES.items():
        share, said = getattr(inner, attribute, None), getattr(rounds, key)
        if share is None or share == said:
            continue
        if said != type(rounds).model_fields[key].default:
            faults.append(
                f"rounds.{key} is {said}, but the strategy was made with {attribute} = {share}"
            )
        found[key] = share
    if faults:
        raise PlanError(
            faults,
            where=where,
            hint="say it in one place: a class that hands **kwargs on to FedAvg gets the plan's",
        )
    return found


def _class_of(
    name: str, table: Mapping[str, type[Strategy]], kind: str
) -> Callable[..., object] | Strategy:
    found = table.get(name.lower()) or load(name, kind, table)
    if not callable(found) and not isinstance(found, Strategy):
        raise PlanError(
            [f"{kind} {name!r} is not a class or a function"],
            hint="name a class that derives from flwr.serverapp.strategy.Strategy, or a function",
        )
    return found


def _fresh(name: str, strategy: Strategy, args: Mapping[str, Any]) -> Strategy:
    """Return a copy of a strategy that is made already: no run finds what another one left in it.

    Raises:
        PlanError: The plan has arguments for it, or it cannot be copied.
    """
    if args:
        raise PlanError(
            [f"strategy.args are set, but {name!r} is made already, with its own arguments"],
            hint="name or hand over its class, and it is made with the plan's arguments",
        )
    try:
        return deepcopy(strategy)
    except Exception as error:
        raise PlanError(
            [f"strategy {name!r} cannot be copied for this run: {type(error).__name__}: {error}"],
            hint="name or hand over its class, or a function that makes it",
        ) from error


def _check_enough(name: str, strategy: Strategy, homes: int) -> None:
    """Refuse a strategy that would wait for more homes than there are.

    Raises:
        PlanError: Flower's sampling would block for ever.
    """
    least = max(
        (
            limit
            for layer in layers_of(strategy)
            for part in _NEEDED_NODES
            if isinstance(limit := getattr(layer, part, 0), int)
        ),
        default=0,
    )
    if least > homes:
        raise PlanError(
            [f"strategy {name!r} waits for {least} homes, and there are {homes}"],
            hint=f"make it with {' and '.join(_NEEDED_NODES)} of at most {homes}; "
            "a class that is named or handed over gets 1",
        )


def _build(
    name: str, make: Callable[..., object], ours: Mapping[str, Any], args: Mapping[str, Any]
) -> Strategy:
    names, needed, any_other = _arguments(name, make)
    faults = [
        f"strategy {name!r} has no argument {argument!r}{did_you_mean(argument, names)} "
        f"(it has: {', '.join(names)})"
        for argument in args
        if argument not in names and not any_other
    ]
    faults += switch_faults(f"strategy {name!r}", make, args)
    filled = {n: v for n, v in ours.items() if n in names} | dict(args)
    faults += [
        f"strategy {name!r} needs the argument {missing!r}"
        for missing in needed
        if missing not in filled
    ]
    if faults:
        raise PlanError(faults, hint="arguments go into [strategy.args] or [strategy.wrap_args]")
    try:
        strategy = make(**filled)
    except FedHomeError:
        raise
    except (Exception, SystemExit) as error:
        if line_of(error) or not isinstance(error, TypeError | ValueError):
            raise fault_of(f"strategy {name!r} fails when it is built", make, error) from error
        raise PlanError(
            [f"strategy {name!r} refuses its arguments: {error}"],
            hint="arguments go into [strategy.args] or [strategy.wrap_args]",
        ) from None
    if not isinstance(strategy, Strategy):
        raise PlanError(
            [f"{name!r} is not a flwr.serverapp.strategy.Strategy but {type(strategy).__name__}"],
            hint="let its class derive from it, or from one of Flower's strategies",
        )
    return strategy


def _arguments(name: str, make: Callable[..., object]) -> tuple[list[str], list[str], bool]:
    """Return the names of all arguments, of the needed ones, and whether others are taken too.

    A class that hands ``**kwargs`` on to its base takes what the base takes: so a user's own
    FedAvg gets the plan's fractions too.
    """
    try:
        signatures = signatures_of(make)
    except ValueError:
        raise PlanError([f"strategy {name!r} does not tell its arguments"]) from None
    named = [
        p
        for signature in signatures
        for p in signature.parameters.values()
        if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}
    ]
    return (
        list(dict.fromkeys(p.name for p in named)),
        [p.name for p in named if p.default is p.empty and p.name in signatures[0].parameters],
        takes_any(signatures[-1]),
    )
