"""Where a window over a plain network's units lies that moves on by one unit a round; no torch.

What it is for: :mod:`fedhome.learning.slice_rules.fedrolex`, where its source is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.slice_places import SlicePlaces
from fedhome.models.slicing import Widths
from fedhome.wire.layout import Layout


def window(layout: Layout, widths: Widths, first: int) -> NDArray[np.int64]:
    """Return where a window lies in a plain network, in the order of the small network's numbers.

    Args:
        layout: Layout of the whole: weight and bias of each layer in turn.
        widths: Units of the window in each hidden layer.
        first: The window's first unit, of every hidden layer; beyond the last it begins anew.
    """
    starts = np.cumsum((0, *layout.sizes))
    before = np.arange(layout.shapes[0][1])  # all inputs
    found = []
    for place, (units, inputs) in enumerate(layout.shapes[::2]):
        last = place == len(widths)
        rows = np.arange(units) if last else (first + np.arange(widths[place])) % units
        found.append(starts[2 * place] + (rows[:, None] * inputs + before).ravel())
        found.append(starts[2 * place + 1] + rows)
        before = rows
    return np.concatenate(found).astype(np.int64)


@dataclass(frozen=True)
class RollingPlaces(SlicePlaces):
    """Places of a window that moves on by a unit a round.

    Args:
        layout: As of :class:`SlicePlaces`.
        places: Where it begins.
        scale: As of :class:`SlicePlaces`.
        widths: Its units in each hidden layer.
    """

    widths: Widths = ()

    def in_round(self, number: int) -> SlicePlaces:
        """Return where it lies in a round, by its number from 1."""
        return SlicePlaces(self.layout, window(self.layout, self.widths, number - 1))
