"""A home on its own device with a slice of the fleet's model, by torch."""

from __future__ import annotations

from collections.abc import Callable

from fedhome.data.series.examples import HomeExamples
from fedhome.learning.build import learning_of
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.device import Device
from fedhome.learning.own_state import HomeStates
from fedhome.learning.slice_rules import Carried, CarriedSlice
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tier_number


def sliced_device(
    plan: Plan,
    examples: HomeExamples,
    classes: tuple[str, ...] = (),
    *,
    tier: str,
    states: HomeStates | None = None,
    before_training: Callable[[], None] | None = None,
) -> Device:
    """Return a home's device with what its tier carries.

    Args:
        plan: The plan, with tiers.
        examples: The home's examples.
        classes: Class names found in the data, where the plan names none.
        tier: Name of its tier; one that the plan does not have counts as the smallest.
        states: Where the home keeps what its method learns for it alone.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.

    Raises:
        PlanError: The task does not fit the data, or the plan's method is none for slices.
        PluginError: A name behind which there is nothing.
    """
    features = examples.x.shape[1]
    slices = carried_slices(plan, learning_of(plan, features, classes), features, classes)
    carried = slices[tier_number(plan, tier)]
    return device_carrying(
        carried, examples, plan.seed, states=states, before_training=before_training
    )


def device_carrying(
    carried: CarriedSlice,
    examples: HomeExamples,
    seed: int,
    *,
    states: HomeStates | None = None,
    before_training: Callable[[], None] | None = None,
) -> Device:
    """Return a device that trains a slice in the rounds, and has it as a network of its own else.

    Args:
        carried: The slice.
        examples: The home's examples.
        seed: The plan's seed.
        states: Where the home keeps what its method learns for it alone.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.
    """

    def device(learns: Carried, rounds: Device | None = None) -> Device:
        return Device(
            learns.learning,
            examples,
            seed,
            states=states,
            carries=learns.places,
            rounds=rounds,
            before_training=before_training,
        )

    return device(carried.own, device(carried.rounds))
