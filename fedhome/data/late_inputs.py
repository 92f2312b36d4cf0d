"""Columns that begin after what is learnt from: without their like in training, they teach nothing.

Training rows are the earlier ones. Of a sensor that was bought last week, or of states that a
recorder keeps for ten days beside means of years, a model would meet the first reading in its test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.data.told_once import some


def late_columns(names: Sequence[str], tables: Sequence[HomeTable], target: str) -> list[str]:
    """Return the columns that no home has a reading of in the earlier half of its target's.

    Args:
        names: The columns.
        tables: The homes; of rows without times nothing is earlier.
        target: The column to predict, which every home has.
    """
    middles = [_middle(table, target) for table in tables]
    return [
        name
        for name in names
        if all(_begins_late(table, name, row) for table, row in zip(tables, middles, strict=True))
    ]


def told_late(names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on columns that are left out so, if there are any.

    Args:
        names: The columns, as of `late_columns`.
    """
    if not names:
        return ()
    told = f"left out: {some(names)}, as nothing was read there in the earlier half of the rows"
    return (f"{told}, from which is learnt; data.features takes them all the same",)


def _middle(table: HomeTable, target: str) -> int:
    """Return the row in the middle of those that have the target; 0 where rows have no times."""
    if table.timeless:
        return 0
    rows = np.flatnonzero(np.isfinite(table.columns[target]))
    return int(rows[len(rows) // 2]) if len(rows) else 0


def _begins_late(table: HomeTable, name: str, middle: int) -> bool:
    """Tell whether a home has a column, and no reading in it before a row that has rows before."""
    if name not in table.columns:
        return True
    values = table.columns[name]
    return middle > 0 and not np.isfinite(values[0]) and not np.isfinite(values[:middle]).any()
