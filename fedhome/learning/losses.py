"""Losses by name, row by row: to add one is one function and one row of the table.

No engine knows a loss: the three functions of local learning call it, and so train with it
wherever they run. A loss that the compiled kernel has machine code for says so in its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.plugins import look_up

if TYPE_CHECKING:  # a home that learns by the compiled kernel does without torch
    from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a model learns by.

    Args:
        name: Its name, for messages.
        rows: The loss of each row ``[batch]``, from the model's raw outputs ``[batch, outputs]``
            and the targets.
        labels: Whether targets are class numbers, int64 ``[batch]``; else they are numbers,
            float32 ``[batch, 1]``.
        fused_as: The compiled kernel's name for it; None: it is trained by the other kernels.
        in_numpy: The same as ``rows`` of float64 arrays, so that outputs are scored without torch;
            None: ``rows`` scores them.
    """

    name: str
    rows: Callable[[Tensor, Tensor], Tensor]
    labels: bool = False
    fused_as: str | None = None
    in_numpy: Callable[[Floats, NDArray[Any]], Floats] | None = None


def loss_of(loss: str | Loss) -> Loss:
    """Return a loss by name; one that is no name is itself.

    Raises:
        PluginError: There is no such loss.
    """
    return loss if isinstance(loss, Loss) else look_up(LOSSES, loss, "loss")


def scored(loss: Loss, output: NDArray[np.float32], y: NDArray[Any]) -> Floats:
    """Return the loss of each row of a model's raw outputs, float64 ``[rows]``.

    Args:
        loss: The loss; one that is not written in numpy loads torch.
        output: Raw outputs ``[rows, outputs]``.
        y: Targets, as of :func:`row_losses`.
    """
    if loss.in_numpy is not None:
        with np.errstate(all="ignore"):  # of a model that diverged; its score says so
            return loss.in_numpy(output.astype(np.float64), y)
    import torch  # noqa: PLC0415 - seldom needed, and large

    found = loss.rows(torch.from_numpy(output), torch.from_numpy(y))
    return np.asarray(found.double().numpy(), np.float64)


def row_losses(loss: str | Loss, output: Tensor, y: Tensor) -> Tensor:
    """Return the loss of each row, ``[batch]``.

    Args:
        loss: A loss, or its name.
        output: The model's raw outputs ``[batch, outputs]``.
        y: Targets: float32 ``[batch, 1]``, or int64 ``[batch]`` where they are class numbers.

    Raises:
        PluginError: There is no such loss.
    """
    return loss_of(loss).rows(output, y)


def _squared_error(output: Tensor, y: Tensor) -> Tensor:
    return ((output - y) ** 2).mean(dim=-1)


def _squared_error_in_numpy(output: Floats, y: NDArray[Any]) -> Floats:
    return np.asarray(((output - y) ** 2).mean(axis=-1), np.float64)


def _huber(output: Tensor, y: Tensor) -> Tensor:
    """Return the squared error near zero and a straight line beyond: outliers count for less.

    Source: Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics
    1964, with the bend at one unit of the target; twice his loss, so that it is the squared error.
    """
    far = (output - y).abs()
    near = far.clamp(max=1.0)
    return (near * (2.0 * far - near)).mean(dim=-1)


def _huber_in_numpy(output: Floats, y: NDArray[Any]) -> Floats:
    far = np.abs(output - y)
    near = np.minimum(far, 1.0)
    return np.asarray((near * (2.0 * far - near)).mean(axis=-1), np.float64)


def _binary_cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    from torch.nn import functional as F  # noqa: N812, PLC0415 - torch's own custom; who has none

    return F.binary_cross_entropy_with_logits(output, y, reduction="none").mean(dim=-1)


def _binary_cross_entropy_in_numpy(output: Floats, y: NDArray[Any]) -> Floats:
    return np.asarray((np.logaddexp(0.0, output) - output * y).mean(axis=-1), np.float64)


def _cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    from torch.nn import functional as F  # noqa: N812, PLC0415 - as above

    return F.cross_entropy(output, y, reduction="none")


def _cross_entropy_in_numpy(output: Floats, y: NDArray[Any]) -> Floats:
    below = output - output.max(axis=1, keepdims=True)
    own = np.take_along_axis(below, y[:, None], axis=1)[:, 0]
    return np.asarray(np.log(np.exp(below).sum(axis=1)) - own, np.float64)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss(
            name="mse",
            rows=_squared_error,
            fused_as="mse",
            in_numpy=_squared_error_in_numpy,
        ),
        Loss(name="huber", rows=_huber, fused_as="huber", in_numpy=_huber_in_numpy),
        Loss(
            name="bce",
            rows=_binary_cross_entropy,
            fused_as="bce",
            in_numpy=_binary_cross_entropy_in_numpy,
        ),
        Loss(
            name="cross-entropy",
            rows=_cross_entropy,
            labels=True,
            fused_as="cross-entropy",
            in_numpy=_cross_entropy_in_numpy,
        ),
    )
}
"""Every loss by its name."""
