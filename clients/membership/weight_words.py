"""What people are told of a home's weight: by what it counts, and what that tells of it."""

from __future__ import annotations

from fedhome.plan.settings import Plan

SAME_AT_ALL_MODELS = (
    "from two runs of which this home is in only one, while readings stay the same: how well no "
    "learning does in it, and models that it trains without the fleet. No model of the fleet moves "
    "these numbers, so the difference of the two sums is this home's."
)
"""What sums show of a home whichever models they are about."""


def weights(plan: Plan, most: int) -> dict[str, str]:
    """Return how people are told by what a home counts, by the name in a question's texts.

    Args:
        plan: The plan.
        most: The greatest weight.
    """
    return {
        "weight_of_training": _weight(plan, "training", f"that is weighted ({most:,} at most)"),
        "weight_of_validation": _weight(plan, "validation", "the rest is weighted"),
    }


def worked_out(plan: Plan) -> str:
    """Return what many sums tell of a home's number of examples, to begin a sentence with."""
    if plan.aggregation.greatest_weight == 1:
        return ""
    rounded = " to the nearest power of two" if plan.aggregation.weights == "rounded" else ""
    return f"the number of this home's examples can be worked out{rounded}, and "


def _weight(plan: Plan, part: str, use: str) -> str:
    if plan.aggregation.greatest_weight == 1:
        return f"whether it has {part} examples: all homes count alike"
    rounded = ", to the nearest power of two" if plan.aggregation.weights == "rounded" else ""
    return f"the number of its {part} examples{rounded}, by which {use}"
