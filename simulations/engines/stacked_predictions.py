"""What homes' own models put out for their own rows, many homes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fedhome.learning.local import LocalLearning
from fedhome.learning.params import Params
from fedhome.models.over_homes import over_homes


def predict_padded(
    learning: LocalLearning, params: Params, x: Tensor, index: Tensor, inside: Tensor
) -> Tensor:
    """Return each home's own predictions, one home after the other.

    Args:
        learning: The model.
        params: Stacked parameters, each ``[homes, ...]``.
        x: Inputs of the fleet ``[fleet's rows, features]``.
        index: The homes' rows, padded to as many each, ``[homes, rows]``.
        inside: Which of these are no padding, in order, ``[outputs' rows]``.

    Returns:
        Raw outputs ``[outputs' rows, outputs]``.
    """
    own = x.index_select(0, index.flatten()).view(*index.shape, x.shape[1])
    return predict_stacked(learning, params, own).flatten(0, 1).index_select(0, inside)


def predict_stacked(learning: LocalLearning, params: Params, x: Tensor) -> Tensor:
    """Return each home's own predictions.

    Args:
        learning: The model.
        params: Stacked parameters, each ``[homes, ...]``.
        x: Inputs ``[homes, rows, features]``.

    Returns:
        Raw outputs ``[homes, rows, outputs]``.
    """
    with torch.no_grad():
        outputs: Tensor = over_homes(learning.forward)(params, x)
        return outputs
