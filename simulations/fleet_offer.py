"""What a run's fleet has for a home: its model, how that is made a home's own, how homes mix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning import mixture
from fedhome.learning.cohort import Cohort
from fedhome.learning.mixture import FleetsBlend
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.plan.private_plan import is_private
from fedhome.run.folder import RunFolder
from fedhome.simulations.engines.world import World


class FleetOffer(NamedTuple):
    """What a fleet has for a new home.

    Args:
        start: The global parameters ``[size]``.
        adaptation: How homes make them their own.
        experts: What homes mix.
        blend: What the fleet chose for that.
    """

    start: NDArray[np.float32]
    adaptation: Adaptation
    experts: tuple[str, ...]
    blend: FleetsBlend

    @classmethod
    def of(cls, world: World, folder: RunFolder, chosen: Mapping[str, Any]) -> FleetOffer:
        """Return what a run ended with.

        Args:
            world: The homes that took part.
            folder: The run's folder, with its model.
            chosen: The data of the event ``personalisation-chosen``.

        Raises:
            RunError: The model cannot be read.
        """
        names, alone = world.plan.personalise.experts, chosen["alone"]
        return cls(
            start=world.learning.layout.flatten(folder.read_model().parameters),
            adaptation=Adaptation(float(chosen["rate"]), int(chosen["epochs"])),
            experts=names,
            blend=FleetsBlend(
                matrix=mixture.full(chosen["matrix"], len(names)),
                strength=float(chosen["strength"]),
                alone=(float(alone["rate"]), int(alone["epochs"]), int(alone.get("batch", 0))),
                fewest_blocks=1 if is_private(world.plan) else mixture.TRIED,
            ),
        )


def experts_of(world: World, cohort: Cohort, fleet: FleetOffer) -> Experts:
    """Return what models state in some homes.

    Args:
        world: What homes learn with; its plan has a personaliser.
        cohort: The homes.
        fleet: What there is for them.
    """
    assert world.how is not None
    return Experts(
        cohort,
        world.plan.personalise,
        start=cohort.own_part(fleet.start),
        how=world.how,
        adaptation=fleet.adaptation,
    )
