"""What the server makes of the homes' updates: their mean, and part of the way to it."""

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from method import Shortening


class PartWay(Shortening):
    """The model moves only a share of the way to the homes' mean."""

    works_on_sums = True  # a mean is all that it needs: so it runs under secure aggregation

    def __init__(self, *, share: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.share = np.float32(share)

    def configure_train(self, server_round: int, arrays: ArrayRecord, *rest: Any) -> Any:
        """Keep what the round begins with."""
        self.before = arrays
        return super().configure_train(server_round, arrays, *rest)

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        """Move from there towards the mean."""
        mean, metrics = super().aggregate_train(server_round, replies)
        moved = {}
        for key, array in (mean or {}).items():
            before = self.before[key].numpy()
            moved[key] = Array(before + self.share * (array.numpy() - before))
        return (ArrayRecord(moved) if moved else None), metrics
