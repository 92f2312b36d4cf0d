"""How long homes that train a network alone may train: what the fleet chooses from."""

from __future__ import annotations

from typing import Final, NamedTuple

from fedhome.plan.settings import PersonaliseSettings

PASSES: Final = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60)
"""About half as many again from one to the next: between two of them little changes."""


class AloneWay(NamedTuple):
    """How a home's steps go that trains alone: examples in each, 0: the plan's; and the rate."""

    batch: int
    rate: float


def ways_of(settings: PersonaliseSettings) -> tuple[AloneWay, ...]:
    """Return the ways to step that homes try alone, each for all numbers of passes.

    Args:
        settings: The plan's settings of personalisation.
    """
    batches = settings.local_batches or (0,)
    return tuple(AloneWay(batch, rate) for batch in batches for rate in settings.rates)


def batches_alone(settings: PersonaliseSettings) -> tuple[int, ...]:
    """Return the sizes of batches that a plan names for networks alone, if homes train any.

    Args:
        settings: The plan's settings of personalisation.
    """
    return settings.local_batches if networks_alone(settings) else ()


def networks_alone(settings: PersonaliseSettings) -> bool:
    """Return whether homes train a network alone, to hold the fleet's against.

    Args:
        settings: The plan's settings of personalisation.
    """
    return settings.name != "none" and not {"local", "settings"}.isdisjoint(settings.opponents)


def passes_of(settings: PersonaliseSettings) -> tuple[int, ...]:
    """Return the numbers of passes that homes try alone, for the fleet to take one.

    Args:
        settings: The plan's settings of personalisation.
    """
    return tuple(number for number in PASSES if number <= settings.local_epochs)
