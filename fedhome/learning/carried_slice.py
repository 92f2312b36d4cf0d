"""What a device of a tier learns with: its slice as a small network, and where that lies.

In the rounds a device trains its slice and the smaller ones in it by one gradient, so that every
exit within its reach learns from it (Yu and Huang, "Universally slimmable networks", ICCV 2019:
with three tiers this is their sandwich of the largest, the smallest and one between). For all else
(its score, its own model after the rounds, what it could learn alone) its slice is an ordinary
multilayer perceptron.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedhome.errors import PlanError
from fedhome.learning.build import learning_of
from fedhome.learning.home_round import is_plain
from fedhome.learning.local import Batch, LocalLearning
from fedhome.learning.params import Params
from fedhome.learning.slice_places import SlicePlaces
from fedhome.models.sliced_mlp import SlicedMLP
from fedhome.models.slicing import SlicedShape, Widths, slices_of
from fedhome.plan.settings import Plan


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


@dataclass(frozen=True, kw_only=True)
class CarriedSlice:
    """One tier's.

    Args:
        tier: Its name.
        own: The slice by itself, and where that lies in the whole.
        rounds: What is trained in the rounds: the slice and the smaller ones in it.
    """

    tier: str
    own: tuple[LocalLearning, SlicePlaces]
    rounds: tuple[LocalLearning, SlicePlaces]


def carried_slices(
    plan: Plan, whole: LocalLearning, features: int, classes: tuple[str, ...] = ()
) -> tuple[CarriedSlice, ...]:
    """Return what devices learn with, from the smallest tier to the largest.

    Args:
        plan: The plan, with tiers.
        whole: Learning of the whole model.
        features: Width of the input.
        classes: Class names found in the data, where the plan names none.

    Raises:
        PlanError: The plan's method is none that slices are trained by.
    """
    _check_method(whole)
    shape = slices_of(plan, features, whole.task.outputs)

    def alone(widths: Widths) -> LocalLearning:
        small = plan.change(model={"hidden": widths}, slicing={"tiers": ()})
        return learning_of(small, features, classes)

    return tuple(
        _carried(tier.name, whole, shape, number, alone(shape.slices[number]))
        for number, tier in enumerate(plan.slicing.in_order())
    )


def _carried(
    tier: str, whole: LocalLearning, shape: SlicedShape, number: int, alone: LocalLearning
) -> CarriedSlice:
    own = alone, SlicePlaces(whole.layout, shape.path(number))
    rounds = own
    if number:
        assert isinstance(whole.model, SlicedMLP), "a plan with tiers makes one"
        model = SlicedMLP(shape.within(number), dropout=whole.model.dropout)
        learning = SandwichLearning(model, whole.task, whole.train, whole.method)
        rounds = learning, SlicePlaces(whole.layout, shape.carried(number))
    return CarriedSlice(tier=tier, own=own, rounds=rounds)


def _check_method(whole: LocalLearning) -> None:
    if not is_plain(whole.method, whole.layout):
        fault = (
            f"slicing.tiers are set, but the method {type(whole.method).__name__} keeps something "
            "in each home, or trains more than once in a round: slices do not go with that yet"
        )
        raise PlanError(
            [fault],
            hint="methods that change the gradient alone do: fedavg and fedprox",
        )
