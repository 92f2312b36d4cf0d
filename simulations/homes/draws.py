"""Random draws for many homes at once, each home from a stream of its own.

A value drawn for a home depends on the seed, the purpose and the home's index only, never
on its neighbours in the array: home 7 is the same home in a fleet of 8 and of 20 000.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome import rng

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Streams:
    """One random stream for each home, all of one purpose.

    Draw what describes a home first, and :meth:`uniforms` or :meth:`normals` last and once:
    then a longer simulation continues the shorter one, with the same homes in it.

    Args:
        seed: The fleet's seed.
        purpose: What is drawn ("people", "fridge"): other purposes never shift these draws.
        homes: The homes' indices in the fleet, ``[homes]``.
    """

    def __init__(self, seed: int, purpose: str, homes: Sequence[int]) -> None:
        self._streams = [rng.generator(seed, "homes", purpose, home) for home in homes]

    def uniform(self, low: float | Floats = 0.0, high: float | Floats = 1.0) -> Floats:
        """Draw evenly from ``[low, high)``, float64 ``[homes]``."""
        return low + (high - low) * np.array([stream.random() for stream in self._streams])

    def normal(self, mean: float | Floats, spread: float) -> Floats:
        """Draw from a normal distribution of standard deviation `spread`, float64 ``[homes]``."""
        return mean + spread * np.array([stream.standard_normal() for stream in self._streams])

    def lognormal(self, median: float | Floats, spread: float) -> Floats:
        """Draw positive values whose logarithms deviate by `spread`, float64 ``[homes]``."""
        return median * np.array([stream.lognormal(0.0, spread) for stream in self._streams])

    def chance(self, probability: float | Floats) -> Bools:
        """Draw whether something holds, bool ``[homes]``."""
        return self.uniform() < probability

    def pick(self, shares: Sequence[float]) -> Ints:
        """Draw one of several kinds by their shares (which sum to 1), int64 ``[homes]``."""
        edges = np.cumsum(shares)[:-1]
        return np.searchsorted(edges, self.uniform(), side="right").astype(np.int64)

    def weekdays(self, probability: float | Floats) -> Bools:
        """Draw the weekdays on which a home has a habit, bool ``[homes, 7]``, Monday first."""
        return np.stack([self.chance(probability) for _ in range(7)], axis=1)

    def uniforms(self, rows: int, width: int) -> Floats:
        """Draw evenly from ``[0, 1)`` for each day or step, float64 ``[width, homes, rows]``."""
        return self._in_rows([stream.random((rows, width)) for stream in self._streams])

    def normals(self, rows: int, width: int) -> Floats:
        """Draw standard normal values, float64 ``[width, homes, rows]``."""
        return self._in_rows([stream.standard_normal((rows, width)) for stream in self._streams])

    @staticmethod
    def _in_rows(drawn: list[Floats]) -> Floats:
        return np.ascontiguousarray(np.moveaxis(np.stack(drawn), 2, 0))
