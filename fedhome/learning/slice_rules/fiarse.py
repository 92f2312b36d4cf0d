"""Slices of single weights: each device trains those that are largest in the round's model.

Wu et al., "FIARSE: Model-heterogeneous federated learning via importance-aware submodel
extraction", NeurIPS 2024, section 3: the importance of a weight is its magnitude, and a device has
as many of the most important as it can carry, ranked over the whole model (their model-wise
extraction); all others are zero for it. The server knows which they are, so a device sends values
alone. A tier's width and depth say how many: as many as the nested slice of that size has. Two
things differ from the paper: the ranking is made once a round, of the model that came, and the
gradient is that of the kept weights alone, without their term for how the mask itself would move.

To keep zeros costs memory in a dense network. A device saves what it sends, not what it computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fedhome.learning.local import LocalLearning, State
from fedhome.learning.params import Params
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules.carried import Carried, CarriedSlice, Slicing
from fedhome.models.slicing import SlicedShape


class SparseLearning(LocalLearning):
    """Local learning in which a weight that is zero stays zero."""

    def apply(self, state: State, gradient: Params) -> State:
        """Take the optimiser's step for the weights that are not zero."""
        kept = {n: torch.where(state.params[n] == 0, 0.0, g) for n, g in gradient.items()}
        return super().apply(state, kept)


def largest(whole: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return where the largest numbers of a model are, in ascending order of places.

    Of equally large ones the first count.

    Args:
        whole: The model, float32 ``[size]``.
        count: How many.
    """
    ranked = np.argsort(-np.abs(whole), kind="stable")
    return np.sort(ranked[:count]).astype(np.int64)


@dataclass(frozen=True)
class LargestPlaces(SlicePlaces):
    """Places of the largest numbers; all others are zero in a network of the whole's shape.

    Args:
        layout: As of :class:`SlicePlaces`.
        places: All places of the whole.
        scale: None.
        count: How many numbers are kept.
    """

    count: int = 0

    def covered(self, whole: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return where the whole's largest numbers are."""
        return largest(whole, self.count)

    def of_whole(self, whole: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the whole ``[size]`` with zeros for all but its largest numbers."""
        own, kept = np.zeros_like(whole), self.covered(whole)
        own[kept] = whole[kept]
        return own

    def in_whole(self, whole: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the whole with homes' own where its largest numbers were, ``[homes, size]``."""
        laid, kept = np.repeat(whole[None], len(own), axis=0), self.covered(whole)
        laid[:, kept] = own[:, kept]
        return laid

    def changed(
        self, whole: NDArray[np.float32], own: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return where the largest numbers were, and by how much devices changed them."""
        kept = self.covered(whole)
        return kept, own[kept] - whole[kept]


def fiarse(slicing: Slicing, number: int) -> CarriedSlice:
    """Return what a device of a tier carries: the largest weights."""
    whole, size = slicing.whole, slicing.whole.layout.size
    shape = SlicedShape(slicing.features, slicing.outputs, (slicing.widths[number],))
    count = shape.size(0)
    places = LargestPlaces(whole.layout, np.arange(size), count=count)
    learning = SparseLearning(whole.model, whole.task, whole.train, whole.method)
    learning.initial = places.of_whole(whole.initial)
    carried = Carried(learning=learning, places=places)
    return CarriedSlice(
        tier=slicing.plan.slicing.in_order()[number].name,
        own=carried,
        rounds=carried,
        numbers=count,
        told=f"the {count:,} largest weights",
    )
