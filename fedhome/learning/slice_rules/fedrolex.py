"""Slices by width whose window over each layer's units moves on by one unit a round.

Alam et al., "FedRolex: Model-heterogeneous federated learning with rolling sub-model extraction",
NeurIPS 2022, section 3.2: in round t (from 0) a device has the units t, t+1, … of each hidden
layer, as many as it can carry, and after the last unit the first ones again (equation 3); a place
moves by the mean of those that have it. So all units are trained, also where no device carries the
full width. Their slices are not meant to predict: outside of the rounds a home of a tier has the
first units, where the window began.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules.carried import Carried, CarriedSlice, Slicing
from fedhome.models.slicing import Widths, shown
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


def fedrolex(slicing: Slicing, number: int) -> CarriedSlice:
    """Return what a device of a tier carries: a window over every layer's units."""
    layout, widths = slicing.whole.layout, slicing.widths[number]
    alone, begin = slicing.alone(widths), window(layout, widths, 0)
    return CarriedSlice(
        tier=slicing.plan.slicing.in_order()[number].name,
        own=Carried(learning=alone, places=SlicePlaces(layout, begin)),
        rounds=Carried(learning=alone, places=RollingPlaces(layout, begin, widths=widths)),
        numbers=len(begin),
        told=f"a window of {shown(widths)} units",
    )
