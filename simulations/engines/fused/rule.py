"""What a fused program can be asked for; free of llvmlite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LossName = Literal["mse", "bce", "cross-entropy"]
OptimiserName = Literal["sgd", "adam"]


@dataclass(frozen=True)
class Rule:
    """How parameters follow their gradients.

    Args:
        optimiser: ``"sgd"`` or ``"adam"``.
        momentum: Of SGD; 0 for none.
        weight_decay: Added to the gradient, times the parameter.
        proximal_mu: Pull towards the parameters that training began with.
        clip_norm: Largest L2 norm of a gradient, or None.
    """

    optimiser: OptimiserName
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal_mu: float = 0.0
    clip_norm: float | None = None

    @property
    def moments(self) -> tuple[str, ...]:
        """Copies of the parameters' layout that begin with zeros."""
        if self.optimiser == "adam":
            return ("first", "second")
        return ("first",) if self.momentum else ()

    @property
    def copies(self) -> tuple[str, ...]:
        """Every copy of the parameters' layout, in the order in which they lie in memory."""
        return (
            "parameters",
            *self.moments,
            *(("start",) if self.proximal_mu else ()),
            *(("gradient",) if self.clip_norm is not None else ()),
        )
