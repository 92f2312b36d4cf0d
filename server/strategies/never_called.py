"""Functions of a strategy that nothing calls: by Flower's former names, or by misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from types import FunctionType

from flwr.serverapp.strategy import Strategy

from fedhome.errors import PlanError
from fedhome.flower.strategy_layers import layers_of

_TODAY = {"configure_fit": "configure_train", "aggregate_fit": "aggregate_train"}
_CALLED = ("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate")
_ALIKE = 0.9  # of difflib's ratio: two letters swapped, one too many, another ending
_FLOWERS = Strategy.__module__.partition(".")[0] + "."


def check_called(name: str, strategy: Strategy) -> None:
    """Refuse a strategy whose own functions have former or misspelt names: nothing calls them.

    One that has the function by its right name, too, may call the other from there.

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
    for kind in strategy.__mro__:
        if _is_flowers(kind.__module__):
            continue
        for own, function in vars(kind).items():
            if (
                isinstance(function, FunctionType)
                and not own.startswith("_")
                and own not in _CALLED
            ):
                meant = difflib.get_close_matches(own, inherited, n=1, cutoff=_ALIKE)
                yield from ((own, called) for called in meant)


def _is_flowers(module: str) -> bool:
    return module.startswith(_FLOWERS)
