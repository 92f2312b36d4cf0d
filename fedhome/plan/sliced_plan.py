"""What a plan with slices cannot have besides: each told in a sentence, none passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.errors import PlanError
from fedhome.plan.rule_traits import RULES, rule_faults, traits_of
from fedhome.plan.slicing_settings import SlicingSettings
from fedhome.spelling import did_you_mean

if TYPE_CHECKING:  # plans are checked by it
    from fedhome.plan.settings import Plan


def is_sliced(plan: Plan) -> bool:
    """Whether a plan's devices carry slices of its model."""
    return bool(plan.slicing.tiers)


def is_declared(plan: Plan) -> bool:
    """Whether a plan's model is a module of a user's own that says where its slices lie."""
    return is_sliced(plan) and plan.model.name != "mlp"


def faults_of(plan: Plan) -> list[str]:
    """Return what of a plan's slices does not fit together, or not to the rest of the plan."""
    if plan.slicing.rule not in RULES:
        meant, known = did_you_mean(plan.slicing.rule, RULES), ", ".join(RULES)
        return [f"slicing.rule {plan.slicing.rule!r} is unknown{meant}; known are: {known}"]
    if not is_sliced(plan):
        usual = SlicingSettings()
        return [
            f"slicing.{name} = {told}, but slicing.tiers name no device"
            for name, told in (
                ("rule", plan.slicing.rule),
                ("tier", plan.slicing.tier),
                ("budgets", f"{len(plan.slicing.budgets)} kinds of devices"),
            )
            if getattr(plan.slicing, name) != getattr(usual, name)
        ]
    own = is_declared(plan)
    faults = plan.slicing.faults(None if own else plan.model.hidden)
    if own and plan.slicing.rule != "nested":
        faults.append(
            f"slicing.rule = {plan.slicing.rule}, but the model is {plan.model.name}: a module of "
            'your own says itself where its slices lie; set slicing.rule = "nested"'
        )
    elif not own:
        faults += rule_faults(plan)
    for setting, value, instead, why in _unlike_slices(plan, own=own):
        faults.append(
            f"slicing.tiers are set, but {setting} = {json.dumps(value)}: {why}; set "
            f"{setting} = {json.dumps(instead)}"
        )
    return faults


def _unlike_slices(plan: Plan, *, own: bool) -> Iterator[tuple[str, object, object, str]]:
    """Yield settings that do not go with slices: name, value, what to set instead, and why."""
    if plan.model.norm != "none" and not own:
        why = "a part of a layer has other means than the layer"
        yield "model.norm", plan.model.norm, "none", why
    if plan.aggregation.mode != "plain" and plan.aggregation.weights != "equal":
        why = "sums over more and fewer tiers differ by what one tier's homes weigh"
        yield "aggregation.weights", plan.aggregation.weights, "equal", why
    if plan.aggregation.groups > 1:
        why = "a group of a tier would hold too few"
        yield "aggregation.groups", plan.aggregation.groups, 1, why
    if plan.privacy.mechanism != "none":
        why = "noise is computed for updates of one size"
        yield "privacy.mechanism", plan.privacy.mechanism, "none", why
    if plan.strategy.wrap:
        why = "it promises something of a mean over all devices, and few carry some places"
        yield "strategy.wrap", plan.strategy.wrap, "", why
    if plan.engine.device != "cpu":
        why = "slices are trained on the processor alone"
        yield "engine.device", plan.engine.device, "cpu", why
    if plan.evaluation.unseen > 0:
        why = "homes that join later have no tier yet"
        yield "evaluation.unseen", plan.evaluation.unseen, 0, why
    if plan.data.several:
        why = "what a slice says is of one horizon"
        yield "data.horizon", list(plan.data.several), plan.data.nearest, why


_NO_OWNER = (
    "slicing.tiers are set, but homes behind Flower's own nodes have no owner who says which tier "
    "each has: run it as a simulation (`fedhome simulate`), over processes (`fedhome up`), or over "
    "a fleet with an owner (docs/deploy.md)"
)


def check_whole(plan: Plan) -> None:
    """Refuse a plan with slices where nobody signs which tier a home has.

    Raises:
        PlanError: Its devices carry slices.
    """
    if is_sliced(plan):
        raise PlanError([_NO_OWNER])


