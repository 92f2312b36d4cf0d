"""Where slices of a network lie in the whole: prefixes of its layers, with an exit at each depth.

A *slice* takes the first layers of a network, of each the first units, and the output layer (the
*exit*) that belongs to its depth. By itself it is an ordinary multilayer perceptron, which trains
and predicts alone; in the whole it is a set of places of one flat array. Slices here are *nested*:
each lies within the next one, and the last one is the whole.

Sources: Diao, Ding, Tarokh, "HeteroFL", ICLR 2021 (prefixes of layers); Kim et al., "DepthFL",
ICLR 2023 (an exit at each depth).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import ModelError
from fedhome.plan.settings import Plan
from fedhome.wire.layout import Layout

Widths = tuple[int, ...]
"""Units of a slice's hidden layers: as many layers as it is deep."""

Places = NDArray[np.int64]
"""Where numbers of a slice lie in the whole's flat array, in the slice's own order."""


def slices_of(plan: Plan, features: int, outputs: int) -> SlicedShape:
    """Return a plan's slices, from the smallest tier's to the largest's.

    Args:
        plan: The plan, with tiers.
        features: Width of the input.
        outputs: Width of the output.
    """
    widths = tuple(tier.widths(plan.model.hidden) for tier in plan.slicing.in_order())
    return SlicedShape(features, outputs, widths)


def lies_within(small: Widths, large: Widths) -> bool:
    """Whether a slice is a part of another one, or the same."""
    return len(small) <= len(large) and all(a <= b for a, b in zip(small, large, strict=False))


@dataclass(frozen=True)
class SlicedShape:
    """A network and its nested slices.

    Whoever carries a slice trains the smaller ones in it as well, so that all exits up to its
    depth learn from it.

    Args:
        features: Width of the input.
        outputs: Width of the output.
        slices: Units of each slice's hidden layers, from the smallest to the whole.

    Raises:
        ModelError: There is none, or one does not lie within the next.
    """

    features: int
    outputs: int
    slices: tuple[Widths, ...]

    def __post_init__(self) -> None:
        if not self.slices or not all(self.slices):
            raise ModelError("a sliced network has at least one slice, of at least one layer")
        for small, large in pairwise(self.slices):
            if small == large or not lies_within(small, large):
                raise ModelError(
                    f"the slice {shown(small)} does not lie within the next one, {shown(large)}",
                    hint="each slice is wider or deeper than the one before, and nowhere smaller",
                )

    @property
    def hidden(self) -> Widths:
        """Units of the whole network's hidden layers."""
        return self.slices[-1]

    def within(self, slice_: int) -> SlicedShape:
        """Return a slice with the smaller ones in it, as a network of its own."""
        return SlicedShape(self.features, self.outputs, self.slices[: slice_ + 1])

    @cached_property
    def exits(self) -> Mapping[int, int]:
        """Depths with an exit, and how many units each exit reads: those of its widest slice."""
        return {len(widths): widths[-1] for widths in self.slices}

    @cached_property
    def layout(self) -> Layout:
        """Layout of the whole: hidden layers, then exits from the first depth to the last."""
        layers = _layers(self.features, self.hidden)
        exits = [(f"exits.{d}", (self.outputs, self.exits[d])) for d in sorted(self.exits)]
        names, shapes = [], list[tuple[int, ...]]()
        for name, shape in (*layers, *exits):
            names += [f"{name}.weight", f"{name}.bias"]
            shapes += [shape, shape[:1]]
        return Layout(tuple(names), tuple(shapes))

    def plain_layout(self, slice_: int) -> Layout:
        """Return the layout of a slice by itself: that of :func:`fedhome.models.mlp`."""
        widths = self.slices[slice_]
        shapes = list[tuple[int, ...]]()
        for _, shape in (*_layers(self.features, widths), ("", (self.outputs, widths[-1]))):
            shapes += [shape, shape[:1]]
        names = [f"{2 * n}.{part}" for n in range(len(widths) + 1) for part in ("weight", "bias")]
        return Layout(tuple(names), tuple(shapes))

    def path(self, slice_: int) -> Places:
        """Return where a slice by itself lies in the whole, in the order of `plain_layout`."""
        widths = self.slices[slice_]
        exit_ = (f"exits.{len(widths)}", (self.outputs, widths[-1]))
        return self._places([*_layers(self.features, widths), exit_])

    def carried(self, slice_: int) -> Places:
        """Return what a device of a slice carries: the slice and the smaller ones in it.

        The order is that of ``within(slice_).layout``.
        """
        own = self.within(slice_)
        exits = [(f"exits.{d}", (self.outputs, own.exits[d])) for d in sorted(own.exits)]
        return self._places([*_layers(self.features, own.hidden), *exits])

    def shell(self, slice_: int) -> Places:
        """Return what a slice has and no smaller one; these parts are disjoint."""
        if slice_ == 0:
            return np.sort(self.carried(0))
        return np.setdiff1d(self.carried(slice_), self.carried(slice_ - 1))

    def size(self, slice_: int) -> int:
        """Return the number of parameters of a slice by itself."""
        return self.plain_layout(slice_).size

    def _places(self, boxes: Sequence[tuple[str, tuple[int, int]]]) -> Places:
        starts = dict(zip(self.layout.names, np.cumsum((0, *self.layout.sizes)), strict=False))
        shapes = dict(zip(self.layout.names, self.layout.shapes, strict=True))
        found = []
        for name, (rows, columns) in boxes:
            stride = shapes[f"{name}.weight"][1]
            weight = np.arange(rows)[:, None] * stride + np.arange(columns)
            found.append(starts[f"{name}.weight"] + weight.ravel())
            found.append(starts[f"{name}.bias"] + np.arange(rows))
        return np.concatenate(found).astype(np.int64)


def integrate(
    start: NDArray[np.float32],
    changes: Sequence[tuple[Places, NDArray[np.float64], float]],
) -> NDArray[np.float64]:
    """Return the whole after devices of several slices have learnt.

    Every place moves by the weighted mean of what those devices changed that have it::

        θ[j] += Σ wᵢ mᵢ[j] Δᵢ[j] / Σ wᵢ mᵢ[j]      where a device has j; else it stays

    Args:
        start: The whole before, float32 ``[size]``.
        changes: For each slice its places ``[carried]``, the mean change of its devices
            ``[carried]``, and their weight together; a slice with weight 0 adds nothing.

    Returns:
        float64 ``[size]``.
    """
    moved, weight = np.zeros(len(start)), np.zeros(len(start))
    for places, change, weighs in changes:
        if weighs > 0:
            moved[places] += weighs * change
            weight[places] += weighs
    moves = np.divide(moved, weight, out=np.zeros(len(start)), where=weight > 0)
    return start.astype(np.float64) + moves


def shown(widths: Widths) -> str:
    """Return a slice's layers as they are told, such as ``16-16``."""
    return "-".join(map(str, widths))


def _layers(features: int, widths: Widths) -> list[tuple[str, tuple[int, int]]]:
    inputs = (features, *widths[:-1])
    return [
        (f"layers.{n}", (units, into))
        for n, (units, into) in enumerate(zip(widths, inputs, strict=True))
    ]
