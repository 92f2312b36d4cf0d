"""Nested slices in width and depth with an exit at each depth: the default.

In the rounds a device trains its slice and the smaller ones in it by one gradient, so that every
exit within its reach learns from it (Yu and Huang, "Universally slimmable networks", ICCV 2019,
section 3.2: with three tiers this is their sandwich of the largest, the smallest and one between).
For all else (its score, its own model after the rounds, what it could learn alone) its slice is an
ordinary multilayer perceptron.
"""

from __future__ import annotations

from torch import Tensor

from fedhome.learning.local import Batch, LocalLearning
from fedhome.learning.params import Params
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules.carried import Carried, CarriedSlice, Slicing
from fedhome.models.sliced_mlp import SlicedMLP
from fedhome.models.slicing import shown, slices_of


class SandwichLearning(LocalLearning):
    """Local learning of all slices of a network at once: of a row, the sum of their losses."""

    @property
    def terms(self) -> int:
        """How many slices there are."""
        assert isinstance(self.model, SlicedMLP), "slices are learnt of one"
        return len(self.model.shape.slices)

    def row_losses(self, params: Params, batch: Batch) -> Tensor:
        """Return the sum of the losses of the slices' outputs for each row ``[batch]``."""
        outputs = self.forward(params, batch.x, every=True)  # [slices, batch, outputs]
        losses = [self.loss.rows(output, batch.y) for output in outputs.unbind(0)]
        return sum(losses[1:], losses[0])


def nested(
    slicing: Slicing, number: int, *, together: type[LocalLearning] = SandwichLearning
) -> CarriedSlice:
    """Return what a device of a tier carries: its slice, and the smaller ones in it.

    Args:
        slicing: Model and tiers.
        number: Which tier, from the smallest, 0.
        together: How a slice and those in it are learnt in the rounds.
    """
    whole, shape = slicing.whole, slices_of(slicing.plan, slicing.features, slicing.outputs)
    widths = shape.slices[number]
    own = Carried(
        learning=slicing.alone(widths), places=SlicePlaces(whole.layout, shape.path(number))
    )
    rounds = own
    if number:
        assert isinstance(whole.model, SlicedMLP), "a plan with such tiers makes one"
        model = SlicedMLP(shape.within(number), dropout=whole.model.dropout)
        rounds = Carried(
            learning=together(model, whole.task, whole.train, whole.method),
            places=SlicePlaces(whole.layout, shape.carried(number)),
        )
    return CarriedSlice(
        tier=slicing.plan.slicing.in_order()[number].name,
        own=own,
        rounds=rounds,
        numbers=len(rounds.places.places),
        told=f"{shown(widths)} units",
    )
