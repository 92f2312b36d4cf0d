"""int8 and int4: nothing is left out; the sum's grid is coarser.

The grid is the sum's own (:mod:`fedhome.secagg.fixedpoint`): one public scale for all homes, from
the greatest update that the last rounds had, and rounding at random, which is right on average. Its
bits are :func:`fedhome.plan.transfer_plan.bits_of`, so the form of a sum says them.

Source: Suresh, Yu, Kumar, McMahan, "Distributed mean estimation with limited communication", ICML
2017, section 2 (stochastic k-level quantisation; there each client has a scale of its own, which
cannot be added up under masks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fedhome.plan.settings import Plan


@dataclass(frozen=True)
class GridAlone:
    """Updates as they are.

    Args:
        size: How many numbers an update has.
    """

    size: int

    @classmethod
    def of(cls, plan: Plan, size: int) -> GridAlone:
        """Return the stage."""
        del plan
        return cls(size)

    def numbers(self, number: int) -> int:
        """Return how many numbers travel: all."""
        del number
        return self.size

    def encode(self, change: NDArray[Any], number: int) -> NDArray[Any]:
        """Return updates as they are."""
        del number
        return change

    def decode(self, carried: NDArray[Any], number: int) -> NDArray[Any]:
        """Return updates as they are."""
        del number
        return carried
