"""Strategies by name: any of Flower's, or a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy

from fedhome.errors import FedHomeError, PlanError
from fedhome.own_code import fault_of, line_of
from fedhome.plan.settings import Plan
from fedhome.plugins import load
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


def strategy_of(plan: Plan, homes: int) -> Strategy:
    """Build the plan's strategy, with its wrapper if it names one.

    The plan's rounds give it ``fraction_train`` and ``fraction_evaluate``; minimum numbers of
    nodes are 1, since Flower's sampling blocks for ever below them and the quorum is ours.

    Args:
        plan: The plan.
        homes: Number of homes in the fleet.

    Raises:
        PlanError: Arguments that the strategy does not have, or lacks.
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
    strategy = _build(name, _class_of(name, STRATEGIES, "strategy"), arguments, args)
    if plan.strategy.wrap:
        name, args = plan.strategy.wrap, plan.strategy.wrap_args
        around = {
            "strategy": strategy,
            "num_sampled_clients": max(1, int(homes * plan.rounds.fraction)),
        }
        strategy = _build(name, _class_of(name, WRAPPERS, "wrapper"), around, args)
    return strategy


def _class_of(name: str, table: Mapping[str, type[Strategy]], kind: str) -> Callable[..., object]:
    strategy_class = table.get(name.lower()) or load(name, kind, table)
    if not callable(strategy_class):
        raise PlanError([f"{kind} {name!r} is not a class or a function"])
    return strategy_class


def _build(
    name: str, make: Callable[..., object], ours: Mapping[str, Any], args: Mapping[str, Any]
) -> Strategy:
    names, needed, takes_any = _arguments(name, make)
    faults = [
        f"strategy {name!r} has no argument {argument!r}{did_you_mean(argument, names)} "
        f"(it has: {', '.join(names)})"
        for argument in args
        if argument not in names and not takes_any
    ]
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
    except Exception as error:
        if line_of(error) or not isinstance(error, TypeError | ValueError):
            raise fault_of(f"strategy {name!r} fails when it is built", make, error) from error
        raise PlanError([f"strategy {name!r} refuses its arguments: {error}"]) from None
    if not isinstance(strategy, Strategy):
        raise PlanError(
            [f"{name!r} is not a flwr.serverapp.strategy.Strategy but {type(strategy).__name__}"]
        )
    return strategy


def _arguments(name: str, make: Callable[..., object]) -> tuple[list[str], list[str], bool]:
    """Return the names of all arguments, of the needed ones, and whether others are taken too.

    A class that hands ``**kwargs`` on to its base takes what the base takes: so a user's own
    FedAvg gets the plan's fractions too.
    """
    try:
        signatures = [inspect.signature(make)]
        for base in inspect.getmro(make)[1:] if inspect.isclass(make) else ():
            if not _takes_any(signatures[-1]):
                break
            signatures.append(inspect.signature(base))
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
        _takes_any(signatures[-1]),
    )


def _takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
