"""Functions of a strategy that nothing calls: by Flower's former names, or by misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from inspect import isfunction, unwrap
from types import CodeType, FunctionType

from flwr.serverapp.strategy import Strategy

from fedhome.errors import PlanError
from fedhome.flower.strategy_layers import layers_of

_TODAY = {"configure_fit": "configure_train", "aggregate_fit": "aggregate_train"}
_CALLED = ("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate")
_ALIKE = 0.9  # of difflib's ratio: two letters swapped, one too many, another ending
_FLOWERS = Strategy.__module__.partition(".")[0] + "."


def check_called(name: str, strategy: Strategy) -> None:
    """Refuse a strategy whose own functions have former or misspelt names: nothing calls them.

    One that has the function by its right name, too, may call the other from there, and whatever
    another function of its own names is no misspelt one.

    Args:
        name: What the plan calls it.
        strategy: It, with all that it wraps.

    Raises:
        PlanError: It has such functions; names those that are called.
    """
    faults = [
        f"strategy {name!r} has a function {own}, which is never called: Flower calls {called}"
        for layer in layers_of(strategy)
        for own, called in _never_called(type(layer))
    ]
    if faults:
        raise PlanError(
            faults,
            hint="write it for flwr.serverapp.strategy, as docs/strategies.md does: "
            "aggregate_train(self, server_round, replies) returns arrays and metrics",
        )


def _never_called(strategy: type[Strategy]) -> Iterator[tuple[str, str]]:
    """Yield own functions, each with the one of Flower's that was meant and is not there."""
    inherited = [called for called in _CALLED if _is_flowers(getattr(strategy, called).__module__)]
    for former, today in _TODAY.items():
        if hasattr(strategy, former) and today in inherited:
            yield former, today
    own_functions = [
        (own, function)
        for kind in strategy.__mro__
        if not _is_flowers(kind.__module__)
        for own, function in vars(kind).items()
        if isinstance(function, FunctionType)
    ]
    named = {
        called for own, function in own_functions for called in _names_in(function) if called != own
    }
    for own, _ in own_functions:
        if own.startswith("_") or own in _CALLED or own in named:
            continue
        meant = difflib.get_close_matches(own, inherited, n=1, cutoff=_ALIKE)
        yield from ((own, called) for called in meant)


def _names_in(function: FunctionType) -> Iterator[str]:
    """Yield the names that a function uses, with those within it and the one that it wraps."""
    codes = [one.__code__ for one in {function, unwrap(function)} if isfunction(one)]
    while codes:
        code = codes.pop()
        yield from code.co_names
        codes += [within for within in code.co_consts if isinstance(within, CodeType)]


def _is_flowers(module: str) -> bool:
    return module.startswith(_FLOWERS)
