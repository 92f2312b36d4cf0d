"""Slices as a module of a user's own declares them: any places, trained as nested ones are.

In the rounds a device holds its slice and all smaller ones, and trains them by one gradient, the
sum of their losses, as the default rule does; a number that several slices have is one number. For
all else its slice is the module that was declared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedhome.learning.local import LocalLearning
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules.carried import Carried, CarriedSlice
from fedhome.learning.slice_rules.nested import SandwichLearning
from fedhome.models.declared_slices import DeclaredSlice, declared_slices
from fedhome.models.mlp import KeyedDropout
from fedhome.plan.settings import Plan
from fedhome.wire.layout import Layout


class JointSlices(nn.Module):
    """Several slices over one array of numbers, which each takes its own from.

    Args:
        slices: The slices, from the smallest.
        initial: The numbers that the largest device carries, float32 ``[carried]``.
    """

    def __init__(self, slices: Sequence[DeclaredSlice], initial: Tensor) -> None:
        super().__init__()
        self.numbers = nn.Parameter(initial)
        carried = slices[-1].carried
        # Not registered: their own parameters are no more than the shapes of what they are given.
        self._parts = tuple(
            (
                copy.deepcopy(one.module),
                one.layout,
                torch.from_numpy(np.searchsorted(carried, one.path)),
                tuple(_keys_of(one.module)),
            )
            for one in slices
        )
        self.draws = KeyedDropout(0.0) if any(keys for *_, keys in self._parts) else None

    @property
    def count(self) -> int:
        """How many slices there are."""
        return len(self._parts)

    def forward(self, x: Tensor, *, every: bool = False) -> Tensor:
        """Return the largest slice's outputs ``[rows, outputs]``.

        Args:
            x: Inputs ``[rows, features]``.
            every: All slices' outputs ``[slices, rows, outputs]``, the largest one's last.
        """
        outputs = [self._of(part, x) for part in (self._parts if every else self._parts[-1:])]
        return torch.stack(outputs) if every else outputs[0]

    def _of(self, part: tuple[nn.Module, Layout, Tensor, tuple[str, ...]], x: Tensor) -> Tensor:
        module, layout, places, keys = part
        params = _named(self.numbers.index_select(0, places), layout)
        if self.draws is not None:
            params |= dict.fromkeys(keys, self.draws.key)
        return functional_call(module, params, (x,))  # type: ignore[no-any-return]


class JointLearning(SandwichLearning):
    """The same of slices that a module declares."""

    @property
    def terms(self) -> int:
        """How many slices there are."""
        assert isinstance(self.model, JointSlices), "slices are learnt of one"
        return self.model.count


def carried_as_declared(
    plan: Plan, whole: LocalLearning, features: int
) -> tuple[CarriedSlice, ...]:
    """Return what devices of each tier carry, from the smallest, as the plan's module declares it.

    Args:
        plan: The plan, with tiers.
        whole: Learning of the whole module.
        features: Width of the input.

    Raises:
        ModelError: What it declares cannot be; all faults at once.
    """
    slices = declared_slices(plan, whole.model, features, whole.task.outputs)
    found = []
    for number, one in enumerate(slices):
        own = Carried(
            learning=LocalLearning(one.module, whole.task, whole.train, whole.method),
            places=SlicePlaces(whole.layout, one.path),
        )
        rounds = own
        if number:
            model = JointSlices(
                slices[: number + 1], torch.from_numpy(whole.initial[one.carried].copy())
            )
            rounds = Carried(
                learning=JointLearning(model, whole.task, whole.train, whole.method),
                places=SlicePlaces(whole.layout, one.carried),
            )
        found.append(
            CarriedSlice(
                tier=one.tier.name,
                own=own,
                rounds=rounds,
                numbers=len(rounds.places.places),
                told=f"width {one.tier.width:g} and depth {one.tier.depth}",
            )
        )
    return tuple(found)


def _keys_of(module: nn.Module) -> Iterator[str]:
    """Yield the names of a module's buffers that dropouts draw by."""
    for name, part in module.named_modules():
        if isinstance(part, KeyedDropout):
            yield f"{name}.key" if name else "key"


def _named(flat: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Return numbers ``[size]`` as a layout's parameters by name."""
    parts = torch.split(flat, list(layout.sizes))
    named = zip(layout.names, layout.shapes, parts, strict=True)
    return {name: part.view(shape) for name, shape, part in named}
