"""Numbers that cannot be right, or not be kept: told, once a column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.data.columns.column_read import Column, ColumnRead

LARGEST_WHOLE = 2**53
"""From it on, float64 has no place for some whole numbers."""

_BEYOND = 1000.0
_LEAST = 5  # of fewer numbers none stands out


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
        told.append(f"{count} infinite cells of {column.name} were read as missing")
        values = np.where(infinite, np.nan, values)
    if too_large:
        told.append(
            f"column {column.name!r}: {too_large} whole numbers are 2^53 or more and may have lost "
            "their last digits"
        )
    if far := _far_beyond(values, column):
        told.append(far)
    empty = bool(np.isnan(values).all())
    return ColumnRead(
        values=values,
        kind="empty" if empty else "number",
        unit="" if empty else unit,
        format="" if empty else format,
        notes=tuple(told),
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
    return (
        f"column {column.name!r}: {int(far.sum())} values are more than a thousand times beyond "
        f"the rest, the first in {column.location_of(int(np.argmax(far)))}; they were kept"
    )
