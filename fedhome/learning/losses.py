"""Losses by name, row by row: to add one is one function and one row of the table.

No engine knows a loss: the three functions of local learning call it, and so train with it
wherever they run. A loss that the compiled kernel has machine code for says so in its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from fedhome.plugins import look_up


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
    """

    name: str
    rows: Callable[[Tensor, Tensor], Tensor]
    labels: bool = False
    fused_as: str | None = None


def loss_of(loss: str | Loss) -> Loss:
    """Return a loss by name; one that is no name is itself.

    Raises:
        PluginError: There is no such loss.
    """
    return loss if isinstance(loss, Loss) else look_up(LOSSES, loss, "loss")


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


def _huber(output: Tensor, y: Tensor) -> Tensor:
    """Return the squared error near zero and a straight line beyond: outliers count for less.

    Source: Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics
    1964, with the bend at one unit of the target; twice his loss, so that it is the squared error.
    """
    far = (output - y).abs()
    near = far.clamp(max=1.0)
    return (near * (2.0 * far - near)).mean(dim=-1)


def _binary_cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, y, reduction="none").mean(dim=-1)


def _cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(output, y, reduction="none")


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss(name="mse", rows=_squared_error, fused_as="mse"),
        Loss(name="huber", rows=_huber, fused_as="huber"),
        Loss(name="bce", rows=_binary_cross_entropy, fused_as="bce"),
        Loss(name="cross-entropy", rows=_cross_entropy, labels=True, fused_as="cross-entropy"),
    )
}
"""Every loss by its name."""
