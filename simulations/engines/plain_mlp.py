"""Whether a module is a plain multilayer perceptron."""

from __future__ import annotations

from torch import nn


def mlp_widths(module: nn.Module) -> tuple[int, ...]:
    """Return the widths of Linear, ReLU, Linear, …, Linear; nothing for another module."""
    layers = list(module) if isinstance(module, nn.Sequential) else []
    linear = [layer for layer in layers[::2] if type(layer) is nn.Linear and layer.bias is not None]
    between = [layer for layer in layers[1::2] if type(layer) is nn.ReLU]
    if not linear or len(linear) != len(between) + 1 or len(linear) + len(between) != len(layers):
        return ()
    return (linear[0].in_features, *(layer.out_features for layer in linear))
