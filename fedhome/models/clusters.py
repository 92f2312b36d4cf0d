"""Several models side by side, of which each home uses the one that suits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CHOICE: Final = "choice"
"""Name of the parameter that is 1 at the model in use and 0 at the others, ``[models]``."""


class Clusters(nn.Module):
    """Modules of one shape; the one at which ``choice`` is greatest answers.

    The others have no part in it, whatever their numbers are: their gradients are zero.

    Args:
        models: The modules.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.choice = nn.Parameter(torch.eye(len(models))[0])

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the one that is chosen."""
        outputs = torch.stack([model(x) for model in self.models])  # [models, batch, outputs]
        # No choice by index: its gradient has no form for many homes at once that can be traced.
        used = (self.choice == self.choice.max()).reshape(-1, 1, 1)
        return torch.where(used, outputs, torch.zeros_like(outputs)).sum(0)


def prefix_of(model: int) -> str:
    """Return what the names of one model's parameters begin with."""
    return f"models.{model}."


def chosen(params: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the parameters of the model that is in use, by the names that it has alone.

    Args:
        params: All parameters, by name.
    """
    prefix = prefix_of(int(np.argmax(params[CHOICE])))
    return {n.removeprefix(prefix): p for n, p in params.items() if n.startswith(prefix)}
