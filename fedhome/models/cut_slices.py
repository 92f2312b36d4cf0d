"""Slices cut out of a finished model: small networks that predict alone, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import LayoutError, ModelError
from fedhome.models.slicing import Widths
from fedhome.plan.rule_traits import RULES
from fedhome.plan.settings import Plan
from fedhome.plugins import look_up
from fedhome.wire.layout import Layout, slice_units

_QUARTERS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class FinishedModel:
    """A finished model that can be cut.

    Args:
        parameters: Arrays by name, as :class:`fedhome.models.sliced_mlp.SlicedMLP` has them.
        trained: Units of the slices that devices trained, where that is known.
        scaled: Whether a narrow layer's outcome is made larger by how much narrower it is: so
            HeteroFL trains slices (:mod:`fedhome.learning.slice_rules.heterofl`).

    Raises:
        LayoutError: It is a model without exits.
    """

    parameters: Mapping[str, NDArray[np.float32]]
    trained: tuple[Widths, ...] = ()
    scaled: bool = False

    @classmethod
    def of_run(cls, plan: Plan, parameters: Mapping[str, NDArray[np.float32]]) -> FinishedModel:
        """Return a run's model, as its plan's rule trained it.

        Args:
            plan: The run's plan.
            parameters: The model's arrays by name.

        Raises:
            LayoutError: It was not trained in slices that are networks of their own.
        """
        tiers = tuple(tier.widths(plan.model.hidden) for tier in plan.slicing.in_order())
        return cls.trained_in(tiers, plan.slicing.rule, parameters)

    @classmethod
    def trained_in(
        cls, tiers: tuple[Widths, ...], rule: str, parameters: Mapping[str, NDArray[np.float32]]
    ) -> FinishedModel:
        """Return a model that was trained in slices.

        Args:
            tiers: Units of each slice's layers; none: it is not known in which.
            rule: The rule by which they lie in it.
            parameters: The model's arrays by name.

        Raises:
            LayoutError: It was not trained in slices that are networks of their own.
            PluginError: There is no such rule.
        """
        if not tiers:
            return cls(parameters)
        if rule == "fiarse":
            raise LayoutError(
                "slicing.rule = fiarse picks single weights: a part of this model is as wide and "
                "as deep as the whole, with zeros in it",
                hint="each home's own model of the run is one: `fedhome.load(run, home)` opens it",
            )
        if look_up(RULES, rule, "slicing rule").exits:
            return cls(parameters, tiers)
        layers = len(parameters) // 2
        names = [f"layers.{n}" for n in range(layers - 1)] + [f"exits.{layers - 1}"]
        renamed = {
            f"{name}.{part}": parameters[f"{2 * number}.{part}"]
            for number, name in enumerate(names)
            for part in ("weight", "bias")
        }
        return cls(renamed, tiers, scaled=rule == "heterofl")

    def __post_init__(self) -> None:
        if not self.hidden or not self.exits:
            raise LayoutError(
                "this model has no exits: it was not trained in nested slices, and a part of it "
                "would predict nothing",
                hint="train one with [slicing] in its plan: docs/slicing.md. A release does not "
                "say where slices of a module of your own lie: name its run's folder",
            )

    @cached_property
    def hidden(self) -> Widths:
        """Units of the hidden layers."""
        units = list[int]()
        while (weight := self.parameters.get(f"layers.{len(units)}.weight")) is not None:
            units.append(weight.shape[0])
        return tuple(units)

    @cached_property
    def exits(self) -> Mapping[int, int]:
        """Depths with an exit, and how many units each exit reads."""
        depths = range(1, len(self.hidden) + 1)
        weights = {depth: self.parameters.get(f"exits.{depth}.weight") for depth in depths}
        return {depth: w.shape[1] for depth, w in weights.items() if w is not None}

    @property
    def slices(self) -> tuple[Widths, ...]:
        """Return slices worth a look: those that were trained, else some widths of each depth."""
        if self.trained:
            return self.trained
        found = {
            units
            for depth, reads in self.exits.items()
            for share in (*_QUARTERS, reads / self.hidden[depth - 1])
            if (units := slice_units(self.hidden, share, depth))[-1] <= reads
        }
        return tuple(sorted(found, key=lambda widths: (len(widths), widths)))

    def widths(self, width: float, depth: int) -> Widths:
        """Return the units of a slice's layers.

        Args:
            width: Share of each layer's units, above 0 and at most 1.
            depth: How many of the layers.

        Raises:
            ModelError: The model has no such slice.
        """
        if not 0 < width <= 1:
            raise ModelError(
                f"a slice of width {width:g} is none", hint="a width is above 0 and at most 1"
            )
        if depth not in self.exits:
            raise ModelError(
                f"this model has no exit at depth {depth}",
                hint=f"it has exits at {', '.join(map(str, self.exits))}",
            )
        units = slice_units(self.hidden, width, depth)
        if units[-1] > self.exits[depth]:
            most = self.exits[depth] / self.hidden[depth - 1]
            raise ModelError(
                f"at depth {depth} the exit reads {self.exits[depth]} units, and a slice of width "
                f"{width:g} has {units[-1]}",
                hint=f"the widest slice of this depth has width {most:g}",
            )
        return units

    def cut(self, widths: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        """Return a slice's parameters by the names of :func:`fedhome.models.mlp`'s modules.

        Args:
            widths: Units of its layers, as of `widths`.
        """
        found: dict[str, NDArray[np.float32]] = {}
        inputs = self.parameters["layers.0.weight"].shape[1]
        for number, units in enumerate(widths):
            factor = np.float32(self.hidden[number] / units if self.scaled else 1.0)
            weight = self.parameters[f"layers.{number}.weight"][:units, :inputs]
            found[f"{2 * number}.weight"] = np.ascontiguousarray(weight * factor)
            found[f"{2 * number}.bias"] = self.parameters[f"layers.{number}.bias"][:units] * factor
            inputs = units
        exit_, last = f"exits.{len(widths)}", 2 * len(widths)
        weight = self.parameters[f"{exit_}.weight"][:, :inputs]
        found[f"{last}.weight"] = np.ascontiguousarray(weight)
        found[f"{last}.bias"] = self.parameters[f"{exit_}.bias"].copy()
        return found

    def layout(self, widths: Widths) -> Layout:
        """Return the layout of a slice by itself."""
        return Layout.of(self.cut(widths))
