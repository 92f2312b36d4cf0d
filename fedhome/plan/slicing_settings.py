"""The plan's table ``slicing``: which part of the model each device carries (docs/slicing.md)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field

from fedhome.errors import FedHomeError
from fedhome.plan.device_budget import BudgetSettings
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
    share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of a simulation's homes with such a device; with slicing.budgets none",
    )

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
    tier: Literal["given", "auto"] = Field(
        "given",
        description="how a simulation's homes come to their tiers: given by the tiers' shares, or "
        "auto, each the largest that fits its device (slicing.budgets)",
    )
    budgets: tuple[BudgetSettings, ...] = Field(
        (),
        max_length=MOST_TIERS,
        description="with tier = auto: kinds of devices, each {share, memory, step, bytes_up}",
    )

    def in_order(self) -> tuple[TierSettings, ...]:
        """Return the tiers from the smallest slice to the largest."""
        return tuple(sorted(self.tiers, key=lambda tier: (tier.depth, tier.width)))

    def faults(self, hidden: Sequence[int] | None) -> list[str]:
        """Return what of the tiers does not fit together, a plain sentence each.

        Args:
            hidden: Units of the whole model's hidden layers; None: a module of a user's own says
                what width and depth mean.
        """
        if not self.tiers:
            return []
        faults = self._share_faults()
        names = [tier.name for tier in self.tiers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"slicing.tiers has two tiers of the name {', '.join(twice)}")
        if hidden is not None:
            layers = len(hidden)
            faults += [
                f"tier {tier.name} has depth {tier.depth}, and model.hidden has {layers} layers"
                for tier in self.tiers
                if tier.depth > layers
            ]
        for small, large in pairwise(self.in_order()):
            if large.width < small.width:
                faults.append(
                    f"tier {large.name} is deeper than tier {small.name}, but narrower: neither "
                    "lies within the other, so give the deeper one at least the same width"
                )
            elif hidden is None:
                if (small.width, small.depth) == (large.width, large.depth):
                    faults.append(
                        f"tiers {small.name} and {large.name} carry the same slice, of width "
                        f"{small.width:g} and depth {small.depth}"
                    )
            elif small.widths(hidden) == large.widths(hidden):
                faults.append(
                    f"tiers {small.name} and {large.name} carry the same slice, of "
                    f"{'-'.join(map(str, small.widths(hidden)))} units"
                )
        return faults

    def _share_faults(self) -> list[str]:
        """Return what does not fit of who has which device."""
        if self.tier == "given":
            if self.budgets:
                return ['slicing.budgets are set: set slicing.tier = "auto", or leave them out']
            faults = [
                f"tier {tier.name} has no share: say how many of a simulation's homes have it"
                for tier in self.tiers
                if not tier.share
            ]
            return faults or _not_whole("slicing.tiers", [tier.share for tier in self.tiers])
        faults = [
            f"tier {tier.name} has a share of {tier.share:g}, but with slicing.tier = auto "
            "it gets that of the devices that it fits: leave it out"
            for tier in self.tiers
            if tier.share
        ]
        if not self.budgets:
            return [
                *faults,
                "slicing.tier = auto, but slicing.budgets say of no device what it can spare",
            ]
        for device in self.budgets:
            try:
                device.budget()
            except FedHomeError as error:
                faults.append(f"slicing.budgets: {error.with_hint}")
        return faults + _not_whole("slicing.budgets", [one.share for one in self.budgets])


def _not_whole(what: str, shares: Sequence[float]) -> list[str]:
    """Return that shares are not 1 together, where they are not."""
    if abs(sum(shares) - 1) <= _ROUNDING:
        return []
    told = " + ".join(f"{share:g}" for share in shares)
    return [f"the shares of {what} are {told} = {sum(shares):.4g}: together they must be 1"]
