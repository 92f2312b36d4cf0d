"""What a call of the compiled code is given, and what would let it leave its arrays."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClientWork(NamedTuple):
    """What clients are trained on, and how; as of ``FusedMLP.train``."""

    x: NDArray[np.float32]
    y: NDArray[Any]
    order: NDArray[Any]
    counts: NDArray[Any]
    batch_size: int
    epochs: int
    learning_rate: float

    @property
    def rows(self) -> int:
        """Rows of the largest batch, or 1."""
        return min(self.batch_size, max(1, int(self.counts.max(initial=0))))

    @property
    def begin(self) -> NDArray[np.int64]:
        """Where each client's order begins, and where the last one's ends."""
        ends: NDArray[np.int64] = np.concatenate(([0], np.cumsum(self.counts))) * self.epochs
        return ends

    def of(self, some: slice, begin: NDArray[np.int64]) -> ClientWork:
        """Return that of some neighbouring clients."""
        return self._replace(order=self.order[begin[some.start] :], counts=self.counts[some])


def order_faults(order: NDArray[Any], counts: NDArray[Any], *, rows: int, epochs: int) -> list[str]:
    """What would make the native code look for rows where there are none."""
    faults = [
        f"{name} is {array.dtype} {list(array.shape)}, not a row of integers"
        for name, array in (("order", order), ("counts", counts))
        if array.dtype.kind not in "iu" or array.ndim != 1
    ]
    if faults:
        return faults
    if counts.size and (counts.min() < 0 or counts.max() > order.size):
        faults.append("counts has numbers below 0 or above the length of order")
    elif order.size != int(counts.sum()) * epochs:
        faults.append(f"order has {order.size} row numbers, not epochs * the sum of counts")
    if order.size and not _within(order, rows):
        faults.append(f"order names rows outside 0 to {rows - 1}")
    return faults


def _within(order: NDArray[Any], rows: int) -> bool:
    """Say whether all row numbers are from 0 to ``rows - 1``."""
    if order.dtype == np.int64:  # read as unsigned, one below 0 is above all others
        return bool(order.view(np.uint64).max() < rows)
    return bool(order.min() >= 0 and order.max() < rows)


def shares_of(first_row: NDArray[np.int64], threads: int) -> list[slice]:
    """Cut the clients into neighbouring shares of about equally many rows."""
    goals = np.linspace(0, first_row[-1], threads + 1)[1:-1]
    bounds = [0, *(int(i) for i in np.searchsorted(first_row, goals)), len(first_row) - 1]
    return [slice(start, stop) for start, stop in pairwise(bounds) if start < stop]
