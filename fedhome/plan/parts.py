"""Into how many parts a group of homes is dealt, to find out which of them spoils its sums.

A part that is left out of a sum is what this sum and another one over the whole group differ by. So
a part is as large as the smallest sum: at least ``aggregation.min_cohort`` homes, two of them
honest whichever homes the attacker has.
"""

from __future__ import annotations

from fedhome.plan.private_plan import cohort_of, is_private, private_run
from fedhome.plan.protocol import least_in_a_sum, policy_of
from fedhome.plan.settings import Plan

MOST_PARTS = 16
"""One cheat is found in about log2 of it spoilt sums; one part in this many is lost with it."""
_FEW = (3, 2)


def parts_in(plan: Plan, group: int, *, fleet: int) -> int:
    """Return into how many parts a group is dealt; 1 where it is too small for two.

    Args:
        plan: The plan.
        group: Homes in the group.
        fleet: Homes in the fleet.
    """
    for count in range(MOST_PARTS, 1, -1):  # large enough also with homes away
        size = int(group // count * (1 - plan.aggregation.dropped))
        if size >= fewest_in_a_part(plan, parts=count, size=size, fleet=fleet):
            return count
    for count in _FEW:
        size = group // count
        if size >= fewest_in_a_part(plan, parts=count, size=size, fleet=fleet):
            return count
    return 1


def fewest_in_a_part(plan: Plan, *, parts: int, size: int, fleet: int) -> int:
    """Return how many homes a part must have.

    Args:
        plan: The plan.
        parts: Into how many parts each group is dealt.
        size: Homes of a part that are there.
        fleet: Homes in the fleet.
    """
    groups = plan.aggregation.groups * parts
    return policy_of(plan).least_sum(fleet, roster=size, groups=groups)


def can_do_without(plan: Plan, homes: int, *, group: int, fleet: int) -> bool:
    """Return whether sums of a group can be had with this many of its homes, the others left out.

    Homes refuse a sum over less than half of their group.

    Args:
        plan: The plan.
        homes: Homes of the group that stay.
        group: Homes of the group in all.
        fleet: Homes in the fleet.
    """
    asked = int(homes * plan.rounds.fraction)
    if 2 * homes < group or asked < least_in_a_sum(plan, fleet=fleet, roster=asked):
        return False
    if not is_private(plan):
        return True
    fractions = {"train": plan.rounds.fraction, "evaluate": plan.rounds.evaluate_fraction}
    return all(
        int(homes * fractions.get(kind, 1.0)) >= cohort_of(plan, kind, fleet).least
        for kind in private_run(plan).counts
    )


def parts_line(plan: Plan, homes: int) -> tuple[str, str]:
    """Return what happens to homes that spoil sums, as a row of a table: what, and why.

    Args:
        plan: The plan.
        homes: Homes in the fleet.
    """
    group = homes // plan.aggregation.groups
    parts = parts_in(plan, group, fleet=homes)
    if parts > 1:
        text = (
            "if sums go beyond what honest homes can add, rounds are tried without parts of "
            f"{group // parts} homes or more; the part that spoils them is left out, at most half "
            "of all homes. As parts stay for an epoch, all sums together tell of parts, not of "
            "homes, unless homes are away"
        )
    elif plan.aggregation.groups > 1:
        text = (
            "a group whose sums go beyond what honest homes can add is left out: it is too small "
            "to find out which home it is"
        )
    else:
        text = (
            f"if sums go beyond what honest homes can add, the run stops: {homes} homes are too "
            "few to find out which it is without sums over too few"
        )
    return "homes that spoil sums", text
