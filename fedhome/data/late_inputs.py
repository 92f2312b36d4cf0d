"""Columns that begin after what is learnt from: without their like in training, they teach nothing.

Training rows are the earlier ones. Of a sensor that was bought last week, or of states that a
recorder keeps for ten days beside means of years, a model would meet the first reading in its test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.data.told_once import some
from fedhome.plan.data_settings import DataSettings


def late_columns(
    names: Sequence[str], tables: Sequence[HomeTable], data: DataSettings
) -> list[str]:
    """Return the columns that no home has a reading of in the earlier half of its target's.

    None, where the plan names its features, or cuts rows class by class: of a class that comes late
    the training rows are late as well.

    Args:
        names: The columns.
        tables: The homes, each with the target; of rows without times nothing is earlier.
        data: The plan's settings for data.
    """
    if data.features or data.split_by == "class":
        return []
    middles = [_middle(table, data.target) for table in tables]
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
    """Tell whether a column has no reading before a row that has rows before."""
    values = table.columns[name]
    return middle > 0 and not np.isfinite(values[0]) and not np.isfinite(values[:middle]).any()
