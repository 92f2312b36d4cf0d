"""What every home trains: a straight line, and a bend that a hidden layer adds."""

import torch
from torch import Tensor, nn


class Forecaster(nn.Module):
    """It is built with the width of a row, the number of outputs, and `model.args` of the plan."""

    def __init__(self, features: int, outputs: int, width: int = 32) -> None:
        super().__init__()
        self.line = nn.Linear(features, outputs)
        self.hidden = nn.Linear(features, width)
        self.bend = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Predict: `[batch, features]` to `[batch, outputs]`."""
        return self.line(x) + self.bend(torch.relu(self.hidden(x)))
