"""The plan's table ``slicing``: which part of the model each device carries (docs/slicing.md)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pydantic import Field

from fedhome.plan.section import Section
from fedhome.wire.layout import slice_units

MOST_TIERS = 8
_ROUNDING = 1e-6


class TierSettings(Section):
    """Devices that carry the same slice."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=32, description="what it is called"
    )
    width: float = Field(1.0, gt=0, le=1, description="share of each hidden layer's units")
    depth: int = Field(ge=1, description="how many of the hidden layers")
    share: float = Field(gt=0, le=1, description="share of a simulation's homes with such a device")

    def widths(self, hidden: Sequence[int]) -> tuple[int, ...]:
        """Return the units of the slice's layers, to the nearest, at least one in each.

        Args:
            hidden: Units of the whole model's hidden layers.
        """
        return slice_units(hidden, self.width, self.depth)


class SlicingSettings(Section):
    """Slices of the model, each trained by the devices that can carry it."""

    rule: str = Field(
        "nested",
        description="how slices lie in the model: nested, heterofl, fedrolex, depthfl, fiarse",
    )
    tiers: tuple[TierSettings, ...] = Field(
        (),
        max_length=MOST_TIERS,
        description="kinds of devices, each {name, width, depth, share}; none: all carry the "
        "whole model",
    )

    def in_order(self) -> tuple[TierSettings, ...]:
        """Return the tiers from the smallest slice to the largest."""
        return tuple(sorted(self.tiers, key=lambda tier: (tier.depth, tier.width)))

    def faults(self, hidden: Sequence[int]) -> list[str]:
        """Return what of the tiers does not fit together, a plain sentence each.

        Args:
            hidden: Units of the whole model's hidden layers.
        """
        if not self.tiers:
            return []
        faults = []
        names = [tier.name for tier in self.tiers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"slicing.tiers has two tiers of the name {', '.join(twice)}")
        if abs(sum(tier.share for tier in self.tiers) - 1) > _ROUNDING:
            shares = " + ".join(f"{tier.share:g}" for tier in self.tiers)
            faults.append(
                f"the shares of slicing.tiers are {shares} = "
                f"{sum(tier.share for tier in self.tiers):.4g}: together they must be 1"
            )
        faults += [
            f"tier {tier.name} has depth {tier.depth}, and model.hidden has {len(hidden)} layers"
            for tier in self.tiers
            if tier.depth > len(hidden)
        ]
        for small, large in pairwise(self.in_order()):
            if large.width < small.width:
                faults.append(
                    f"tier {large.name} is deeper than tier {small.name}, but narrower: neither "
                    "lies within the other, so give the deeper one at least the same width"
                )
            elif small.widths(hidden) == large.widths(hidden):
                faults.append(
                    f"tiers {small.name} and {large.name} carry the same slice, of "
                    f"{'-'.join(map(str, small.widths(hidden)))} units"
                )
        return faults
