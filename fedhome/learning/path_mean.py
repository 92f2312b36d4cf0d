"""The mean of what a training reaches after each pass: the later a pass, the more it counts.

The last pass alone depends on the order of its batches; a mean of the path errs less, and costs
nothing but a second copy of the parameters. Training itself goes on from where it is.

Source: Shamir and Zhang, "Stochastic gradient descent for non-smooth optimization", ICML 2013,
section 4: polynomial-decay averaging, with eta = 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ETA = 3


def path_mean(
    mean: NDArray[np.float32], params: NDArray[np.float32], passes: int
) -> NDArray[np.float32]:
    """Return the mean with one pass more: ``mean + 4 / (passes + 3) * (params - mean)``.

    After the first pass it is the parameters themselves, to the bit. Where a path is not finite,
    neither is its mean from there on.

    Args:
        mean: The mean of the passes before, float32 ``[homes, size]``; not used at the first.
        params: What this pass reached, of the same shape.
        passes: Which pass it was, from 1.
    """
    if passes == 1:
        return params
    with np.errstate(over="ignore", invalid="ignore"):  # a path that exploded scores as the worst
        moved = params - mean
        moved *= np.float32((1 + _ETA) / (passes + _ETA))
        moved += mean
    return moved
