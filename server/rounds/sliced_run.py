"""What a run over devices with slices begins with: what each tier carries, and that it may run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from fedhome.errors import PlanError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.local import LocalLearning
from fedhome.learning.slice_costs import cost_of
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.run.events import EventLog
from fedhome.server.rounds.first_sum import means_suffice
from fedhome.server.strategies import strategy_of


def slices_of_run(
    plan: Plan, learning: LocalLearning, features: int, classes: tuple[str, ...], *, homes: int
) -> tuple[CarriedSlice, ...]:
    """Return what a plan's tiers carry; nothing where all homes carry the whole model.

    Args:
        plan: The plan.
        learning: Learning of the whole model.
        features: Width of the input.
        classes: Names of the classes; none where numbers are predicted.
        homes: Homes in the fleet.

    Raises:
        PlanError: What slices do not go with.
    """
    if not is_sliced(plan):
        return ()
    check_slices(plan, sums=works_on_sums(plan, homes))
    return carried_slices(plan, learning, features, classes)


def works_on_sums(plan: Plan, homes: int) -> bool:
    """Return whether a plan's strategy needs no more of homes than means.

    Args:
        plan: The plan.
        homes: Homes in the fleet.

    Raises:
        PlanError: The strategy refuses its arguments.
    """
    return means_suffice(plan.strategy, strategy_of(plan, homes))


def check_slices(plan: Plan, *, sums: bool) -> None:
    """Refuse what slices do not go with, once it is known what the strategy looks at.

    Raises:
        PlanError: All faults at once.
    """
    if not sums:
        fault = (
            f"slicing.tiers are set, but strategy {plan.strategy.name!r} looks at single updates, "
            "and those of different slices cannot be compared: take one that works on sums, such "
            "as fedavg"
        )
        raise PlanError([fault])


def tell_carried(
    log: EventLog,
    plan: Plan,
    slices: Sequence[CarriedSlice],
    tiers: Mapping[str, int],
    features: int,
    *,
    named: bool,
) -> None:
    """Log for each tier how many homes carry which slice, and what that costs a device.

    Args:
        log: The run's log.
        plan: The plan.
        slices: What each tier carries, from the smallest.
        tiers: The number of each home's tier, by its name.
        features: Width of the input.
        named: Whether the event says which homes: a simulation's follow from its plan.
    """
    for number, carried in enumerate(slices):
        homes = [home for home, at in tiers.items() if at == number]
        cost = cost_of(carried, plan, features)
        text = (
            f"tier {carried.tier}: {len(homes)} of {len(tiers)} homes carry {carried.told}, "
            f"{cost.numbers:,} of the model's {carried.rounds.places.layout.size:,} numbers, "
            f"{cost.bytes_up:,} bytes of float32 up a round; a step of training takes "
            f"{cost.memory:,} bytes, and {cost.step_ms:.2g} ms of this processor"
        )
        told = {"tier": carried.tier, "carries": carried.told, "homes": len(homes), **asdict(cost)}
        names = {"names": sorted(homes)} if named else {}
        log.append("tier-carried", **told, **names, text=text)


def less_told(home: str, carried: CarriedSlice) -> str:
    """Return what a log says of a home that learnt nothing in a part of what its tier has.

    Args:
        home: Its name.
        carried: What it counts as carrying.
    """
    return (
        f"{home} has learnt nothing beyond what tier {carried.tier} has, and counts so in such "
        "rounds: if its device carries no more, let the fleet's owner sign that: "
        f"`fedhome fleet tier {home} {carried.tier}`"
    )
