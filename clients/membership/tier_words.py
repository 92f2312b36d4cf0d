"""What people are told before they agree, where devices carry slices of the model."""

from __future__ import annotations


def carried(tier: str) -> list[tuple[str, str]]:
    """Return a row on what the device carries; none where it carries the whole model.

    Args:
        tier: Name of its tier; empty: it has none.
    """
    return [("device", f"carries what tier {tier} has")] if tier else []


def readable(tier: str) -> list[str]:
    """Return what others can read of that: in the fleet's directory; arguments as of `carried`."""
    told = f"which kind of device it is ({tier}): it stands beside them in that directory."
    return [told] if tier else []
