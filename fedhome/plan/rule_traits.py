"""Rules by which devices' slices lie in the model: their names, and what each asks of a plan.

What a rule computes is in :mod:`fedhome.learning.slice_rules`, a file each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedhome.plugins import look_up

if TYPE_CHECKING:  # plans are checked by it
    from fedhome.plan.settings import Plan


@dataclass(frozen=True, kw_only=True)
class RuleTraits:
    """What a rule asks of a plan.

    Args:
        exits: The whole has an exit at each depth of a tier; else it is a plain network.
        full_depth: Each tier has all layers: the rule cuts width alone.
        full_width: Each tier has all units: the rule cuts depth alone.
        whole: All of ``model.hidden`` is trained, also where no tier carries as much at a time;
            else the model is what the largest tier carries.
        unsummed: Why slices of this rule cannot be added up shell by shell; empty where they can.
    """

    exits: bool = False
    full_depth: bool = False
    full_width: bool = False
    whole: bool = False
    unsummed: str = ""


RULES: Mapping[str, RuleTraits] = {
    "nested": RuleTraits(exits=True),
    "heterofl": RuleTraits(full_depth=True),
    "fedrolex": RuleTraits(
        full_depth=True,
        whole=True,
        unsummed="its windows move on each round, so that a number of the model is carried by many "
        "homes in one round and by few in another",
    ),
    "depthfl": RuleTraits(exits=True, full_width=True),
    "fiarse": RuleTraits(
        whole=True,
        unsummed="which weights a device trains follows anew each round from how large they have "
        "become, so that there are no shells",
    ),
}
"""Every rule by its name."""


def traits_of(plan: Plan) -> RuleTraits:
    """Return what a plan's rule asks.

    Raises:
        PluginError: There is no such rule; it says which there are.
    """
    return look_up(RULES, plan.slicing.rule, "slicing rule")


def rule_faults(plan: Plan) -> list[str]:
    """Return what of a plan's tiers does not fit its rule, a plain sentence each."""
    rule, hidden = plan.slicing.rule, plan.model.hidden
    traits, faults = traits_of(plan), []
    for tier in plan.slicing.in_order():
        if traits.full_depth and tier.depth != len(hidden):
            faults.append(
                f"tier {tier.name} has depth {tier.depth}, but slicing.rule = {rule} cuts width "
                f"alone: set its depth = {len(hidden)}"
            )
        if traits.full_width and tier.width != 1:
            faults.append(
                f"tier {tier.name} has width {tier.width:g}, but slicing.rule = {rule} cuts depth "
                "alone: set its width = 1"
            )
    if traits.unsummed and plan.aggregation.mode != "plain":
        faults.append(
            f"slicing.rule = {rule}, but aggregation.mode = {plan.aggregation.mode}: "
            f'{traits.unsummed}; set aggregation.mode = "plain", or slicing.rule = "nested"'
        )
    return faults
