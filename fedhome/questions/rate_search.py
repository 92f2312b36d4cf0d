"""A search for rates begins several times from one place: what homes keep must not stand in it."""

from __future__ import annotations

from fedhome.errors import PlanError
from fedhome.learning.home_round import keeps
from fedhome.learning.methods import Method
from fedhome.plan.settings import Plan
from fedhome.plan.transfer_plan import sends_fewer
from fedhome.plan.tried_rates import searches
from fedhome.wire.layout import Layout


def check_search(plan: Plan, method: Method, layout: Layout) -> None:
    """Refuse a search for rates over homes that keep something of their own between rounds.

    The second attempt would begin with what the first one left in homes.

    Args:
        plan: The plan.
        method: Its method.
        layout: Layout of its model.

    Raises:
        PlanError: Homes would.
    """
    if not searches(plan):
        return
    if keeps(method, layout):
        what = f"the method {plan.method.name} keeps something in each home between rounds"
        way = "or a method that keeps nothing, such as fedavg"
    elif sends_fewer(plan) and plan.transfer.feedback:
        what = "transfer.feedback keeps in each home what was not sent"
        way = "or transfer.feedback = 0"
    else:
        return
    fault = (
        f'a rate is "auto", which begins anew for each that is tried, but {what}: it would '
        "carry over from one attempt to the next"
    )
    raise PlanError(
        [fault],
        hint=f"name the rate (train.rate, strategy.rate), {way}",
    )
