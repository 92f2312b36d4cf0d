"""random-k: in each round some numbers of the model travel, the same for all homes.

The numbers are dealt at random into as many parts as rounds that it takes to send all of them, by a
seed that everybody knows; each round sends one part, and after the last the deal is made anew. So
none waits for longer than two deals.

Source: Konečný et al., "Federated learning: strategies for improving communication efficiency",
2016, section 3 (random mask; there each client draws one of its own). Stich, Cordonnier, Jaggi,
"Sparsified SGD with memory", NeurIPS 2018, section 2 (rand-k, and the memory of what was not sent).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.plan.settings import Plan


@dataclass(frozen=True)
class RandomK:
    """The numbers of one model.

    Args:
        seed: The plan's seed.
        size: How many numbers an update has.
        parts: In how many rounds each of them travels once.
    """

    seed: int
    size: int
    parts: int

    @classmethod
    def of(cls, plan: Plan, size: int) -> RandomK:
        """Return the stage; its share is the largest part of the whole that the plan allows."""
        return cls(plan.seed, size, min(parts_of(plan.transfer.share), size))

    def numbers(self, number: int) -> int:
        """Return how many numbers travel in a round."""
        return len(self.places(number))

    def places(self, number: int) -> NDArray[np.int64]:
        """Return which numbers travel in a round, ascending.

        Args:
            number: Number of the round, from 1.
        """
        deal, part = divmod(number - 1, self.parts)
        return _dealt(self.seed, self.size, self.parts, deal)[part]

    def encode(self, change: NDArray[Any], number: int) -> NDArray[Any]:
        """Return the numbers of this round, ``[homes, numbers]``."""
        return np.ascontiguousarray(change[:, self.places(number)])

    def decode(self, carried: NDArray[Any], number: int) -> NDArray[Any]:
        """Return updates with these numbers in place and zero elsewhere, ``[homes, size]``."""
        change = np.zeros((len(carried), self.size), carried.dtype)
        change[:, self.places(number)] = carried
        return change


_ROUNDING = 1e-9


def parts_of(share: float) -> int:
    """Return in how many rounds each number travels once, where a share of them travels in each."""
    return max(1, int(np.ceil(1 / share - _ROUNDING)))


@lru_cache(maxsize=4)
def _dealt(seed: int, size: int, parts: int, deal: int) -> tuple[NDArray[np.int64], ...]:
    order = rng.generator(seed, "random-k", deal).permutation(size).astype(np.int64)
    dealt = tuple(np.sort(part) for part in np.array_split(order, parts))
    for part in dealt:
        part.setflags(write=False)
    return dealt
