"""A slice that was cut out of a finished model, and the largest of several that fits a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ModelError
from fedhome.models.slicing import Widths, shown


@dataclass(frozen=True, kw_only=True)
class SliceCut:
    """A part of a finished model that predicts alone.

    Args:
        hidden: Units of its hidden layers; empty of a module of a user's own.
        width: Share of the whole's units in the last of them, or a tier's setting.
        depth: How many layers it has, or a tier's setting.
        parameters: Its arrays by name.
        tier: The tier that trained it; None: that is not known, or there is none.
    """

    hidden: Widths
    width: float
    depth: int
    parameters: Mapping[str, NDArray[np.float32]]
    tier: str | None

    @cached_property
    def size(self) -> int:
        """How many numbers it has."""
        return sum(values.size for values in self.parameters.values())

    @property
    def told(self) -> str:
        """What it is, in words."""
        if self.hidden:
            return f"layers {shown(self.hidden)}"
        return f"width {self.width:g} and depth {self.depth}"


def float32_bytes(cut: SliceCut) -> int:
    """Return the bytes of a slice's numbers as arrays."""
    return 4 * cut.size


def largest_within(
    cuts: Sequence[SliceCut], budget: int, bytes_of: Callable[[SliceCut], int] = float32_bytes
) -> SliceCut:
    """Return the largest slice that takes at most this many bytes.

    Args:
        cuts: The slices, at least one.
        budget: Bytes.
        bytes_of: What a slice takes.

    Raises:
        ModelError: None fits.
    """
    fitting = [one for one in cuts if bytes_of(one) <= budget]
    if not fitting:
        smallest = min(cuts, key=lambda one: one.size)
        raise ModelError(
            f"no slice fits {budget:,} bytes: the smallest, {smallest.told}, takes "
            f"{bytes_of(smallest):,}",
            # A module of a user's own has no slices but those.
            hint="give more"
            + (", or name a smaller one with --width and --depth" if smallest.hidden else ""),
        )
    return max(fitting, key=lambda one: one.size)
