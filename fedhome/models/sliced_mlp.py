"""A multilayer perceptron with an exit at each depth, which computes all of its slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedhome.models.mlp import KeyedDropout
from fedhome.models.slicing import SlicedShape


class SlicedMLP(nn.Module):
    """The whole of some nested slices.

    Args:
        shape: The slices.
        dropout: Share of hidden units dropped in training.
    """

    def __init__(self, shape: SlicedShape, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape, self.dropout = shape, dropout
        inputs = (shape.features, *shape.hidden[:-1])
        self.layers = nn.ModuleList(map(nn.Linear, inputs, shape.hidden))
        self.exits = nn.ModuleDict(
            {str(d): nn.Linear(shape.exits[d], shape.outputs) for d in sorted(shape.exits)}
        )
        self.drops = nn.ModuleList(
            KeyedDropout(dropout, place) for place in range(len(shape.hidden) if dropout else 0)
        )

    def forward(self, x: Tensor, *, every: bool = False) -> Tensor:
        """Return the whole's outputs ``[rows, outputs]``.

        Args:
            x: Inputs ``[rows, features]``.
            every: All slices' outputs ``[slices, rows, outputs]``, the whole's last.
        """
        slices = self.shape.slices if every else self.shape.slices[-1:]
        outputs = [self._of_slice(x, widths) for widths in slices]
        return torch.stack(outputs) if every else outputs[0]

    def _of_slice(self, x: Tensor, widths: tuple[int, ...]) -> Tensor:
        for number, units in enumerate(widths):
            x = functional.relu(_part(self.layers[number], x, units))
            if len(self.drops):
                x = self.drops[number](x)
        exit_ = self.exits[str(len(widths))]
        return _part(exit_, x, self.shape.outputs)


def _part(layer: nn.Module, x: Tensor, units: int) -> Tensor:
    """Return what the first units of a layer make of its first inputs ``[rows, inputs]``."""
    assert isinstance(layer, nn.Linear), "layers and exits are made so"
    return functional.linear(x, layer.weight[:units, : x.shape[-1]], layer.bias[:units])
