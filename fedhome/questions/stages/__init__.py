"""Stages of transfer by name: what a home does to its update, and the server to the sum's mean.

A stage is linear, and the same for all homes of a sum: so what the server makes of the mean of what
homes sent is the mean of what it would make of each. What a stage does follows from the plan and
the number of the round alone, both of which a manifest binds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from fedhome.plan.settings import Plan
from fedhome.plan.transfer_settings import GRIDS
from fedhome.plugins import look_up
from fedhome.questions.stages.grid_alone import GridAlone
from fedhome.questions.stages.random_k import RandomK


class Stage(Protocol):
    """One stage, of one plan and one model."""

    def numbers(self, number: int) -> int:
        """Return how many numbers travel in a round.

        Args:
            number: Number of the round, from 1.
        """

    def encode(self, change: NDArray[Any], number: int) -> NDArray[Any]:
        """Return what homes send of their updates.

        Args:
            change: ``[homes, size]``.
            number: Number of the round.

        Returns:
            ``[homes, numbers]``.
        """

    def decode(self, carried: NDArray[Any], number: int) -> NDArray[Any]:
        """Return updates from what was sent of them, ``[homes, size]``; arguments as of `encode`.

        What was not sent is zero.
        """


STAGES: Final[Mapping[str, Callable[[Plan, int], Stage]]] = {
    "random-k": RandomK.of,
    **dict.fromkeys(GRIDS, GridAlone.of),
}
"""What makes a stage, from the plan and from how many numbers an update has."""


def stages_of(plan: Plan, size: int) -> tuple[Stage, ...]:
    """Return a plan's stages, in the order in which a home takes them.

    Args:
        plan: The plan.
        size: How many numbers the model has.
    """
    names = plan.transfer.stages  # each of them leaves the others as they are, but for the size
    return tuple(look_up(STAGES, name, "stage of transfer")(plan, size) for name in names)
