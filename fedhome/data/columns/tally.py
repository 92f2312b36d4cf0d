"""Counts of what occurs in a column, with the row where each first did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
_SAMPLE = 2**14


@dataclass(frozen=True)
class Piece:
    """A run of a column's rows, as its distinct cells.

    Args:
        start: Row of the column where the run begins.
        cells: Text, ``[cells]``.
        of_row: Which of ``cells`` each row has, ``[rows]``; None if row i has cell i.
    """

    start: int
    cells: pa.Array
    of_row: NDArray[np.int64] | None

    @staticmethod
    def of(start: int, rows: pa.Array) -> Piece:
        """Return the piece of some rows; they stay as they are where most of them differ."""
        sample = rows.slice(0, _SAMPLE)
        if 2 * len(sample.unique()) > len(sample):
            return Piece(start, rows, None)
        encoded = rows.dictionary_encode(null_encoding="encode")
        return Piece(start, encoded.dictionary, np.asarray(encoded.indices, dtype=np.int64))

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.cells if self.of_row is None else self.of_row)

    def spread(self, of_cells: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return for each row what its cell has, ``[rows]``."""
        return of_cells if self.of_row is None else of_cells[self.of_row]

    def with_cells(self, cells: pa.Array) -> Piece:
        """Return this piece with its cells written otherwise."""
        return Piece(self.start, cells, self.of_row)


@dataclass
class Tally:
    """How many rows have each code, and the first row of each."""

    counts: dict[int, int] = field(default_factory=dict)
    firsts: dict[int, int] = field(default_factory=dict)

    def add(self, start: int, codes: NDArray[np.int8] | NDArray[np.int16]) -> None:
        """Count the codes of a run of rows, ``[rows]``; what is below 0 does not count."""
        counts = np.bincount(codes[codes >= 0] if len(codes) and codes.min() < 0 else codes)
        for code in np.flatnonzero(counts).tolist():
            if code not in self.firsts:
                self.firsts[code] = start + int(np.argmax(codes == code))
            self.counts[code] = self.counts.get(code, 0) + int(counts[code])

    def count(self, *codes: int) -> int:
        """Return how many rows have one of these codes."""
        return sum(self.counts.get(code, 0) for code in codes)

    def first_of(self, codes: Iterable[int]) -> int:
        """Return the first row that has one of these codes, of which one at least occurs."""
        return min(self.firsts[code] for code in codes if code in self.firsts)

    def commonest(self) -> list[int]:
        """Return the codes, the commonest first."""
        return sorted(self.counts, key=lambda code: (-self.counts[code], code))
