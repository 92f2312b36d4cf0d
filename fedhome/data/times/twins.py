"""Rows of one time: exact copies, and rows that hold something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.data.times.time_cells import SECOND_US

# Rows that differ get the same number about once in 2**64.
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(31)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Rows of which each has a second of its own.

    Args:
        us: UTC microseconds since 1970, int64 ``[kept]``, increasing.
        rows: The row of each, int64 ``[kept]``.
        twin_rows: Rows that were left out though they hold something else, int64 ``[twins]``.
        twin_places: The entry of ``rows`` that took the place of each, int64 ``[twins]``.
        notes: What was left out, in plain sentences.
    """

    us: NDArray[np.int64]
    rows: NDArray[np.int64]
    twin_rows: NDArray[np.int64]
    twin_places: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def without_twins(
    table: pa.Table,
    us: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    leave: Sequence[str],
    naive: bool,
) -> Kept:
    """Keep the last row of each second.

    Args:
        table: All columns.
        us: UTC microseconds since 1970, int64 ``[read]``, increasing.
        rows: The row of ``table`` of each, int64 ``[read]``.
        leave: Columns that do not count where rows are compared: those of the time.
        naive: Whether local times were read as UTC for want of a zone.
    """
    seconds = us // SECOND_US
    same = seconds[1:] == seconds[:-1]
    none = np.empty(0, dtype=np.int64)
    if not same.any():
        return Kept(us=us, rows=rows, twin_rows=none, twin_places=none)
    last = np.append(~same, True)
    place = np.cumsum(last) - last  # of the row that is kept, among those kept
    involved = np.flatnonzero(np.append(same, False) | np.append(False, same))
    codes = row_codes(table, rows[involved], [n for n in table.column_names if n not in leave])
    order = np.lexsort((codes, place[involved]))
    copy = np.zeros(len(us), dtype=bool)
    equal = (codes[order][1:] == codes[order][:-1]) & (np.diff(place[involved][order]) == 0)
    # Of equal rows the later one stays; the kept row is the last of all.
    copy[involved[order][:-1][equal]] = True
    finer = ~last & (us != us[last][place])
    copy &= ~last & ~finer
    twin = ~last & ~copy & ~finer
    notes = []
    if count := int(copy.sum()):
        what = "is an exact copy" if count == 1 else "are exact copies"
        notes.append(f"{counted(count, 'row')} {what} of another row and {was(count)} left out")
    if count := int(finer.sum()):
        notes.append(
            f"{counted(count, 'row')} in the same second as a later row {was(count)} "
            "left out: times are kept to the second"
        )
    if count := int(twin.sum()):
        notes.append(
            f"{counted(count, 'row')} with the time of a later row {was(count)} left out"
            + ("; if clocks were set back then, give data.time_zone" if naive else "")
        )
    return Kept(
        us=us[last],
        rows=rows[last],
        twin_rows=rows[twin],
        twin_places=place[twin],
        notes=tuple(notes),
    )


def row_codes(table: pa.Table, rows: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.uint64]:
    """Return a number for each of some rows, the same for rows that hold the same in all columns.

    Args:
        table: All columns.
        rows: The rows to compare, int64 ``[compared]``.
        names: The columns that count.
    """
    codes = np.zeros(len(rows), dtype=np.uint64)
    for name in names:
        column = column_codes(table[name].take(pa.array(rows))).astype(np.uint64)
        codes = (codes ^ (codes >> _HALF) ^ (column + _STEP)) * _MIX
    return codes


def column_codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for each cell, the same for the same content, int64 ``[cells]``."""
    if pa.types.is_nested(column.type) or pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=np.int64)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([]).dictionary_encode()
    return np.asarray(encoded.indices, dtype=np.int64)
