"""A model's layers, as methods speak of them: the first and the last, whatever their names."""

from __future__ import annotations

from collections.abc import Sequence


def layers_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a model's parameters layer by layer, in their order.

    Parameters of one layer are those of one module: their names differ after the last dot alone.

    Args:
        names: The model's parameters, in their order.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return [tuple(some) for some in layers.values()]


def first_layers(names: Sequence[str], count: int) -> frozenset[str]:
    """Return the parameters of a model's first layers; arguments as of `last_layers`."""
    return frozenset(name for layer in layers_of(names)[:count] for name in layer)


def last_layers(names: Sequence[str], count: int) -> frozenset[str]:
    """Return the parameters of a model's last layers.

    Args:
        names: The model's parameters, in their order.
        count: How many layers, at least 1.
    """
    return frozenset(name for layer in layers_of(names)[-count:] for name in layer)
