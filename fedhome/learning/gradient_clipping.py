"""Clipping of gradients: no step of a home's training is longer than the plan says.

Not to be taken for the clipping of updates (:mod:`fedhome.learning.update_clipping`), which a
server asks for, and which shortens what a home learnt in a whole round.

Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks",
ICML 2013, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedhome.learning.params import Params
from fedhome.plan.settings import TrainSettings

_EPSILON = 1e-6  # as torch.nn.utils.clip_grad_norm_


def clipped(gradient: Params, train: TrainSettings) -> Params:
    """Return a gradient whose L2 norm, over all parameters, is at most ``train.clip_norm``."""
    if not train.clip_norm:
        return gradient
    first, *others = ((g * g).sum() for g in gradient.values())
    norm = sum(others, start=first).sqrt()
    scale = (train.clip_norm / (norm + _EPSILON)).clamp(max=1.0)
    return {name: g * scale for name, g in gradient.items()}


def fused(train: TrainSettings) -> Mapping[str, float | None]:
    """Return what the compiled kernel is told to do the same."""
    return {"clip_norm": train.clip_norm or None}
