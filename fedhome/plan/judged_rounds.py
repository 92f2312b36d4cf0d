"""Which rounds homes judge and test, and when a run stops: what follows from a plan."""

from __future__ import annotations

import math
from typing import Any

from fedhome.plan.settings import Plan

_SHARE = 6
"""Homes adapt for one in this many of ``personalise.epochs``, where no trial says how long."""
JUDGED_EVERY = 5
"""One round in this many is judged where the plan does not say, and homes can judge."""
PATIENCE = 10
"""Rounds without a better one, after which a run stops that can tell which was best."""


def judged_every(plan: Plan) -> int:
    """Return every how many rounds homes test the model as each would adapt it; 0: never.

    Where the plan leaves it open they do if they personalise, and add no noise, under which each
    sum is paid for.
    """
    every = plan.rounds.judge_every
    if every is not None:
        return every
    able = plan.personalise.name != "none" and plan.privacy.mechanism == "none"
    return JUDGED_EVERY if able else 0


def judges_in(plan: Plan, number: int) -> bool:
    """Return whether the model of a round is judged: each ``judge_every``-th, and the last.

    Args:
        plan: The plan.
        number: The round.
    """
    every = judged_every(plan)
    return every > 0 and (number % every == 0 or number == plan.rounds.count)


def judged_rounds(plan: Plan) -> int:
    """Return in how many rounds of a whole run they do."""
    every = judged_every(plan)
    return -(-plan.rounds.count // every) if every else 0


def evaluates_in(plan: Plan, number: int) -> bool:
    """Return whether homes test the model of a round as it is.

    They do in each ``evaluate_every``-th; in the first, against which other runs are held; in those
    that are judged, as a run may end with any of these; and in the last.

    Args:
        plan: The plan.
        number: The round.
    """
    often = number % plan.rounds.evaluate_every == 0
    return often or number in {1, plan.rounds.count} or judges_in(plan, number)


def evaluated_rounds(plan: Plan) -> int:
    """Return in how many rounds of a whole run homes test the model, if the plan asks any to."""
    count = plan.rounds.count
    steps = [every for every in (plan.rounds.evaluate_every, judged_every(plan)) if every]
    twice = count // math.lcm(*steps) if len(steps) > 1 else 0
    ends = sum(all(number % every for every in steps) for number in {1, count})
    return sum(count // every for every in steps) - twice + ends


def rounds_of_evaluation(plan: Plan, number: int) -> int:
    """Return for how many rounds the test of one stands: itself, and those before it without any.

    Args:
        plan: The plan.
        number: The round, in which homes test.
    """
    return next(n for n in range(1, number + 1) if n == number or evaluates_in(plan, number - n))


def adaptation_of(plan: Plan) -> dict[str, Any]:
    """Return how homes adapt a model that is judged: a rate as a multiple, and passes.

    It is this and no other. Asked to adapt a model by nothing, homes would say what they say of the
    model as it is: a second sum of the same numbers, which may be over others.

    Args:
        plan: The plan, of a home or of the server.
    """
    own = plan.personalise
    return {"rate": own.rates[0], "epochs": max(1, own.epochs // _SHARE)}


def patience_of(plan: Plan, *, picks: bool) -> int | None:
    """Return after how many rounds without a better one a run stops; None: it does not.

    Args:
        plan: The plan.
        picks: Whether the run can tell rounds apart, and ends with the best.
    """
    patience = plan.rounds.patience
    if patience is None:
        return PATIENCE if picks else None
    return patience or None