def tier_number(plan: Plan, tier: str) -> int:
    """Return the number of a tier, from the smallest, 0, by its name; an unknown one counts as 0.

    Args:
        plan: The plan, with tiers.
        tier: The name; empty: none is known.
    """
    names = [one.name for one in plan.slicing.in_order()]
    return names.index(tier) if tier in names else 0


NOT_SETTLED = (
    "slicing.tier = auto is for simulations (`fedhome simulate`): elsewhere each device says its "
    "own tier, and `fedhome model tier` tells which fits; leave slicing.tier and slicing.budgets "
    "out, and give tiers their shares"
)


def tiers_of(plan: Plan, homes: Sequence[str]) -> NDArray[np.int64]:
    """Return the tier of each home of a simulation, int64 ``[homes]``; 0 is the smallest.

    Shares are kept as nearly as whole homes can; who is in which tier follows from the plan's seed
    and the homes' names.

    Args:
        plan: The plan, with tiers.
        homes: Names of the homes.

    Raises:
        PlanError: A tier is left without any home, or shares are not known yet.
    """
    if plan.slicing.tier == "auto":
        raise PlanError([NOT_SETTLED])
    tiers = plan.slicing.in_order()
    drawn = np.argsort([rng.key(plan.seed, "tier", home) for home in homes], kind="stable")
    ends = np.rint(np.cumsum([tier.share for tier in tiers]) * len(homes)).astype(np.int64)
    found = np.empty(len(homes), np.int64)
    found[drawn] = np.searchsorted(ends, np.arange(len(homes)), side="right")
    counts = np.bincount(found, minlength=len(tiers))
    if faults := [
        f"tier {tier.name} has a share of {tier.share:g}, which of {len(homes)} homes is none"
        for tier, count in zip(tiers, counts, strict=True)
        if count == 0
    ]:
        raise PlanError(faults, hint="take more homes, a larger share, or leave the tier out")
    return found


def dealt_tiers(plan: Plan, homes: Sequence[str]) -> dict[str, str]:
    """Return the name of each home's tier as a simulation deals them out; empty where none has.

    Args:
        plan: The plan.
        homes: Names of the homes.

    Raises:
        PlanError: A tier is left without any home.
    """
    if not is_sliced(plan):
        return dict.fromkeys(homes, "")
    tiers = plan.slicing.in_order()
    return {
        home: tiers[number].name
        for home, number in zip(homes, tiers_of(plan, homes).tolist(), strict=True)
    }


def check_tier(plan: Plan, tier: str) -> None:
    """Refuse a tier that a plan does not have, and a plan with tiers of which none is named.

    Raises:
        PlanError: The sentence says which there are.
    """
    if not is_sliced(plan):
        if tier:
            raise PlanError(
                [f"tier {tier!r} is named, but this plan's devices all carry the whole model"],
                where="the device's tier",
                hint="name none",
            )
        return
    tiers = plan.slicing.in_order()
    if tier not in [one.name for one in tiers]:
        said = f"there is no tier {tier!r}" if tier else "it is not said what this device carries"
        known = ", ".join(f"{one.name} (width {one.width:g}, depth {one.depth})" for one in tiers)
        raise PlanError(
            [f"{said}: this plan's devices carry slices of its model, from {known}"],
            where="the device's tier",
            hint=f"name what it can carry, such as {tiers[0].name}, the smallest",
        )


def note_on(plan: Plan) -> str:
    """Say where no tier carries the whole of ``model.hidden``, and what is trained then."""
    if not is_sliced(plan) or is_declared(plan):  # which has to lie in its slices, all of it
        return ""
    largest = plan.slicing.in_order()[-1]
    covered = largest.widths(plan.model.hidden)
    if covered == plan.model.hidden:
        return ""
    if traits_of(plan).whole:
        return (
            f"no device carries all of model.hidden = {list(plan.model.hidden)} at a time: with "
            f"slicing.rule = {plan.slicing.rule} other parts of it are trained in other rounds"
        )
    return (
        f"no device carries all of model.hidden = {list(plan.model.hidden)}: the largest tier, "
        f"{largest.name}, has {list(covered)}, and that is the model that is trained and kept"
    )
