"""What a home keeps of the models that it could: never one that says nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.cohort import Cohort


def sound_params(
    cohort: Cohort, candidates: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the first parameters that hold in each home, and which homes have any.

    Parameters hold if all of them are finite and so is their loss on the home's own rows. What is
    kept anywhere comes from here: where nothing holds there is the forecast without learning.

    Args:
        cohort: The homes.
        candidates: Parameters in the order in which they are wanted, ``[homes, size]`` or
            ``[size]``: refitted, as stopped early, global.

    Returns:
        float32 ``[homes, size]``, zeros where nothing holds; bool ``[homes]``.
    """
    size = candidates[0].shape[-1]
    kept = np.zeros((len(cohort.homes), size), np.float32)
    found = np.zeros(len(cohort.homes), np.bool_)
    for candidate in candidates:
        wanted = np.flatnonzero(~found)
        if not len(wanted):
            break
        params = np.broadcast_to(candidate, kept.shape)[wanted]
        losses = cohort.pick(wanted).evaluate(params, "train+validation").losses
        holds = np.isfinite(params).all(axis=1) & np.isfinite(losses)
        kept[wanted[holds]], found[wanted[holds]] = params[holds], True
    return kept, found
