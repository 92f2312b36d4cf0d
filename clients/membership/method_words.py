"""What people are told of how their home learns: what sums show by that alone."""

from __future__ import annotations

from fedhome.learning.methods import METHODS
from fedhome.plan.settings import Plan


def shown_by(plan: Plan) -> list[str]:
    """Return what secure sums show of a home by a plan's method, and by no other.

    A method that is not fedhome's is not asked: its code is not run before people have agreed.

    Args:
        plan: The plan that they are invited to.
    """
    method = METHODS.get(plan.method.name)
    return [method.shown] if method is not None and method.shown else []
