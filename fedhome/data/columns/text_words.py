"""A column of words as places in its sorted words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc

from fedhome.data.columns.column_read import Column, ColumnRead
from fedhome.data.columns.tally import Piece
from fedhome.data.columns.text_numbers import CellParser, trimmed

MOST_WORDS = 1000
"""Of more different words, a column has no classes."""

_FEW_ROWS = 50


def read_words(
    pieces: Iterable[Piece],
    parser: CellParser,
    column: Column,
    *,
    rows: int,
    filled: int,
    numbers: int,
) -> ColumnRead:
    """Read a column of words; one in which nearly every cell has its own is left out.

    Args:
        pieces: The column's cells.
        parser: Knows which words stand for a missing reading.
        column: What is known of it.
        rows: How many rows it has.
        filled: Those that hold something.
        numbers: Those that hold a number.
    """
    places: dict[str, int] = {}
    values = np.full(rows, np.nan)
    for piece in pieces:
        encoded = trimmed(piece.cells).dictionary_encode()
        silent = parser.say_nothing(encoded.dictionary)
        own = np.full(len(encoded.dictionary) + 1, np.nan)  # the last one is of no word
        for index, word in enumerate(encoded.dictionary.to_pylist()):
            if not silent[index]:
                own[index] = places.setdefault(word, len(places))
        if len(places) > MOST_WORDS:
            return column.left_out(
                rows, f"holds words, more than {MOST_WORDS} different ones: too many for classes"
            )
        of_cell = own[np.asarray(pc.fill_null(encoded.indices, -1))]
        values[piece.start : piece.start + piece.rows] = piece.spread(of_cell)
    if filled > _FEW_ROWS and 2 * len(places) > filled:
        return column.left_out(
            rows, f"holds words, {len(places)} different ones in {filled} cells: no classes"
        )
    words = sorted(places)
    rank = np.empty(len(words))
    rank[[places[word] for word in words]] = np.arange(len(words))
    there = ~np.isnan(values)
    values[there] = rank[values[there].astype(np.int64)]
    notes = []
    if numbers:
        notes.append(
            f"column {column.name!r}: {numbers} of its {filled} cells are numbers; they were read "
            "as words like the rest"
        )
    return ColumnRead(
        values=values, kind="words", words=tuple(words), format="words", notes=tuple(notes)
    )
