"""Slices cut out of a finished module of a user's own, as its tiers trained them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedhome.errors import LayoutError
from fedhome.models.declared_slices import declared_slices
from fedhome.models.mlp import build_model
from fedhome.models.slice_cut import SliceCut
from fedhome.plan.settings import Plan
from fedhome.wire.layout import Layout


class DeclaredCut(NamedTuple):
    """A slice, and the module that computes it, with its numbers in place."""

    cut: SliceCut
    module: nn.Module


def declared_cuts(
    plan: Plan, parameters: Mapping[str, NDArray[np.float32]], features: int, outputs: int
) -> tuple[DeclaredCut, ...]:
    """Return each tier's slice of a finished model, from the smallest.

    Args:
        plan: The run's plan; its module's code is run.
        parameters: The whole model's arrays by name.
        features: Width of the input.
        outputs: Width of the output.

    Raises:
        LayoutError: The code has changed: the module has other parameters than the model.
        PluginError: The module's code is not found, or fails.
        ModelError: The slices that it declares cannot be; all faults at once.
    """
    whole = build_model(plan, features, outputs)
    layout = Layout.of(parameters)
    own = Layout(
        tuple(name for name, _ in whole.named_parameters()),
        tuple(tuple(one.shape) for _, one in whole.named_parameters()),
    )
    if own != layout:
        raise LayoutError(
            f"{plan.model.name} has parameters {own} here, and the model has {layout}",
            hint="take the code that the run was made with",
        )
    flat, found = layout.flatten(parameters), list[DeclaredCut]()
    for one in declared_slices(plan, whole, features, outputs):
        arrays = one.layout.unflatten(flat[one.path])
        cut = SliceCut(
            hidden=(),
            width=one.tier.width,
            depth=one.tier.depth,
            parameters=arrays,
            tier=one.tier.name,
        )
        with torch.no_grad():
            for name, parameter in one.module.named_parameters():
                parameter.copy_(torch.from_numpy(arrays[name].copy()))
        found.append(DeclaredCut(cut, one.module))
    return tuple(found)
