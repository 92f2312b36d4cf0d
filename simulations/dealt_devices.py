"""Who has which tier in a simulation whose devices take the largest that fits them."""

from __future__ import annotations

from fedhome.learning.build import learning_of
from fedhome.learning.fitting_tier import settle_tiers
from fedhome.learning.local import LocalLearning
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.simulations.gather import GatheredHomes


def with_devices(
    plan: Plan, gathered: GatheredHomes, folder: RunFolder, log: EventLog
) -> tuple[Plan, LocalLearning]:
    """Return a plan whose tiers have their shares, and the learning of its model.

    What each kind of device takes is logged. The run's folder gets the plan with the shares: times
    differ from one start to the next, and a run that goes on has the tiers that it began with.

    Args:
        plan: The plan.
        gathered: The homes.
        folder: The run's folder.
        log: Its log.

    Raises:
        PlanError: A kind of device can carry no tier.
    """
    features, classes = gathered.homes[0].x.shape[1], gathered.classes
    learning = learning_of(plan, features, classes)
    if plan.slicing.tier == "given":
        return plan, learning
    plan, choices = settle_tiers(plan, learning, features, classes)
    folder.write_plan(plan.to_toml())
    for choice in choices:
        log.append("note", text=choice)
    return plan, learning_of(plan, features, classes)
