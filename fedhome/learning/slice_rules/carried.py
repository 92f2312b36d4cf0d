"""What a device of a tier learns with, and what a rule has to say: the seam of the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedhome.learning.local import LocalLearning
from fedhome.learning.slice_places import SlicePlaces
from fedhome.models.slicing import Widths
from fedhome.plan.settings import Plan


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A part of the fleet's model that a device learns with.

    Args:
        learning: The three functions, for that part.
        places: Where it lies in the whole.
    """

    learning: LocalLearning
    places: SlicePlaces


@dataclass(frozen=True, kw_only=True)
class CarriedSlice:
    """One tier's.

    Args:
        tier: Its name.
        own: What the device predicts, scores and personalises with.
        rounds: What it trains in the rounds.
        numbers: How many numbers it trains in a round, and sends.
        told: What it carries, in words.
    """

    tier: str
    own: Carried
    rounds: Carried
    numbers: int
    told: str


@dataclass(frozen=True, kw_only=True)
class Slicing:
    """A plan's model and tiers, as a rule is given them.

    Args:
        plan: The plan, with tiers.
        whole: Learning of the whole model.
        features: Width of the input.
        alone: Makes the learning of a plain network with such hidden layers.
    """

    plan: Plan
    whole: LocalLearning
    features: int
    alone: Callable[[Widths], LocalLearning]

    @property
    def outputs(self) -> int:
        """Width of the output."""
        return self.whole.task.outputs

    @property
    def widths(self) -> Sequence[Widths]:
        """Units of each tier's hidden layers, from the smallest tier to the largest."""
        return [tier.widths(self.plan.model.hidden) for tier in self.plan.slicing.in_order()]


class SliceRule(Protocol):
    """How slices lie in the whole, and how a device trains its own."""

    def __call__(self, slicing: Slicing, number: int) -> CarriedSlice:
        """Return what a device of a tier carries, by the tier's number from the smallest, 0.

        Raises:
            PlanError: The rule does not go with the plan's task.
        """
