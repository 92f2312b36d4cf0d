"""What a strategy is made of: Flower's wrappers hold the strategy that they are around."""

from __future__ import annotations

from collections.abc import Iterator

from flwr.serverapp.strategy import Strategy


def layers_of(strategy: Strategy) -> Iterator[Strategy]:
    """Yield a strategy, then the one that it wraps, and so on to the innermost.

    A wrapper is told by its attribute ``strategy``, as Flower's have it, that holds a strategy;
    anything else under that name is a matter of the user's own.

    Args:
        strategy: The outermost.
    """
    seen: list[Strategy] = []
    layer: object = strategy
    while isinstance(layer, Strategy) and not any(layer is one for one in seen):
        seen.append(layer)
        yield layer
        layer = vars(layer).get("strategy")
