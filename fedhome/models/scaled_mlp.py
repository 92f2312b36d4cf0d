"""A multilayer perceptron whose hidden layers are made larger, as narrow ones are in HeteroFL."""

from __future__ import annotations

from torch import Tensor, nn

from fedhome.models.mlp import mlp


class ScaledMLP(nn.Module):
    """The network of :func:`fedhome.models.mlp.mlp`, each hidden layer times a factor.

    Parameters have the same names and shapes as there.

    Args:
        features: Width of the input, ``[batch, features]``.
        outputs: Width of the output.
        hidden: Units of the hidden layers.
        factors: What each hidden layer's outcome is multiplied by before ReLU.
        dropout: Share of hidden units dropped in training.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        hidden: tuple[int, ...],
        factors: tuple[float, ...],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.factors = factors
        for name, layer in mlp(features, outputs, hidden=hidden, dropout=dropout).named_children():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``[batch, outputs]``."""
        factors = iter((*self.factors, 1.0))
        for layer in self.children():
            x = layer(x)
            if isinstance(layer, nn.Linear):
                x = x * next(factors)
        return x
