"""Slices by width alone: the first units of every layer, made larger in training.

Diao, Ding, Tarokh, "HeteroFL: Computation and communication efficient federated learning for
heterogeneous clients", ICLR 2021, section 3: a device has the first units of each hidden layer
(figure 1) and trains them alone, without smaller slices in it; a place moves by the mean of those
that have it (equation 1); a narrow layer's outcome is multiplied by how many times narrower it is
than the whole's (their Scaler), so that the whole predicts without. A slice that predicts alone
keeps the factor, folded into its weights. Their masked loss for classes that a device has never
seen is left out, and so is static batch normalisation: there is no such norm here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.local import LocalLearning
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules.carried import Carried, CarriedSlice, Slicing
from fedhome.models.scaled_mlp import ScaledMLP
from fedhome.models.slicing import Widths, shown, slices_of


def factors_of(widths: Widths, whole: Widths) -> tuple[float, ...]:
    """Return how many times narrower each layer is than the whole's."""
    return tuple(units / own for own, units in zip(widths, whole, strict=True))


def heterofl(slicing: Slicing, number: int) -> CarriedSlice:
    """Return what a device of a tier carries: the first units of every layer."""
    whole, plan = slicing.whole, slicing.plan
    shape = slices_of(plan, slicing.features, slicing.outputs)
    widths, places = shape.slices[number], shape.path(number)
    factors = factors_of(widths, shape.hidden)
    alone = slicing.alone(widths)
    model = ScaledMLP(
        slicing.features,
        slicing.outputs,
        hidden=widths,
        factors=factors,
        dropout=plan.model.dropout,
    )
    return CarriedSlice(
        tier=plan.slicing.in_order()[number].name,
        own=Carried(
            learning=alone, places=SlicePlaces(whole.layout, places, _folded(alone, factors))
        ),
        rounds=Carried(
            learning=LocalLearning(model, whole.task, whole.train, whole.method),
            places=SlicePlaces(whole.layout, places),
        ),
        numbers=len(places),
        told=f"{shown(widths)} units",
    )


def _folded(alone: LocalLearning, factors: tuple[float, ...]) -> NDArray[np.float32]:
    """Return how many times larger each number of a slice is that predicts without factors."""
    each = np.repeat((*factors, 1.0), 2)  # weight and bias of every layer
    return np.repeat(each, alone.layout.sizes).astype(np.float32)
