"""Which networks a program trains: one, or several that share their first units.

Networks that lie within each other have one set of hidden layers, those of the largest, and an
output layer, the *exit*, for each depth that one of them has. Each takes the first units of the
first layers, and of its depth's exit the first columns. A step follows the sum of their losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple


class Path(NamedTuple):
    """One of the networks: its widths from input to output, and which layers they are of."""

    sizes: tuple[int, ...]
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Nesting:
    """The networks of a program.

    Args:
        sizes: Widths of the largest from the input to the output.
        slices: Widths of each one's hidden layers, from the smallest to the largest, each within
            the next; none: the largest alone.
    """

    sizes: tuple[int, ...]
    slices: tuple[tuple[int, ...], ...] = ()

    @property
    def fault(self) -> str | None:
        """Why there can be no such networks, or None."""
        if not list(pairwise(self.sizes)) or min(self.sizes) < 1:
            return "sizes needs an input and an output width, each at least 1"
        if not self.slices:
            return None
        if not all(self.slices) or min(min(widths) for widths in self.slices) < 1:
            return "each slice needs a hidden layer, and each of its layers at least one unit"
        if self.slices[-1] != self.sizes[1:-1]:
            return "the last slice is not what sizes says"
        for small, large in pairwise(self.slices):
            parts = zip(small, large, strict=False)
            if small == large or len(small) > len(large) or any(a > b for a, b in parts):
                return f"the slice {list(small)} does not lie within the next, {list(large)}"
        return None

    @cached_property
    def networks(self) -> tuple[tuple[int, ...], ...]:
        """Widths of each network's hidden layers, from the smallest to the largest."""
        return self.slices or (self.sizes[1:-1],)

    @cached_property
    def exits(self) -> Mapping[int, int]:
        """Depths with an exit, in ascending order, and how many units each reads."""
        inputs = {len(hidden): (self.sizes[0], *hidden)[-1] for hidden in self.networks}
        return dict(sorted(inputs.items()))

    @cached_property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each layer, in the parameters' order: hidden ones, then exits."""
        exits = ((inputs, self.sizes[-1]) for inputs in self.exits.values())
        return (*pairwise(self.sizes[:-1]), *exits)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """Return the networks, the largest first: whatever is shared comes in full at first."""
        hidden_layers, depths = len(self.sizes) - 2, list(self.exits)
        return tuple(
            Path(
                sizes=(self.sizes[0], *hidden, self.sizes[-1]),
                layers=(*range(len(hidden)), hidden_layers + depths.index(len(hidden))),
            )
            for hidden in reversed(self.networks)
        )

    @property
    def parameters(self) -> int:
        """Floats in one client's parameters."""
        return sum(inputs * outputs + outputs for inputs, outputs in self.layers)
