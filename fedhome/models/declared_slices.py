"""Slices that a module of a user's own declares, made and checked: every fault at once.

Such a module has a method ``slice(width, depth)`` that returns a smaller module, which trains and
predicts alone, and where each of its parameters lies in the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedhome.errors import ModelError
from fedhome.models.check import faults_of, faults_of_a_run
from fedhome.models.declared_places import (
    Declaration,
    faults_of_one,
    faults_together,
    named,
    uncovered,
)
from fedhome.models.mlp import with_keyed_dropouts
from fedhome.own_code import line_of
from fedhome.plan.settings import Plan
from fedhome.plan.slicing_settings import TierSettings
from fedhome.rng import key
from fedhome.wire.layout import Layout

_HINT = (
    "slice(width, depth) returns a module and where its parameters lie: docs/slicing.md, "
    '"Modules of your own"'
)


@dataclass(frozen=True, kw_only=True)
class DeclaredSlice:
    """One tier's slice of a module.

    Args:
        tier: The tier's settings.
        module: The slice, a module by itself.
        layout: Layout of its parameters.
        path: Where they lie in the whole, in the layout's order, int64 ``[size]``.
        carried: The places of this slice and of all smaller ones, sorted, int64 ``[carried]``: what
            a device of the tier holds and trains.
    """

    tier: TierSettings
    module: nn.Module
    layout: Layout
    path: NDArray[np.int64]
    carried: NDArray[np.int64]


def declared_slices(
    plan: Plan, whole: nn.Module, features: int, outputs: int
) -> tuple[DeclaredSlice, ...]:
    """Return the slices that a module declares for a plan's tiers, from the smallest.

    Args:
        plan: The plan, with tiers.
        whole: The module.
        features: Width of the input.
        outputs: Width of the output.

    Raises:
        ModelError: It declares none, or what it declares cannot be; all faults at once.
    """
    if not callable(getattr(whole, "slice", None)):
        raise ModelError(
            f"slicing.tiers are set, but {type(whole).__name__} has no method slice(width, depth) "
            "and does not say where its slices are",
            hint=_HINT,
        )
    layout, faults = _layout_of(whole), list[str]()
    made = list[tuple[TierSettings, nn.Module, Declaration]]()
    for tier in plan.slicing.in_order():
        found = _made(plan, whole, tier)
        if isinstance(found, str):
            faults.append(f"tier {tier.name}: {found}")
            continue
        module, places = found
        said = Declaration(tier=tier.name, layout=_layout_of(module), places=places)
        wrong = [
            *(faults_of(module) or faults_of_a_run(module, features, outputs)),
            *_shared(module, [whole, *(other for _, other, _ in made)]),
            *faults_of_one(said, layout),
        ]
        faults += [f"tier {tier.name}: {fault}" for fault in wrong]
        made.append((tier, module, said))
    if not faults:
        paths = [(said, said.path()) for _, _, said in made]
        faults = faults_together(paths)
        if left := uncovered(layout, np.concatenate([path for _, path in paths])):
            faults.append(left)
    if faults:
        raise ModelError(
            f"the slices that {type(whole).__name__} declares cannot be:"
            + "".join(f"\n  - {fault}" for fault in faults),
            hint=_HINT,
        )
    slices, carried = [], np.zeros(0, np.int64)
    for tier, module, said in made:
        carried = np.union1d(carried, path := said.path())
        slices.append(
            DeclaredSlice(
                tier=tier,
                module=with_keyed_dropouts(module),
                layout=said.layout,
                path=path,
                carried=carried,
            )
        )
    return tuple(slices)


def shells_in(slices: Sequence[DeclaredSlice]) -> tuple[NDArray[np.int64], ...]:
    """Return what each slice has and no smaller one: places that are disjoint."""
    before = [np.zeros(0, np.int64), *(one.carried for one in slices)]
    return tuple(np.setdiff1d(one.carried, less) for one, less in zip(slices, before, strict=False))


def _made(
    plan: Plan, whole: nn.Module, tier: TierSettings
) -> tuple[nn.Module, Mapping[str, object]] | str:
    """Return a tier's slice and where it says that it lies; what went wrong in a sentence."""
    asked = f"slice({tier.width:g}, {tier.depth})"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(plan.seed, "model"))  # a slice begins as a plan's own module does
        try:
            found: object = whole.slice(tier.width, tier.depth)  # type: ignore[operator]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
            line = line_of(error)
            text = error.message if isinstance(error, ModelError) else str(error)
            return f"{asked} fails: {line and line + ': '}{type(error).__name__}: {text}"
    if not isinstance(found, tuple | list) or len(found) != 2:  # noqa: PLR2004 - a pair
        return f"{asked} returned {type(found).__name__}, not a module and its places"
    module, places = found
    if not isinstance(module, nn.Module):
        return f"{asked} returned {type(module).__name__} in place of a torch.nn.Module"
    if not isinstance(places, Mapping):
        return (
            f"{asked} returned {type(places).__name__} in place of a table of places by parameter"
        )
    return module, places


def _shared(module: nn.Module, others: Sequence[nn.Module]) -> list[str]:
    """Return which parameters of a slice are the memory of another one, or of the whole."""
    held = {
        parameter.untyped_storage().data_ptr()
        for other in others
        for parameter in other.parameters()
    }
    faults, seen, taken = list[str](), dict[int, str](), list[str]()
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if parameter.is_meta:  # it has no memory, and does not run either
            continue
        where = parameter.data_ptr()
        if parameter.untyped_storage().data_ptr() in held:
            taken.append(name)
        elif where in seen:
            faults.append(
                f"its parameters {seen[where]} and {name} are one: a number of a slice has one "
                "place and one name"
            )
        seen.setdefault(where, name)
    if taken:
        faults.append(
            f"{named(taken)}: memory of the whole or of a smaller slice, not the slice's own; "
            "make it a module with parameters of its own"
        )
    return faults


def _layout_of(module: nn.Module) -> Layout:
    # Of shapes alone: what numbers a faulty slice has, numpy may not know.
    named = {name: tuple(p.shape) for name, p in module.named_parameters()}
    return Layout(tuple(named), tuple(named.values()))
