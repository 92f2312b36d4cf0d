"""What people are told of how their home learns: what sums show by that alone."""

from __future__ import annotations

from fedhome.learning.methods import METHODS
from fedhome.plan.settings import AUTO, Plan

_ATTEMPTS = (
    "where this home is away from one of the attempts at how far the server goes, roughly how it "
    "changed the model in the first round of another: these attempts begin with models that hardly "
    "differ."
)


def shown_by(plan: Plan) -> list[str]:
    """Return what secure sums show of a home by a plan's method or rates, and by no other.

    A method that is not fedhome's is not asked: its code is not run before people have agreed.

    Args:
        plan: The plan that they are invited to.
    """
    method = METHODS.get(plan.method.name)
    shown = [method.shown] if method is not None and method.shown else []
    return shown + ([_ATTEMPTS] if plan.strategy.rate == AUTO else [])
