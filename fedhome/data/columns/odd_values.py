"""Numbers that cannot be right, or not be kept: told, once a column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.data.columns.column_read import Column, ColumnRead

LARGEST_WHOLE = 2**53
"""From it on, float64 has no place for some whole numbers."""

_BEYOND = 1000.0
_LEAST = 5  # of fewer numbers none stands out
_NOTHING = np.array(
    [sign * size for size in (999, 999.9, 9999, 9999.9, 99999, 99999.9, 999999) for sign in (1, -1)]
    + [-99, -99.9, 32767, -32768, 65535, -2147483648]
)
"""Numbers that weather services, loggers and meters write where nothing was measured."""


def number_column(
    values: NDArray[np.float64],
    column: Column,
    *,
    unit: str,
    format: str,  # noqa: A002  (as the field of ColumnRead)
    notes: tuple[str, ...] = (),
    too_large: int = 0,
) -> ColumnRead:
    """Return a column of numbers, with sentences about those that stand out.

    Args:
        values: float64 ``[rows]``; what is infinite becomes NaN.
        column: Their column.
        unit: As of :class:`~fedhome.data.columns.column_read.ColumnRead`.
        format: Likewise.
        notes: Likewise; more are put behind them.
        too_large: How many whole numbers were not below :data:`LARGEST_WHOLE`.
    """
    told = list(notes)
    infinite = np.isinf(values)
    if count := int(infinite.sum()):
        told.append(
            f"{counted(count, 'infinite cell')} of {column.name} {was(count)} read as missing"
        )
        values = np.where(infinite, np.nan, values)
    if too_large:
        told.append(
            f"column {column.name!r}: {too_large} whole numbers are 2^53 or more and may have lost "
            "their last digits"
        )
    marks = _apart(values)
    if len(marks):
        told.append(_like_nothing(values, marks, column))
    if far := _far_beyond(np.where(np.isin(values, marks), np.nan, values), column):
        told.append(far)
    empty = bool(np.isnan(values).all())
    return ColumnRead(
        values=values,
        kind="empty" if empty else "number",
        unit="" if empty else unit,
        format="" if empty else format,
        notes=tuple(told),
    )


def _apart(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return which numbers of :data:`_NOTHING` lie further apart than the others differ."""
    marked = np.isin(values, _NOTHING)
    if not marked.any():
        return np.empty(0)
    marks = np.unique(values[marked])
    rest = values[~marked & ~np.isnan(values)]
    if not len(rest):
        return marks if len(marks) == 1 and np.count_nonzero(marked) >= _LEAST else np.empty(0)
    least, most = float(rest.min()), float(rest.max())
    between = np.maximum(least - marks, marks - most)
    return marks[(between > most - least) & (np.abs(marks) > max(-least, most))]


def _like_nothing(values: NDArray[np.float64], marks: NDArray[np.float64], column: Column) -> str:
    """Return a sentence about numbers that may say that there is no reading."""
    which = np.isin(values, marks)
    count = int(which.sum())
    cells = "1 cell holds" if count == 1 else f"{count} cells hold"
    listed = [f"{mark:.10g}" for mark in marks]
    setting = ", ".join(f'"{mark}"' for mark in listed)
    return (
        f"column {column.name!r}: {cells} {' or '.join(listed)}, which many files write where "
        f"nothing was measured, the first in {column.location_of(int(np.argmax(which)))}; they "
        f"were kept as readings (data.na_values = [{setting}] takes them for missing ones)"
    )


def _far_beyond(values: NDArray[np.float64], column: Column) -> str:
    """Return a sentence about values a thousand times beyond the rest; empty if there are none."""
    sizes = np.abs(values[~np.isnan(values) & (values != 0)])
    if len(sizes) < _LEAST:
        return ""
    place = int(0.99 * (len(sizes) - 1))
    limit = float(np.partition(sizes, place)[place]) * _BEYOND
    if not sizes.max() > limit:
        return ""
    far = np.abs(values) > limit
    count = int(far.sum())
    lies = "lies" if count == 1 else "lie"
    return (
        f"column {column.name!r}: {counted(count, 'value')} {lies} more than a thousand times "
        f"beyond the rest, the first in {column.location_of(int(np.argmax(far)))}, and "
        f"{was(count)} kept"
    )
