"""What a plan's aggregation comes to: the protocol's parameters, and what homes insist on."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

from fedhome.counted import counted
from fedhome.errors import ParameterError, PlanError
from fedhome.plan.judged_rounds import evaluated_rounds, judged_rounds
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.plan.told_weights import told_weights
from fedhome.plan.transfer_plan import bits_of, is_staged
from fedhome.secagg import Parameters, Policy
from fedhome.secagg.packing import Packing
from fedhome.secagg.parameters import fewest_in_a_sum

MOST_CLIP = 512.0
"""Greatest clip of an update where the plan names none: twice the greatest size that is counted."""
_OF_NO_HOME = ("name", "engine", "faults", "strategy")
_SOURCE = ("source", "homes")
_ROUNDS = ("fraction", "max_examples", "reply_after_s")
_RUNS_A_DAY = 3
_ROUNDING = 1e-9
_TELLING = 2  # homes in a sum: each learns from it what the other has added
_SUMS_A_RUN = 5  # census, trial, blend, shrink and outcome


def parameters_of(plan: Plan, homes: int) -> Parameters:
    """Return the protocol's parameters for a round of all homes of a simulation.

    Raises:
        PlanError: They cannot keep their promises.
    """
    settings = plan.aggregation
    group = -(-homes // settings.groups)
    try:
        return Parameters.derive(
            homes=max(1, min(group, round(group * plan.rounds.fraction))),
            pool=group,
            eligible=homes,
            corrupt=settings.corrupt,
            dropped=settings.dropped,
            min_cohort=settings.min_cohort,
            committee=settings.committee,
        )
    except ParameterError as error:
        raise PlanError([error.message], hint=error.hint) from None


def least_in_a_sum(plan: Plan, *, fleet: int, roster: int) -> int:
    """Return how many homes must be in a sum.

    Args:
        plan: The plan.
        fleet: Homes in the fleet.
        roster: Homes that take part in the sum.
    """
    settings = plan.aggregation
    return max(
        fewest_in_a_sum(roster, dropped=settings.dropped, min_cohort=settings.min_cohort),
        policy_of(plan).least_sum(fleet, roster=roster, groups=settings.groups),
    )


def fewest_there(plan: Plan, *, fleet: int, group: int) -> int:
    """Return how many homes of a group must be connected for its sum of updates.

    Args:
        plan: The plan.
        fleet: Homes in the fleet.
        group: Homes in the group, connected or not.

    Returns:
        The number; one more than there are where no sum can be had even of all.
    """
    if plan.aggregation.mode == "plain":
        return 1
    whole = int(fleet * plan.rounds.fraction) // plan.aggregation.groups
    # With noise a sum needs as many homes as make enough of it, however few were asked.
    noise = plan.privacy.mechanism != "none"
    most = least_in_a_sum(plan, fleet=fleet, roster=whole) if noise else 0
    for there in range(1, group + 1):
        asked = int(there * plan.rounds.fraction + _ROUNDING)
        if asked < max(plan.aggregation.min_cohort, most):
            continue
        if asked >= least_in_a_sum(plan, fleet=fleet, roster=asked):
            return there
    return group + 1


def absence_told(plan: Plan, homes: int) -> str:
    """Return what it means that a fleet's sums take all of its homes; empty where they do not.

    Args:
        plan: The plan.
        homes: Homes in the fleet.
    """
    settings = plan.aggregation
    group = homes // settings.groups
    needed = fewest_there(plan, fleet=homes, group=group)
    if settings.mode == "plain" or needed != group:
        return ""
    if needed > settings.min_cohort:
        what = f"it follows from aggregation.min_cohort = {settings.min_cohort} and the shares"
    else:
        what = f"aggregation.min_cohort is {settings.min_cohort}"
    each = "" if settings.groups == 1 else f" in each of {settings.groups} groups"
    return (
        f"this fleet tolerates no absence: a sum takes {needed} homes{each} ({what}), and there "
        f"are {group}, so while a single one is away every run waits for it. Invite one home more "
        "at least; or set a smaller aggregation.min_cohort, which hides each home among fewer"
    )


def check_groups(plan: Plan, homes: int) -> str:
    """Return why a plan's groups of this many homes hold too little; empty when they do not."""
    settings = plan.aggregation
    roster = int(homes * plan.rounds.fraction) // settings.groups
    least = least_in_a_sum(plan, fleet=homes, roster=roster)
    if roster >= least:
        return ""
    each = "" if settings.groups == 1 else f" in each of {settings.groups} groups"
    ways = "" if settings.groups == 1 else ", or fewer groups"
    ways += ", or a larger rounds.fraction" if plan.rounds.fraction < 1 else ""
    if _TELLING < roster < settings.min_cohort:
        smaller = settings.model_copy(update={"min_cohort": roster})
        as_few = plan.model_copy(update={"aggregation": smaller})
        if least_in_a_sum(as_few, fleet=homes, roster=roster) <= roster:
            ways += f"; or set aggregation.min_cohort = {roster}, which hides each home among fewer"
    return (
        f"{counted(roster, 'home')} {'is' if roster == 1 else 'are'} asked{each}, but no sum is "
        f"opened over fewer than {least}: that follows from aggregation.min_cohort = "
        f"{settings.min_cohort} and aggregation.corrupt = {settings.corrupt}. Take more homes"
        f'{ways}; or set aggregation.mode = "plain" where nothing has to be kept from the server'
    )


