"""Rows that arrive, behind some that were read before: these tell how columns are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.files.data_files import Raw
from fedhome.data.times.long_tables import pivoted
from fedhome.plan.reading_settings import ReadingSettings


@dataclass(frozen=True)
class NewRows:
    """Which rows were not read before: those from a number on, or what a pivot makes of them.

    Args:
        known: How many rows at the beginning were read before.
        cells: Where each column that a pivot makes has a reading of a new row, ``[rows]``.
    """

    known: int
    cells: Mapping[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, raw: Raw, settings: ReadingSettings, known: int) -> NewRows:
        """Find them in rows that are not pivoted yet.

        Raises:
            SourceError: As of `pivoted`.
        """
        if not known or not settings.pivot:
            return cls(known, {})
        value = settings.pivot[-1]
        if value not in raw.rows.column_names:  # whoever pivots says so
            return cls(known, {})
        nothing = raw.rows[value].is_null().to_numpy()
        numbers = pa.array(np.arange(raw.rows.num_rows), mask=nothing)
        rows = raw.rows.set_column(raw.rows.column_names.index(value), value, numbers)
        found = pivoted(replace(raw, rows=rows), settings).rows
        cells = {
            name: np.asarray(found[name].fill_null(-1).to_numpy() >= known, dtype=bool)
            for name in found.column_names[1:]
        }
        return cls(known, cells)

    def there(self, rows: int, column: str = "") -> NDArray[np.bool_]:
        """Return which rows are new, or where a column has a new reading, ``[rows]``.

        Args:
            rows: How many there are.
            column: The column; empty: any.
        """
        if column in self.cells:
            return self.cells[column]
        found = np.arange(rows) >= self.known
        for number, cells in enumerate(self.cells.values()):
            found = found | cells if number else cells
        return found
