"""Strategies as Flower had them before: functions that its strategies of today never call."""

from __future__ import annotations

from flwr.serverapp.strategy import Strategy

from fedhome.errors import PlanError
from fedhome.flower.strategy_layers import layers_of

_TODAY = {"configure_fit": "configure_train", "aggregate_fit": "aggregate_train"}
_FLOWERS = Strategy.__module__.partition(".")[0] + "."


def check_former(name: str, strategy: Strategy) -> None:
    """Refuse a strategy whose own functions have former names, by which nothing calls them.

    One that has the function of today, too, may call the other from there.

    Args:
        name: What the plan calls it.
        strategy: It, with all that it wraps.

    Raises:
        PlanError: It has such functions; names those of today.
    """
    faults = [
        f"strategy {name!r} has a function {former}, which is never called: Flower calls {today}"
        for layer in layers_of(strategy)
        for former, today in _TODAY.items()
        if hasattr(layer, former) and getattr(type(layer), today).__module__.startswith(_FLOWERS)
    ]
    if faults:
        raise PlanError(
            faults,
            hint="write it for flwr.serverapp.strategy, as docs/strategies.md does: "
            "aggregate_train(self, server_round, replies) returns arrays and metrics",
        )
