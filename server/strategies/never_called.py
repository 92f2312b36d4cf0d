"""Functions of a strategy that nothing calls: by Flower's former names, or by misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
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
    a function that is called names is no misspelt one.

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
    functions: dict[str, list[FunctionType]] = {}
    for kind in strategy.__mro__:
        if not _is_flowers(kind.__module__):
            for own, found in vars(kind).items():
                functions.setdefault(own, []).extend(_functions_of(found))
    reached = _reached(strategy, functions)
    for own in functions:
        if own.startswith("_") or own in _CALLED or own in reached:
            continue
        meant = difflib.get_close_matches(own, inherited, n=1, cutoff=_ALIKE)
        yield from ((own, called) for called in meant)


def _reached(strategy: type[Strategy], functions: Mapping[str, Sequence[FunctionType]]) -> set[str]:
    """Return what is called, as far as names tell: by Flower or Python, or by what is called."""
    flowers = [kind for kind in strategy.__mro__ if _is_flowers(kind.__module__)]
    open_ends = [
        own
        for own in functions
        if (own.startswith("__") and own.endswith("__"))
        or any(hasattr(kind, own) for kind in flowers)
    ]
    reached: set[str] = set()
    while open_ends:
        caller = open_ends.pop()
        reached.add(caller)
        names = {name for function in functions[caller] for name in _names_in(function)}
        open_ends += [name for name in names if name in functions and name not in reached]
    return reached


def _functions_of(found: object) -> list[FunctionType]:
    """Return the functions in what a class holds under a name: a property has up to three."""
    parts = [found]
    if isinstance(found, property):
        parts = [found.fget, found.fset, found.fdel]
    elif isinstance(found, classmethod | staticmethod):
        parts = [found.__func__]
    return [part for part in parts if isinstance(part, FunctionType)]


def _names_in(function: FunctionType) -> Iterator[str]:
    """Yield the names that a function uses, with those within it and the one that it wraps."""
    codes = [one.__code__ for one in {function, unwrap(function)} if isfunction(one)]
    while codes:
        code = codes.pop()
        yield from code.co_names
        codes += [within for within in code.co_consts if isinstance(within, CodeType)]


def _is_flowers(module: str) -> bool:
    return module.startswith(_FLOWERS)