def quorum_of(plan: Plan, asked: int) -> int:
    """Return how many of the asked homes must answer for a round to count."""
    # 0.1 * 30 is a little more than 3 in binary; no fourth home is needed for that.
    return max(1, math.ceil(plan.rounds.quorum * asked - _ROUNDING))


def policy_of(plan: Plan) -> Policy:
    """Return what the homes of a plan insist on, whatever a server asks."""
    settings = plan.aggregation
    policy = Policy(
        min_cohort=settings.min_cohort,
        corrupt=settings.corrupt,
        least_share=0.5 * plan.rounds.fraction,
        plan=terms_hash(plan),
        groups=settings.groups,
        bits=bits_of(plan),
        norm=settings.clip_in,
        most_clip=settings.clip or MOST_CLIP,
        most_weight=settings.greatest_weight or _power_of_two(plan.rounds.max_examples),
        exact_clip=settings.clip is not None,
        exact_weight=settings.greatest_weight is not None,
        most_a_day=most_sums_a_day(plan),
        noise=plan.privacy.mechanism != "none",
        tiers=tuple(tier.name for tier in plan.slicing.in_order()),
    )
    if plan.privacy.mechanism == "none":
        return policy
    # Where homes add noise, updates are clipped as privacy says, and all homes count once.
    return replace(
        policy,
        norm="l2",
        most_clip=plan.privacy.clip,
        most_weight=1,
        exact_clip=True,
        exact_weight=True,
    )


def terms_hash(plan: Plan) -> bytes:
    """Return SHA-256 of all of a plan that binds a home: of what it acts on, and insists on.

    How a server averages, what it waits for, and which engine a simulation runs in bind no home:
    they may change without a new invite.
    """
    table = plan.model_dump(mode="json")
    terms = {name: value for name, value in table.items() if name not in _OF_NO_HOME}
    if not is_sliced(plan):  # so that plans without slices are what they were before there were any
        del terms["slicing"]
    if not is_staged(plan):  # the same
        del terms["transfer"]
    if plan.train.rate == 1:  # the same, of rates that a fleet chooses
        for name in ("rate", "rates"):
            del terms["train"][name]
    terms["data"] = {name: value for name, value in table["data"].items() if name not in _SOURCE}
    terms["rounds"] = {name: table["rounds"][name] for name in _ROUNDS}
    return hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).digest()


def most_sums_a_day(plan: Plan) -> int:
    """Return in how many sums a home of a plan takes part on one day: in those of three runs."""
    rounds, shells = plan.rounds, max(1, len(plan.slicing.tiers))
    trained = shells * rounds.count  # each shell of a sliced model is a training's sum
    return _RUNS_A_DAY * (trained + evaluated_rounds(plan) + judged_rounds(plan) + _SUMS_A_RUN)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def lines(plan: Plan, homes: int) -> list[tuple[str, str]]:
    """Return the derived parameters for this many homes as rows of a table: what, and why.

    Raises:
        PlanError: They cannot keep their promises.
    """
    try:
        lanes = Packing.of(bits_of(plan), homes)
    except ParameterError as error:
        raise PlanError([error.message], hint=error.hint) from None
    size = _bytes_a_number(lanes)
    derived = parameters_of(plan, homes)
    least = least_in_a_sum(plan, fleet=homes, roster=derived.homes)
    allowed = least_allowed(plan, homes)
    return [
        *replace(derived, a_min=max(derived.a_min, least)).lines(),
        ("a number of an update", f"{bits_of(plan)} bits in {size:.3g} bytes ({lanes.name})"),
        ("who must collude", collusion(derived.committee, derived.threshold, allowed)),
        ("all sums of a run", told_weights(plan, homes, least=least)),
    ]


def least_allowed(plan: Plan, homes: int) -> int:
    """Return of how few homes' sums the homes of a plan take part in, whatever a server asks.

    A server of ours asks for :func:`least_in_a_sum`, which is often more, and for so few only in a
    second sum of nearly the same numbers.

    Args:
        plan: The plan.
        homes: Homes in the fleet.
    """
    return policy_of(plan).least_sum(homes, roster=homes, groups=plan.aggregation.groups)


def collusion(members: int, threshold: int, allowed: int) -> str:
    """Return in words how many must work together to see a single home.

    Args:
        members: Homes on the committee.
        threshold: Answers that open a sum. Two openings take twice as many; whoever answers in
            both is counted in both.
        allowed: Fewest homes in a sum that homes take part in.
    """
    return (
        f"to see one home, beside the server: {2 * threshold - members} members that vote twice, "
        f"or {threshold} that hand over their keys, or all others in a sum, {allowed - 1} at "
        f"least: homes take part in sums over {allowed}"
    )


def _bytes_a_number(lanes: Packing) -> float:
    many = 3 << 10
    return lanes.words(many) * lanes.dtype.itemsize / many
