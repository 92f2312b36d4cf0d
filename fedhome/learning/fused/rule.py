"""What a fused program can be asked for; free of llvmlite.

The losses and optimisers here are those that machine code can be written for: whoever asks for
another is told that it does not fit, and no table falls back on another's row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

LossName = Literal["mse", "huber", "bce", "cross-entropy"]
OptimiserName = Literal["sgd", "adam"]

LABELLED: Mapping[LossName, bool] = {
    "mse": False,
    "huber": False,
    "bce": False,
    "cross-entropy": True,
}
"""The losses, and whether a row's target is the number of its class, not one number an output."""


TERMS = frozenset({"proximal_mu"})
"""Settings of methods that there is code for."""


class Moments(NamedTuple):
    """What an optimiser keeps of a client's steps.

    Args:
        copies: Copies of the parameters' layout that begin with zeros.
        corrected: Whether its averages are corrected by how many steps there were.
    """

    copies: tuple[str, ...]
    corrected: bool


def moments_of(optimiser: OptimiserName, momentum: float) -> Moments:
    """Return what an optimiser keeps, with this momentum."""
    return {
        "sgd": Moments(("first",) if momentum else (), corrected=False),
        "adam": Moments(("first", "second"), corrected=True),
    }[optimiser]


@dataclass(frozen=True)
class Rule:
    """How parameters follow their gradients.

    Args:
        optimiser: ``"sgd"`` or ``"adam"``.
        momentum: Of SGD; 0 for none.
        weight_decay: Added to the gradient, times the parameter.
        proximal_mu: Pull towards the parameters that training began with.
        clip_norm: Largest L2 norm of a gradient, or None.
        summed: Whether a step's gradient is a sum over several networks.
    """

    optimiser: OptimiserName
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal_mu: float = 0.0
    clip_norm: float | None = None
    summed: bool = False

    @property
    def moments(self) -> tuple[str, ...]:
        """Copies of the parameters' layout that begin with zeros."""
        return moments_of(self.optimiser, self.momentum).copies

    @property
    def corrected(self) -> bool:
        """Whether averages of gradients are corrected by how many steps there were."""
        return moments_of(self.optimiser, self.momentum).corrected

    @property
    def kept(self) -> bool:
        """Whether gradients are stored before they are used: not before all of them are there."""
        return self.summed or self.clip_norm is not None

    @property
    def copies(self) -> tuple[str, ...]:
        """Every copy of the parameters' layout, in the order in which they lie in memory."""
        return (
            "parameters",
            *self.moments,
            *(("start",) if self.proximal_mu else ()),
            *(("gradient",) if self.kept else ()),
        )
