"""Slices by width whose window over each layer's units moves on by one unit a round.

Alam et al., "FedRolex: Model-heterogeneous federated learning with rolling sub-model extraction",
NeurIPS 2022, section 3.2: in round t (from 0) a device has the units t, t+1, … of each hidden
layer, as many as it can carry, and after the last unit the first ones again (equation 3); a place
moves by the mean of those that have it. So all units are trained, also where no device carries the
full width. Their slices are not meant to predict: outside of the rounds a home of a tier has the
first units, where the window began.
"""

from __future__ import annotations

from fedhome.learning.rolling_places import RollingPlaces, window
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules.carried import Carried, CarriedSlice, Slicing
from fedhome.models.slicing import shown


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
