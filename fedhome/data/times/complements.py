"""Rows of one time that complete one another: files, or rows, with a column each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.data.files.data_files import Raw
from fedhome.data.times.axis import Axis
from fedhome.data.times.column_cells import filled_cells
from fedhome.data.times.twins import column_codes
from fedhome.plan.reading_settings import ReadingSettings


def completed(
    raw: Raw, axis: Axis, *, times: Sequence[str], settings: ReadingSettings
) -> tuple[Raw, Axis]:
    """Join rows of one time of which no two hold something different in one column.

    Args:
        raw: The rows.
        axis: Their times.
        times: The columns that the times stand in.
        settings: Which further words mean that a cell holds nothing.

    Returns:
        The rows, those that are kept filled up from the others; and their times, without the
        twins that were joined.
    """
    if not axis.twins:
        return raw, axis
    names = [name for name in raw.rows.column_names if name not in times]
    twins, kept = axis.twin_rows, axis.rows[axis.twin_places]
    sources: dict[str, NDArray[np.bool_]] = {}
    against = np.zeros(len(twins), dtype=bool)
    for name in names:
        gives, clashes = _compared(raw.rows[name], twins, kept, settings)
        sources[name] = gives
        against |= clashes
    # A time with two rows that disagree keeps its last row as it is.
    clashing = np.isin(axis.twin_places, axis.twin_places[against])
    joined = ~clashing
    if not joined.any():
        return raw, axis
    rows = raw.rows
    for name, gives in sources.items():
        use = gives & joined
        if use.any():
            taken = np.arange(rows.num_rows)
            taken[kept[use]] = twins[use]
            place = rows.column_names.index(name)
            rows = rows.set_column(place, name, rows[name].take(pa.array(taken)))
    old = f"{counted(axis.twins, 'row')} with the time of a later row"
    notes = [note for note in axis.notes if not note.startswith(old)]
    count = int(joined.sum())
    what = "completes another row of its" if count == 1 else "complete another row of their"
    notes.append(f"{counted(count, 'row')} {what} time and {was(count)} joined")
    if left := int(clashing.sum()):
        notes.append(f"{counted(left, 'row')} with the time of a later row {was(left)} left out")
    return replace(raw, rows=rows), replace(
        axis,
        notes=tuple(notes),
        twin_rows=twins[clashing],
        twin_places=axis.twin_places[clashing],
    )


def _compared(
    column: pa.ChunkedArray,
    twins: NDArray[np.int64],
    kept: NDArray[np.int64],
    settings: ReadingSettings,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which twins hold what their kept row lacks, and which hold something else."""
    involved, place = np.unique(np.concatenate([twins, kept]), return_inverse=True)
    cells = column.take(pa.array(involved))
    filled = np.zeros(len(involved), dtype=bool)
    filled[filled_cells(cells, settings)[1]] = True
    codes = column_codes(cells)
    of_twin, of_kept = place[: len(twins)], place[len(twins) :]
    has, had = filled[of_twin], filled[of_kept]
    clashes = has & had & (codes[of_twin] != codes[of_kept])
    gives = has & ~had
    # Two twins of one row may both hold what it lacks.
    _, first, group = np.unique(kept[gives], return_index=True, return_inverse=True)
    given = codes[of_twin[gives]]
    clashes[np.flatnonzero(gives)[given != given[first][group]]] = True
    return gives, clashes
