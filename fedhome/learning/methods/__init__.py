"""Methods: one file an algorithm, and one row of the table here.

A method of your own is a class that is named in the plan as ``"module:Class"``; no table and no
engine has to know it (docs/methods.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from fedhome.errors import PlanError, PluginError, UpdateError
from fedhome.learning.methods.apfl import Apfl
from fedhome.learning.methods.ditto import Ditto
from fedhome.learning.methods.fedavg import FedAvg
from fedhome.learning.methods.fedper import FedPer
from fedhome.learning.methods.fedprox import FedProx
from fedhome.learning.methods.fedrep import FedRep
from fedhome.learning.methods.home_embedding import HomeEmbedding
from fedhome.learning.methods.ifca import Ifca
from fedhome.learning.methods.lg_fedavg import LgFedAvg
from fedhome.learning.methods.method import Method
from fedhome.learning.params import Params
from fedhome.own_code import fault_of
from fedhome.plan import overrides
from fedhome.plan.settings import MethodSettings, Plan
from fedhome.plugins import load, look_up

__all__ = [
    "METHODS",
    "Apfl",
    "Ditto",
    "FedAvg",
    "FedPer",
    "FedProx",
    "FedRep",
    "HomeEmbedding",
    "Ifca",
    "LgFedAvg",
    "Method",
    "Params",
    "faults_of",
    "method_of",
    "told",
    "told_faults",
]

METHODS: dict[str, type[Method]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedper": FedPer,
    "fedrep": FedRep,
    "lg-fedavg": LgFedAvg,
    "home-embedding": HomeEmbedding,
    "ditto": Ditto,
    "apfl": Apfl,
    "ifca": Ifca,
}
"""Every method by its name in a plan."""


def method_of(settings: MethodSettings) -> Method:
    """Return the method that a plan names, with its settings.

    Raises:
        PluginError: There is no method behind the name.
        PlanError: Settings that it does not have, or lacks; all at once.
    """
    kind = _class_of(settings.name)
    try:
        method = kind.model_validate(dict(settings.args))
        hash(method)
    except ValidationError as error:
        fields = ", ".join(kind.model_fields) or "none"
        raise PlanError(
            [f"method.args.{it}" for it in overrides.faults_in(error, list(kind.model_fields))],
            hint=f"settings of the method {settings.name!r}: {fields}",
        ) from None
    except TypeError as error:
        raise PluginError(
            f"settings of the method {settings.name!r} cannot be told apart: {error}",
            hint="its fields hold numbers, texts or tuples of them",
        ) from None
    except (Exception, SystemExit) as error:
        raise fault_of(f"method {settings.name!r} fails when it is made", kind, error) from error
    return method


def _class_of(name: str) -> type[Method]:
    if ":" not in name:
        return look_up(METHODS, name, "method")
    found = load(name, "method", METHODS)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise PluginError(
            f"method {name!r} is no subclass of fedhome.learning.methods.Method",
            hint="docs/methods.md shows one",
        )
    return found


def faults_of(plan: Plan) -> list[str]:
    """Return what of a plan's method does not fit together.

    Raises:
        PluginError: There is no method behind the name.
    """
    try:
        method = method_of(plan.method)
    except PlanError as error:
        return [f"{fault}; {error.hint}" for fault in error.faults]
    if fault := method.fault_on(plan):
        return [fault]
    strategy = plan.strategy.name.lower()
    if type(method) in METHODS.values() and type(method) is not FedAvg:
        others = [other for other in METHODS.values() if other.strategy == strategy]
        if others and type(method) not in others:
            fault = f"strategy.name = {strategy} tells homes what method.name = {plan.method.name} "
            return [fault + "knows nothing of: take another strategy, or the method fedavg"]
    if not method.strategy or strategy != method.strategy:
        return []
    told_by = ", ".join(f"strategy.args.{name}" for name in method.told_by.values())
    fault = f"method.name and strategy.name are both {method.strategy}, and what the strategy says "
    return [fault + f"in every message wins: set {told_by} alone"]


def told(method: Method, message: Mapping[str, Any]) -> Method:
    """Return a method with what its server half says in a train message.

    Homes whose plan says no more than plain descent follow the strategy: where it sends what
    another method here is told by, they train by that one.

    Args:
        method: The method of the home's plan.
        message: The settings that came.

    Raises:
        UpdateError: A setting of another method, or a value that it cannot have.
    """
    others = {
        key: other
        for other in METHODS.values()
        for key in other.told_by
        if key in message and key not in method.told_by
    }
    kind = type(method)
    if others:
        if kind is not FedAvg or len(set(others.values())) > 1:
            raise UpdateError(
                f"a message came with {', '.join(others)}, of which the method "
                f"{kind.__name__} knows nothing",
                hint="strategy and method of the plan do not go together: see docs/methods.md",
            )
        (kind,) = set(others.values())
    came = {name: message[key] for key, name in kind.told_by.items() if key in message}
    if not came:
        return method
    try:
        return kind.model_validate({**(dict(method) if not others else {}), **came}, strict=True)
    except ValidationError as error:
        keys = {name: key for key, name in kind.told_by.items()}
        faults = [
            f"{keys.get(str(item['loc'][0]), item['loc'][0])} {item['input']!r} "
            f"({item['msg'][0].lower()}{item['msg'][1:]})"
            for item in error.errors()
        ]
        raise UpdateError(f"a message came with {', '.join(faults)}") from None


def told_faults(message: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what a train message says to methods of ours that the plan's strategy does not say.

    Args:
        message: The settings that came.
        plan: The home's plan, by which it takes part.
    """
    strategy = plan.strategy
    for method in METHODS.values():
        for key, name in method.told_by.items():
            if key not in message or ":" in strategy.name or ":" in plan.method.name:
                continue  # a strategy or method of one's own says what it likes
            if strategy.name.lower() != method.strategy:
                yield f"{key}, which the plan's strategy {strategy.name!r} does not send"
            elif message[key] != strategy.args.get(name, message[key]):
                yield f"{key} {message[key]!r}, and the plan says {strategy.args[name]!r}"
