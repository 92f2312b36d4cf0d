"""By what a home counts in a mean: its own plan says it, and no server can change that.

The sum of the weights is opened with every sum. Where the homes in it change from round to round,
linear algebra solves for single ones (:mod:`fedhome.secagg.rank`): what it finds is what homes have
put in. So a plan may let them put in less than their number of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedhome.plan.aggregation_settings import WeightRule
from fedhome.plan.settings import Plan

Counts = NDArray[np.int64]
_MOST = 1 << 30  # no sum takes a greater weight than its double


def weights_of(plan: Plan, examples: Counts) -> Counts:
    """Return by what homes count, int64 ``[homes]``; 0 for one that has no examples.

    Args:
        plan: The homes' plan.
        examples: How many examples each has, int64 ``[homes]``.
    """
    return _RULES[plan.aggregation.weights](examples)


def _rounded(examples: Counts) -> Counts:
    """Return the power of two whose ratio to each number is the smallest.

    Between 2^e and 2^(e+1) the middle is 2^e times the root of two: a number is above it where its
    square is above 2^(2e+1), which whole numbers decide exactly.
    """
    present = np.clip(examples, 1, _MOST)
    exponents = np.frexp(present)[1].astype(np.int64) - 1  # exact up to 2^53
    above = present * present > np.int64(1) << 2 * exponents + 1
    return np.where(examples > 0, np.int64(1) << exponents + above, 0)


def _equal(examples: Counts) -> Counts:
    return np.minimum(examples, 1)


MEANING: Mapping[WeightRule, str] = {
    "examples": "how many examples it has",
    "rounded": "how many examples it has, to the nearest power of two",
    "equal": "1, or 0 where it has nothing to add: all homes count alike",
}
"""What a home's weight tells of it."""

_RULES: Mapping[WeightRule, Callable[[Counts], Counts]] = {
    "examples": lambda examples: examples,
    "rounded": _rounded,
    "equal": _equal,
}
