"""When a second sum of nearly the same numbers about a model can be had, for a plan and a fleet.

How a model does on validation rows is summed as it is and once adapted; how experts err on them,
of which it is one, alone and in mixtures. Members open the second of such sums over the same homes
as the first, or over sets that differ by as many as a sum takes at least
(:mod:`fedhome.secagg.alike`).
"""

from __future__ import annotations

from fedhome.plan.judged_rounds import judged_every
from fedhome.plan.private_plan import is_private
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan


def fewest_before(plan: Plan, homes: int) -> int:
    """Return how many homes a first sum must be over for one of them to be away from the second.

    Where fewer are in it, the second is over the very same homes or is not opened.

    Args:
        plan: The plan.
        homes: Homes in the fleet.
    """
    settings = plan.aggregation
    group = homes // settings.groups
    return 2 * policy_of(plan).least_sum(homes, roster=group, groups=settings.groups)


def second_sums_line(plan: Plan, homes: int) -> list[tuple[str, str]]:
    """Return what comes of a home that goes away between such a pair, as a row: what, and why.

    Args:
        plan: The plan.
        homes: Homes in the fleet.

    Returns:
        The row; none where no pair is asked.
    """
    if plan.personalise.name == "none" or is_private(plan):
        return []
    group, first = homes // plan.aggregation.groups, fewest_before(plan, homes)
    least = first // 2
    judged = judged_every(plan) > 0 and plan.rounds.evaluate_fraction > 0
    all_test = plan.rounds.evaluate_fraction == 1
    first_of_them, second_of_them = ("once adapted", "as it is")[:: 1 if all_test else -1]
    mixtures = (
        "in a test of the model that the run ends with, and away when the sums of experts' errors "
        "and of their mixtures' follow"
    )
    away = (
        f"a home may be in the test of a model {first_of_them}, and away when it is tested "
        f"{second_of_them}, minutes later; or {mixtures}"
        if judged
        else f"a home may be {mixtures}"
    )
    without = (
        "the round has no loss of the model as it is" if all_test else "the round is not judged"
    )
    lost = (f"{without}, or " if judged else "") + (
        "homes follow the fleet's mixture as by default"
    )
    if group < first:
        text = (
            f"{away}. If it stays away, {lost}, and the log says so: {group} homes are too few to "
            f"leave others out as well, which takes {first}"
        )
    else:
        text = (
            f"{away}. Then others are left out of the second as well, {least - 1} at most, so that "
            f"both together tell {least} homes apart or none. Where fewer than {first} homes are "
            f"in the first, {lost}, and the log says so"
        )
    return [("two sums about a model", text)]
