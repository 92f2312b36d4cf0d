"""Whether a module is a plain multilayer perceptron, or one with plain slices."""

from __future__ import annotations

from torch import nn

from fedhome.models.sliced_mlp import SlicedMLP
from fedhome.models.slicing import Widths


def mlp_widths(module: nn.Module) -> tuple[int, ...]:
    """Return the widths of Linear, ReLU, Linear, …, Linear; nothing for another module."""
    layers = list(module) if isinstance(module, nn.Sequential) else []
    linear = [layer for layer in layers[::2] if type(layer) is nn.Linear and layer.bias is not None]
    between = [layer for layer in layers[1::2] if type(layer) is nn.ReLU]
    if not linear or len(linear) != len(between) + 1 or len(linear) + len(between) != len(layers):
        return ()
    return (linear[0].in_features, *(layer.out_features for layer in linear))


def sliced_widths(module: nn.Module) -> tuple[Widths, tuple[Widths, ...]]:
    """Return the widths of a network with plain slices, and their hidden layers.

    Nothing for another module, and for one whose training drops units.
    """
    if type(module) is not SlicedMLP or module.dropout:
        return (), ()
    shape = module.shape
    return (shape.features, *shape.hidden, shape.outputs), shape.slices
