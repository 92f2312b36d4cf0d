"""States that hold until the next one, as one value for each span of time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NOTHING = -1
"""In place of a state's number: nothing is known."""


class RowSpans(NamedTuple):
    """Equal lengths of time, one for each row of a table.

    Args:
        numbers: Each one's number, counted from 1970, int64 ``[rows]``, strictly increasing.
        every_s: Seconds of one.
    """

    numbers: NDArray[np.int64]
    every_s: int


class Pieces(NamedTuple):
    """Stretches of time in which one state held, within one span each.

    Args:
        state: Which state, int64 ``[pieces]``.
        row: The span's place among all, int64 ``[pieces]``.
        seconds: How long, ``[pieces]``.
    """

    state: NDArray[np.int64]
    row: NDArray[np.int64]
    seconds: NDArray[np.float64]


def silenced(
    at_s: NDArray[np.float64], codes: NDArray[np.int64], ends_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return states of which none holds beyond moments from which on nothing was written.

    Args:
        at_s: When each state began, UTC seconds ``[states]``, never decreasing.
        codes: What it was; `NOTHING` where nothing is known, int64 ``[states]``.
        ends_s: Those moments, ``[ends]``.
    """
    both = np.concatenate([at_s, ends_s])
    order = np.argsort(both, kind="stable")
    told = np.concatenate([codes, np.full(len(ends_s), NOTHING, dtype=np.int64)])
    return both[order], told[order]


def pieces_of(at_s: NDArray[np.float64], codes: NDArray[np.int64], spans: RowSpans) -> Pieces:
    """Return where states held within spans; what is not known is no piece.

    Args:
        at_s: When each state began, UTC seconds ``[states]``, never decreasing.
        codes: What it was, as of `silenced`.
        spans: The spans.
    """
    if not len(at_s) or not len(spans.numbers):
        none = np.empty(0, dtype=np.int64)
        return Pieces(none, none, np.empty(0))
    edges = np.unique(np.concatenate([spans.numbers, spans.numbers + 1])) * float(spans.every_s)
    inside = at_s[(at_s > edges[0]) & (at_s < edges[-1])]
    moments = np.sort(np.concatenate([edges, inside]))
    begins, seconds = moments[:-1], np.diff(moments)
    state = np.searchsorted(at_s, begins, side="right") - 1
    span = (begins // spans.every_s).astype(np.int64)
    row = np.minimum(np.searchsorted(spans.numbers, span), len(spans.numbers) - 1)
    held = (state >= 0) & (seconds > 0) & (spans.numbers[row] == span)
    held &= codes[np.maximum(state, 0)] != NOTHING
    return Pieces(state[held], row[held], seconds[held])


def means_of(values: NDArray[np.float64], pieces: Pieces, rows: int) -> NDArray[np.float64]:
    """Return the mean over the time of each span in which a number is known ``[rows]``, else NaN.

    Args:
        values: Each state's number, ``[states]``.
        pieces: Where the states held.
        rows: How many spans there are.
    """
    numbers = values[pieces.state]
    known = np.isfinite(numbers)
    row, seconds = pieces.row[known], pieces.seconds[known]
    length = np.bincount(row, seconds, rows)
    total = np.bincount(row, numbers[known] * seconds, rows)
    means = np.full(rows, np.nan)
    np.divide(total, length, out=means, where=length > 0)
    return means


def lasts_of(codes: NDArray[np.int64], pieces: Pieces, rows: int) -> NDArray[np.int64]:
    """Return the last state of each span, int64 ``[rows]``; `NOTHING` where none is known.

    Args:
        codes: What each state was, ``[states]``.
        pieces: Where they held, in the order of time.
        rows: How many spans there are.
    """
    last = np.full(rows, NOTHING, dtype=np.int64)
    last[pieces.row] = codes[pieces.state]  # of several, the last one stays
    return last
