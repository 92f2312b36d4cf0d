"""Other ways to train nested slices, which were tried and are not built: `slicing --tried`.

Each is the default rule with one thing changed. What a device carries, what it sends and how its
own network looks stay as they are, but for tiers' own exits and biases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedhome.learning.local import Batch
from fedhome.learning.params import Params
from fedhome.learning.slice_rules import SLICE_RULES, CarriedSlice, SliceRule, Slicing
from fedhome.learning.slice_rules.depthfl import TEACHING
from fedhome.learning.slice_rules.nested import SandwichLearning, nested
from fedhome.models.declared_places import places_in
from fedhome.models.mlp import mlp
from fedhome.models.sliced_mlp import SlicedMLP
from fedhome.models.slicing import Places, integrate
from fedhome.simulations.objects import Model
from fedhome.wire.layout import slice_units

_COUNTS: Final = 0.3  # of a larger slice's gradient, in a smaller one's numbers
_RATES: Final = (1.0, 0.7, 0.5)  # of the learning rate, from the smallest slice to the largest
_TIERS: Final = ((0.25, 1), (0.5, 2), (1.0, 2))  # width and depth of the benchmark's


class DampedLearning(SandwichLearning):
    """A larger slice's gradient counts less in the numbers that smaller slices have."""

    @cached_property
    def _counts(self) -> list[dict[str, Tensor]]:
        """How much each slice's gradient counts, number by number, from the smallest slice."""
        assert isinstance(self.model, SlicedMLP), "slices are learnt of one"
        shape, found = self.model.shape, []
        for slice_ in range(len(shape.slices)):
            counts = np.ones(shape.layout.size, np.float32)
            if slice_:
                counts[shape.carried(slice_ - 1)] = _COUNTS
            named = shape.layout.unflatten(counts)
            found.append({name: torch.from_numpy(values) for name, values in named.items()})
        return found

    def row_losses(self, params: Params, batch: Batch) -> Tensor:
        """Return the sum of the losses, each with such a gradient ``[batch]``."""
        total = torch.zeros_like(batch.mask)
        for slice_, counts in enumerate(self._counts):
            seen = {
                name: p if name not in counts else p.detach() + counts[name] * (p - p.detach())
                for name, p in params.items()
            }
            output = self.forward(seen, batch.x, every=True)[slice_]
            total = total + self.loss.rows(output, batch.y)
        return total


class TaughtLearning(SandwichLearning):
    """Smaller slices learn what the home's largest answers as well, as DepthFL's exits do."""

    def row_losses(self, params: Params, batch: Batch) -> Tensor:
        """Return the losses and how far answers are from the largest slice's ``[batch]``."""
        outputs = self.forward(params, batch.x, every=True).unbind(0)  # each [batch, outputs]
        total = sum(self.loss.rows(output, batch.y) for output in outputs)
        for output in outputs[:-1]:
            total = total + TEACHING[self.loss.name](output, outputs[-1].detach())
        assert isinstance(total, Tensor), "there is a slice"
        return total


class EndsLearning(SandwichLearning):
    """Of the slices that a device carries the smallest and the largest learn alone."""

    @property
    def terms(self) -> int:
        """How many slices learn."""
        return min(super().terms, 2)

    def row_losses(self, params: Params, batch: Batch) -> Tensor:
        """Return the sum of both losses ``[batch]``."""
        outputs = self.forward(params, batch.x, every=True)
        return self.loss.rows(outputs[0], batch.y) + self.loss.rows(outputs[-1], batch.y)


def slower(slicing: Slicing, number: int) -> CarriedSlice:
    """Return the default rule's slice, which learns the slower in the rounds the larger it is."""
    carried = nested(slicing, number)
    learning = carried.rounds.learning.vary(rate=_RATES[number])
    return replace(carried, rounds=replace(carried.rounds, learning=learning))


