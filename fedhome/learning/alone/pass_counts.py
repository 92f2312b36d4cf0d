"""How long homes that train a network alone may train: what the fleet chooses from."""

from __future__ import annotations

from typing import Final

from fedhome.plan.settings import PersonaliseSettings

PASSES: Final = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60)
"""About half as many again from one to the next: between two of them little changes."""


def passes_of(settings: PersonaliseSettings) -> tuple[int, ...]:
    """Return the numbers of passes that homes try alone, for the fleet to take one.

    Args:
        settings: The plan's settings of personalisation.
    """
    return tuple(number for number in PASSES if number <= settings.local_epochs)
