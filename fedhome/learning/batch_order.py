"""In which order a home's rows are learnt from, whatever computes the steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedhome import rng


def passes(
    keys: NDArray[np.uint64], counts: NDArray[np.int64], *, stream: int, epochs: int, rows: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Yield each pass's keys, and its rows in their order, ``[homes, most rows]``.

    Args:
        keys: The homes' keys, uint64 ``[homes]``.
        counts: Rows of each home ``[homes]``.
        stream: Names the order of batches: the number of the round.
        epochs: How many passes there are over each home's rows.
        rows: In place of these a single pass of as many rows in each home; 0: none.
    """
    if rows:
        own = rng.endless_shuffles(keys, counts, stream=stream, rows=rows)
        yield rng.epoch_keys(keys, stream, 0), own
        return
    for epoch in range(epochs):
        key = rng.epoch_keys(keys, stream, epoch)
        yield key, rng.shuffles(key, counts)
