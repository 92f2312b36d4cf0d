"""Where a pool's homes come from: each can be had by itself, whatever the others are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.simulations.homes.synthetic_fleet import generate_some, name_of_home


class HomePool(Protocol):
    """Homes that need not be in memory together."""

    @property
    def names(self) -> Sequence[str]:
        """Names of all homes, in a fixed order."""

    @abstractmethod
    def tables(self, homes: NDArray[np.int64]) -> list[HomeTable]:
        """Return the readings of some homes.

        Args:
            homes: Their positions in ``names``, int64 ``[homes]``.

        Raises:
            SourceError: They cannot be read.
        """


class SyntheticPool(HomePool):
    """The synthetic fleet: each home follows from the seed and its own number.

    Args:
        homes: How many there are.
        days: Days of readings of each.
        seed: The fleet's seed.
    """

    def __init__(self, *, homes: int, days: int, seed: int) -> None:
        self._days, self._seed = days, seed
        self._names = tuple(map(name_of_home, range(homes)))

    @property
    def names(self) -> Sequence[str]:
        """``home-0001`` onwards."""
        return self._names

    def tables(self, homes: NDArray[np.int64]) -> list[HomeTable]:
        """Simulate some homes; they come out as they do among all."""
        return list(generate_some(homes.tolist(), days=self._days, seed=self._seed))