class TiersOwn(nn.Module):
    """A perceptron of which each tier has an exit of its own, and may have biases of its own.

    Args:
        features: Width of the input.
        outputs: Width of the output.
        hidden: Units of the hidden layers.
        biases: Whether each tier has them.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (64, 64),
        biases: bool = False,
    ) -> None:
        super().__init__()
        self.sizes, self.hidden = (features, outputs), tuple(hidden)
        inputs = (features, *hidden[:-1])
        self.layers = nn.ModuleList(
            nn.Linear(into, units, bias=not biases)
            for into, units in zip(inputs, hidden, strict=True)
        )
        each = [slice_units(hidden, width, depth) for width, depth in _TIERS]
        self.exits = nn.ModuleList(nn.Linear(units[-1], outputs) for units in each)
        self.biases = nn.ModuleList(
            nn.ParameterList(torch.zeros(one) for one in units) for units in each if biases
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the largest slice's outputs ``[rows, outputs]``."""
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if len(self.biases):
                x = x + self.biases[-1][number]  # type: ignore[index]
            x = torch.relu(x)
        return self.exits[-1](x)  # type: ignore[no-any-return]

    def slice(self, width: float, depth: int) -> tuple[nn.Module, Mapping[str, Any]]:
        """Return the first units of the first layers, with what is the tier's own."""
        tier, units = _TIERS.index((width, depth)), slice_units(self.hidden, width, depth)
        at, before, found = places_in(self), self.sizes[0], dict[str, Any]()
        for number, rows in enumerate(units):
            found[f"{2 * number}.weight"] = at[f"layers.{number}.weight"][:rows, :before]
            own = f"biases.{tier}.{number}" if len(self.biases) else f"layers.{number}.bias"
            found[f"{2 * number}.bias"] = at[own][:rows]
            before = rows
        found[f"{2 * depth}.weight"] = at[f"exits.{tier}.weight"]
        found[f"{2 * depth}.bias"] = at[f"exits.{tier}.bias"]
        return mlp(*self.sizes, hidden=units), found


Changes = Sequence[tuple[Places, NDArray[np.float64], float]]


def weighed(
    start: NDArray[np.float32], changes: Changes, *, by: Sequence[float]
) -> NDArray[np.float64]:
    """Return what :func:`fedhome.models.slicing.integrate` does, with a weight for each tier."""
    each = zip(changes, by, strict=True)
    return integrate(start, [(places, change, w * tier) for (places, change, w), tier in each])


@dataclass(frozen=True, kw_only=True)
class SliceIdea:
    """One thing that is changed in the joint rounds.

    Args:
        told: It in words.
        rule: The rule in the place of the default one.
        weights: What a device of each tier counts, from the smallest.
        model: The model in the place of the plan's.
        rounds: Rounds more than the plan's.
    """

    told: str
    rule: SliceRule = nested
    weights: Sequence[float] = (1.0, 1.0, 1.0)
    model: Model | None = None
    rounds: int = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let simulations be run so, in this process."""
        here = "fedhome.simulations.engines.tier_shards.integrate"
        mean: Callable[..., Any] = partial(weighed, by=self.weights)
        with patch.dict(SLICE_RULES, {"nested": self.rule}), patch(here, mean):
            yield


TAIL: Final = 3
"""Rounds in which each tier's slice is tuned by itself."""

IDEAS: Final[Mapping[str, SliceIdea]] = {
    "as-is": SliceIdea(told="as it is"),
    "longer": SliceIdea(told=f"as it is, {TAIL} rounds more", rounds=TAIL),
    "plug-hub-more": SliceIdea(
        told="a plug counts twice, a hub four times in the mean", weights=(1, 2, 4)
    ),
    "sensor-more": SliceIdea(
        told="a plug counts half, a hub a quarter in the mean", weights=(1, 0.5, 0.25)
    ),
    "damped": SliceIdea(
        told=f"a larger slice's gradient counts {_COUNTS:g} in a smaller one's numbers",
        rule=partial(nested, together=DampedLearning),
    ),
    "taught": SliceIdea(
        told="smaller slices learn what the home's largest one answers, too (as DepthFL's exits "
        "do, one way)",
        rule=partial(nested, together=TaughtLearning),
    ),
    "ends": SliceIdea(
        told="a hub trains the sensor's slice and its own, not the plug's",
        rule=partial(nested, together=EndsLearning),
    ),
    "slower": SliceIdea(
        told="larger slices learn slower: " + ", ".join(f"{rate:g}" for rate in _RATES),
        rule=slower,
    ),
    "own-exits": SliceIdea(told="each tier has an exit of its own", model=TiersOwn),
    "own-biases": SliceIdea(
        told="each tier has an exit and biases of its own", model=partial(TiersOwn, biases=True)
    ),
}
"""What is changed in the joint rounds, by name."""
