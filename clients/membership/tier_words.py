"""What people are told before they agree, where devices carry slices of the model."""

from __future__ import annotations

from fedhome.plan.settings import Plan


def carried(tier: str) -> list[tuple[str, str]]:
    """Return a row on what the device carries; none where it carries the whole model.

    Args:
        tier: Name of its tier; empty: it has none.
    """
    return [("device", f"carries what tier {tier} has")] if tier else []


def readable(plan: Plan, tier: str) -> list[str]:
    """Return what others can read of that: in the fleet's directory, and in releases.

    Args:
        plan: The fleet's plan.
        tier: As of `carried`.
    """
    if not tier:
        return []
    told = [f"which kind of device it is ({tier}): it stands beside them in that directory."]
    if plan.aggregation.mode == "plain" and plan.personalise.name != "none":
        told.append(
            "what its slice of the model scores on its test rows, before and after it is adapted "
            f"to this home: each release tells all homes the mean over those of {tier}, where at "
            f"least {plan.aggregation.min_cohort} said so."
        )
    return told
