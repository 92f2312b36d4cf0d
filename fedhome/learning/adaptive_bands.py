"""A band that follows what comes: wider after truths outside of it, narrower after truths inside.

A band from validation rows holds for rows that are like these; in a home that changes it holds too
few, or too many. So each end moves, in shares of the band's width, by a step after each truth: out
by nine tenths of the step where the truth lay beyond it, in by one tenth where it did not. What
lies beyond an end is then one in ten in the long run whatever comes: over T rows the share differs
from a tenth by no more than how far the end has moved, over T steps. It moves in widths; where the
band is narrower than a third of the median error that has come, which holds hardly anything, in
such errors. So a band of no width, of validation rows without an error, grows as well.

Source: Gibbs, Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021,
equation 2 and proposition 4.1; that it is the end which moves, and not the level at which residuals
are cut, is from Angelopoulos, Candès, Tibshirani, "Conformal PID control for time series
prediction", NeurIPS 2023, section 2.1: of validation rows no residuals need be kept.
"""

from __future__ import annotations

from bisect import insort
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.bands import LEVEL
from fedhome.learning.tasks.segments import Floats

STEP: Final = 0.05
"""How far an end moves at most after a truth, in widths of the band.

Chosen of 0 to 0.2 by validation rows of a set of real homes and of a synthetic one, their second
half foretold by bands of the first (docs/decisions/073).
"""
_TAIL: Final = (1.0 - LEVEL) / 2
_NARROW: Final = 1 / 3


class BandEnds(NamedTuple):
    """The ends of a band that follows, added to predictions, ``[rows]`` each."""

    low: Floats
    high: Floats


def follow(
    errors: Floats,
    low: Floats,
    high: Floats,
    *,
    counts: NDArray[np.bool_],
    known_before: NDArray[np.int64],
    step: float = STEP,
) -> BandEnds:
    """Return how far a band reaches at each row, by what was known when the row was predicted.

    Args:
        errors: The truth less the prediction, in the order of time ``[rows]``.
        low: The lower end of the band to begin with, added to a prediction ``[rows]``.
        high: The upper end ``[rows]``.
        counts: Rows whose truth moves the band: known, and none of those that the model or its
            band were fitted to ``[rows]``.
        known_before: Of each row, of how many rows from the first on the truth had come when it was
            predicted ``[rows]``: never more than rows before it, nor fewer than of the one before.
        step: As :data:`STEP`.
    """
    width = high - low
    moved = np.zeros((len(errors), 2))
    below = above = 0.0
    heard, sizes = 0, list[float]()
    for row in range(len(errors)):
        for past in range(heard, int(known_before[row])):
            if counts[past]:
                insort(sizes, abs(float(errors[past])))
                beneath = errors[past] < low[past] - moved[past, 0] * width[past]
                beyond = errors[past] > high[past] + moved[past, 1] * width[past]
                below += step * (float(beneath) - _TAIL)
                above += step * (float(beyond) - _TAIL)
        heard = max(heard, int(known_before[row]))
        moved[row] = below, above
        if sizes and width[row] < _NARROW * sizes[len(sizes) // 2]:
            width[row] = sizes[len(sizes) // 2]
    ends = low - moved[:, 0] * width, high + moved[:, 1] * width
    middle = (ends[0] + ends[1]) / 2
    return BandEnds(np.minimum(ends[0], middle), np.maximum(ends[1], middle))
