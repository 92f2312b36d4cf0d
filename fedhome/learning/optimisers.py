"""Optimisers by name: to add one is one function and one row of the table.

Each is a pure function from the gradient to the direction of a step; the memory that it keeps
between steps lies in *slots*, one tensor a parameter each. The learning rate, clipping and weight
decay are no matter of theirs (:mod:`fedhome.learning.local`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedhome.learning.params import Params
from fedhome.plan.settings import TrainSettings
from fedhome.plugins import look_up

if TYPE_CHECKING:  # the names are read where torch is not needed
    from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam, Kingma and Ba, ICLR 2015

Slots = dict[str, Params]


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """How parameters follow their gradients.

    Args:
        name: Its name.
        slots: Names of what it keeps between steps, with these settings; each begins with zeros.
        direction: From the settings, the slots, the gradient and the number of steps before this
            one (a float32 tensor without dimensions): the slots, what the learning rate is
            multiplied with, and the number of steps where it counts them.
        fused_as: The compiled kernel's name for it; None: it is trained by the other kernels.
    """

    name: str
    slots: Callable[[TrainSettings], tuple[str, ...]]
    direction: Callable[[TrainSettings, Slots, Params, Tensor], tuple[Slots, Params, Tensor]]
    fused_as: str | None = None


def optimiser_of(train: TrainSettings) -> Optimiser:
    """Return the optimiser that the settings name.

    Raises:
        PluginError: There is no such optimiser.
    """
    return look_up(OPTIMISERS, train.optimiser, "optimiser")


def _sgd_slots(train: TrainSettings) -> tuple[str, ...]:
    return ("momentum",) if train.momentum else ()


def _sgd(
    train: TrainSettings, slots: Slots, gradient: Params, count: Tensor
) -> tuple[Slots, Params, Tensor]:
    """Plain or heavy-ball descent, as ``torch.optim.SGD`` has it."""
    if not train.momentum:
        return slots, gradient, count
    moved = {n: train.momentum * slots["momentum"][n] + g for n, g in gradient.items()}
    return {"momentum": moved}, moved, count


def _adam(
    train: TrainSettings, slots: Slots, gradient: Params, count: Tensor
) -> tuple[Slots, Params, Tensor]:
    """Adam: Kingma and Ba, "Adam: A method for stochastic optimization", ICLR 2015, algorithm 1."""
    del train
    count = count + 1
    mean = {n: _BETA1 * slots["mean"][n] + (1 - _BETA1) * g for n, g in gradient.items()}
    square = {n: _BETA2 * slots["square"][n] + (1 - _BETA2) * g * g for n, g in gradient.items()}
    first, second = 1 - _BETA1**count, (1 - _BETA2**count).sqrt()
    step = {n: (m / first) / (square[n].sqrt() / second + _EPSILON) for n, m in mean.items()}
    return {"mean": mean, "square": square}, step, count


OPTIMISERS: dict[str, Optimiser] = {
    optimiser.name: optimiser
    for optimiser in (
        Optimiser(name="sgd", slots=_sgd_slots, direction=_sgd, fused_as="sgd"),
        Optimiser(
            name="adam", slots=lambda _: ("mean", "square"), direction=_adam, fused_as="adam"
        ),
    )
}
"""Every optimiser by its name."""
