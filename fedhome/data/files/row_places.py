"""Which rows of a file were kept, so that a message can name a row as a user finds it."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray


class RowPlaces:
    """Keeps count of a file's rows while they are read a batch at a time."""

    def __init__(self) -> None:
        self._skipped = array("q")
        self._batches: list[tuple[int, NDArray[np.bool_] | None]] = []

    def skip(self, row: int) -> None:
        """Note that the parser gave no row for the file's row of this number, from 0."""
        self._skipped.append(row)

    def add(self, count: int, kept: NDArray[np.bool_] | None) -> None:
        """Note a batch of rows of the parser, and which of them are kept (None: all)."""
        self._batches.append((count, kept))

    def kept(self) -> NDArray[np.int64] | None:
        """Return the number in the file of each kept row, from 0; None where it is its own."""
        if not self._skipped and all(mask is None for _, mask in self._batches):
            return None
        given = sum(count for count, _ in self._batches)
        numbers = np.arange(given + len(self._skipped), dtype=np.int64)
        if self._skipped:
            numbers = np.delete(numbers, np.frombuffer(self._skipped, dtype=np.int64))
        masks = [np.ones(n, np.bool_) if mask is None else mask for n, mask in self._batches]
        if masks:
            numbers = numbers[np.concatenate(masks)]
        if not len(numbers) or numbers[-1] == len(numbers) - 1:
            return None
        return numbers
