"""Which of torch's learning the compiled kernel knows: plain networks, and nested slices of one."""

from __future__ import annotations

from torch import nn

from fedhome.learning.compiled import kernel_for, why_not_compiled
from fedhome.learning.fused import FusedMLP
from fedhome.learning.local import LocalLearning
from fedhome.learning.slice_rules.nested import SandwichLearning
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


def why_torch(learning: LocalLearning) -> str:
    """Return why the compiled kernel does not fit what is to be learnt; empty where it does.

    Args:
        learning: What is to be learnt.
    """
    plain = type(learning) in {LocalLearning, SandwichLearning}
    if not plain and (isinstance(learning.model, SlicedMLP) or mlp_widths(learning.model)):
        return f"its steps are not plain ones: {type(learning).__name__}"
    return why_not_compiled(learning, *_networks(learning))


def compiled_of(learning: LocalLearning) -> FusedMLP:
    """Return the compiled kernel for what is to be learnt; this process compiles it.

    Args:
        learning: What is to be learnt.

    Raises:
        EngineError: It does not fit; ask `why_torch` beforehand.
    """
    widths, slices = _networks(learning)
    return kernel_for(learning, widths, slices=slices)


def _networks(learning: LocalLearning) -> tuple[Widths, tuple[Widths, ...]]:
    """Return the widths that are trained, and those of slices in them; none of another model."""
    if type(learning) is SandwichLearning:
        return sliced_widths(learning.model)
    return mlp_widths(learning.model), ()
