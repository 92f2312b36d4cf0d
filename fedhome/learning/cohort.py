"""Homes that learn side by side: one on a device, thousands in the vector engine.

What a home does in a round, and how it personalises, is written once, over this interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.local import LocalLearning
from fedhome.learning.methods import Method


class Trained(NamedTuple):
    """Parameters float32 ``[homes, size]``; mean training loss of the last pass ``[homes]``."""

    params: NDArray[np.float32]
    losses: NDArray[np.float64]


class Measured(NamedTuple):
    """Mean loss float64 ``[homes]``; each metric float64 ``[homes]``."""

    losses: NDArray[np.float64]
    metrics: dict[str, NDArray[np.float64]]


class Cohort(ABC):
    """Homes that learn side by side; every array has the homes as its first dimension."""

    learning: LocalLearning
    homes: tuple[str, ...]

    @abstractmethod
    def counts(self, part: Part) -> NDArray[np.int64]:
        """Rows of a part, int64 ``[homes]``."""

    @abstractmethod
    def train(
        self,
        start: NDArray[np.float32],
        *,
        stream: int,
        epochs: int,
        part: Part = "train",
        rate: float = 1.0,
        method: Method | None = None,
    ) -> Trained:
        """Train every home, with an empty optimiser at the start.

        Args:
            start: Parameters ``[size]`` for all, or ``[homes, size]``.
            stream: Names the order of batches: the number of the round.
            epochs: Passes over the part.
            part: The rows to train on.
            rate: Multiple of the plan's learning rate.
            method: In place of the plan's.
        """

    @abstractmethod
    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        """Score parameters ``[size]`` or ``[homes, size]`` on a part."""

    @abstractmethod
    def compare(
        self, one: NDArray[np.float32], other: NDArray[np.float32], part: Part
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compare two sets of parameters row by row.

        Args:
            one: Parameters ``[size]`` or ``[homes, size]``.
            other: Parameters ``[size]`` or ``[homes, size]``.
            part: The rows.

        Returns:
            How much greater the mean loss of ``one`` is, ``[homes]``, and the standard error of
            that difference (its rows taken as independent), ``[homes]``.
        """

    @abstractmethod
    def baseline(self, part: Part) -> Measured:
        """Score the forecast without learning on a part; its losses are not defined (NaN)."""

    @abstractmethod
    def pick(self, homes: NDArray[np.int64]) -> Cohort:
        """Return the cohort of some of these homes, by their positions here."""
