"""Homes that train only when somebody asks what they learnt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.simulations.engines.chunks import LateChunk

Learnt = tuple[NDArray[np.float32], NDArray[np.float64]]
PARAMS = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
LOSSES = np.array([0.5, 0.25])
SHARES = np.array([0.5, 0.25], np.float32)


class Trainer:
    """Counts how often it trains, and how."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def train(self) -> Learnt:
        """Return every home's parameters."""
        self.done.append("each")
        return PARAMS.copy(), LOSSES.copy()

    def train_sum(self, shares: NDArray[np.float32]) -> Learnt:
        """Return their sums, one a home."""
        self.done.append("sum")
        return shares[:, None] * PARAMS, LOSSES.copy()

    def chunk(self) -> LateChunk:
        """Return these homes, untrained."""
        return LateChunk(np.array([0, 1]), self.train, self.train_sum, each=1)


def test_a_sum_alone_trains_once_and_keeps_no_home() -> None:
    trainer = Trainer()
    chunk = trainer.chunk()
    assert trainer.done == []
    assert chunk.summed(SHARES).tolist() == [[0.5, 1.0], [0.75, 1.5]]
    assert chunk.losses.tolist() == LOSSES.tolist()
    assert trainer.done == ["sum"]


def test_whoever_asks_for_single_homes_has_them_and_their_sum_without_more_training() -> None:
    trainer = Trainer()
    chunk = trainer.chunk()
    assert chunk.losses.tolist() == LOSSES.tolist()
    assert chunk.params.tolist() == PARAMS.tolist()
    assert chunk.summed(SHARES).tolist() == [[0.5, 1.0], [0.75, 1.5]]
    assert trainer.done == ["each"]


def test_after_a_sum_that_is_of_no_use_homes_train_again_one_by_one() -> None:
    trainer = Trainer()
    chunk = trainer.chunk()
    chunk.summed(SHARES)
    chunk.params[1] = 0.0
    chunk.losses[1] = 0.0
    assert chunk.params.tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert chunk.losses.tolist() == [0.5, 0.0]
    assert trainer.done == ["sum", "each"]


def test_groups_have_as_many_homes_and_the_last_what_is_left() -> None:
    trainer = Trainer()
    chunk = LateChunk(np.arange(5), trainer.train, trainer.train_sum, each=2)
    assert chunk.groups == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert trainer.done == []
