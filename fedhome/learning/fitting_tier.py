"""The largest tier that a device can carry, by what it can spare and what each slice costs."""

from __future__ import annotations

from collections.abc import Sequence

from fedhome.errors import PlanError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.local import LocalLearning
from fedhome.learning.slice_costs import SliceCost, cost_of
from fedhome.plan.device_budget import DeviceBudget, sizes_told
from fedhome.plan.settings import Plan


def lacking(cost: SliceCost, budget: DeviceBudget) -> tuple[str, ...]:
    """Return what a device lacks for a slice, in words; nothing where it can carry it.

    Args:
        cost: The slice's.
        budget: The device's.
    """
    told = []
    if budget.memory is not None and cost.memory > budget.memory:
        needed, there = sizes_told(cost.memory, budget.memory)
        told.append(f"{needed} of memory, and there are {there}")
    if budget.step_ms is not None and cost.step_ms > budget.step_ms:
        told.append(f"{cost.step_ms:.2g} ms a step, and it may take {budget.step_ms:.2g}")
    if budget.bytes_up is not None and cost.bytes_up > budget.bytes_up:
        needed, may = sizes_told(cost.bytes_up, budget.bytes_up)
        told.append(f"{needed} up a round, and it may send {may}")
    return tuple(told)


def largest_fitting(costs: Sequence[SliceCost], budget: DeviceBudget) -> int | None:
    """Return the number of the largest slice that a device can carry; None: of none.

    Args:
        costs: Of each slice, from the smallest.
        budget: The device's.
    """
    fitting = [number for number, cost in enumerate(costs) if not lacking(cost, budget)]
    return max(fitting, default=None)


def settle_tiers(
    plan: Plan, whole: LocalLearning, features: int, classes: tuple[str, ...] = ()
) -> tuple[Plan, tuple[str, ...]]:
    """Return a plan in which tiers have the shares of the devices that can carry them.

    Each kind of device takes the largest tier that fits. Tiers that none takes are left out.

    Args:
        plan: A plan with ``slicing.tier = "auto"``.
        whole: Learning of its whole model.
        features: Width of the input.
        classes: Class names found in the data, where the plan names none.

    Returns:
        The plan, and what was chosen in plain sentences.

    Raises:
        PlanError: A kind of device can carry no tier; all such at once.
    """
    slices = carried_slices(plan, whole, features, classes)
    costs = [cost_of(carried, plan, features) for carried in slices]
    tiers = plan.slicing.in_order()
    shares, notes, faults = [0.0] * len(tiers), list[str](), list[str]()
    for device in plan.slicing.budgets:
        budget = device.budget()
        number = largest_fitting(costs, budget)
        who = f"a device with {budget} (a share of {device.share:g})"
        if number is None:
            lacks = "; ".join(lacking(costs[0], budget))
            faults.append(f"{who} can carry no tier: {tiers[0].name}, the smallest, needs {lacks}")
            continue
        shares[number] += device.share
        notes.append(f"{who} takes tier {tiers[number].name}{_beyond(plan, costs, budget, number)}")
    if faults:
        raise PlanError(faults, hint="give such devices more, or the plan a smaller tier")
    kept = []
    for tier, share in zip(tiers, shares, strict=True):
        if share:
            kept.append({**tier.model_dump(), "share": min(share, 1.0)})  # a sum of rounded ones
        else:
            notes.append(f"tier {tier.name} is left out: it is no device's largest that fits")
    return plan.change(slicing={"tier": "given", "budgets": (), "tiers": kept}), tuple(notes)


def _beyond(plan: Plan, costs: Sequence[SliceCost], budget: DeviceBudget, number: int) -> str:
    """Say why a device does not take the next larger tier; nothing of the largest."""
    if number + 1 == len(costs):
        return ""
    name = plan.slicing.in_order()[number + 1].name
    return f": for {name} it would need {'; '.join(lacking(costs[number + 1], budget))}"
