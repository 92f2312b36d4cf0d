"""Sums over shells of a sliced model: what one tier has of it and no smaller one.

Nested slices are added up shell by shell, each over the homes that carry it: a small device adds no
number that it does not have. Which shell a training is about comes with the question; a question
without one is about the first, which every home carries. Only that one sums more than the change:
the sums of two shells differ by a tier's homes, and would tell what these alone have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import LayoutError
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared, is_sliced
from fedhome.questions.settings import SHELL
from fedhome.wire.layout import Layout

if TYPE_CHECKING:
    from fedhome.models.slicing import SlicedShape


def shape_of(plan: Plan, layout: Layout) -> SlicedShape:
    """Return the slices of a plan's multilayer perceptron.

    Args:
        plan: The plan, with tiers.
        layout: Layout of the whole model.
    """
    from fedhome.models.slicing import slices_of  # noqa: PLC0415 - a plan without slices needs none

    shapes = layout.shapes
    return slices_of(plan, shapes[0][1], shapes[-1][0])  # the first layer's, the last exit's bias


def shells_of(plan: Plan, layout: Layout) -> Sequence[NDArray[np.int64]]:
    """Return where each shell's numbers lie in a plan's model, from the smallest tier's.

    Args:
        plan: The plan, with tiers.
        layout: Layout of the whole model; of a module of a user's own it says where they lie.

    Raises:
        LayoutError: It does not say so.
    """
    if not is_declared(plan):
        shape = shape_of(plan, layout)
        return [shape.shell(number) for number in range(len(shape.slices))]
    if len(layout.shells) != len(plan.slicing.tiers):
        raise LayoutError(
            f"layout {layout} does not say where the slices of {plan.model.name} lie",
            hint="the layout of what homes learn with does: fedhome.learning.build.learning_of",
        )
    return layout.shells


def shell_places(plan: Plan, layout: Layout, settings: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return which numbers of a model a training is to add up, in their order.

    Args:
        plan: The home's plan.
        layout: Layout of the whole model.
        settings: The settings that came with the question, held against the plan.
    """
    if not is_sliced(plan):
        return np.arange(layout.size)
    return shells_of(plan, layout)[int(settings.get(SHELL, 0))]


def shell_layout(plan: Plan, layout: Layout, settings: Mapping[str, Any]) -> Layout:
    """Return the layout of these numbers; of a plan without slices the model's own."""
    if not is_sliced(plan):
        return layout
    places = shell_places(plan, layout, settings)
    name = f"shell {settings.get(SHELL, 0)} of {layout.hash}"
    if is_declared(plan):  # two homes whose modules declare other slices have no sum in common
        name += f" at {hashlib.sha256(places.astype('<i8').tobytes()).hexdigest()[:16]}"
    return Layout((name,), ((len(places),),))
