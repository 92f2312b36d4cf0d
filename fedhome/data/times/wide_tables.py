"""Tables whose times stand side by side in the header: a column a day, an hour or a quarter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fedhome.data.times.time_cells import CLOCK, DATE, MOMENT, parse
from fedhome.errors import SourceError

_FEWEST_MOMENTS = 3
_FEWEST_CLOCKS = 12


def told_wide(names: Sequence[str], times: Sequence[str], *, file: str) -> tuple[str, ...]:
    """Return a sentence about columns that are called by clock times, if there are many.

    Args:
        names: The columns' names.
        times: Those of the columns of times.
        file: The file's name, for messages.

    Raises:
        SourceError: No column holds times, and columns are called by dates instead.
    """
    others = [name.strip() for name in names if name not in times]
    kinds = parse(pa.chunked_array([pa.array(others, pa.string())])).kinds
    dated = [others[place] for place in np.flatnonzero((kinds == MOMENT) | (kinds == DATE))]
    if len(dated) >= _FEWEST_MOMENTS and not times:
        raise SourceError(
            f"{file}: its times stand side by side in the header: {len(dated)} columns are called "
            f"{dated[0]!r} to {dated[-1]!r}",
            hint="write a row for each time, its time in a column of its own: pandas.melt does so",
        )
    clocks = [others[place] for place in np.flatnonzero(kinds == CLOCK)]
    if len(clocks) < _FEWEST_CLOCKS:
        return ()
    called = f"{clocks[0]!r} to {clocks[-1]!r}"
    note = (
        f"{len(clocks)} columns are called by clock times, {called}: each was read as a column of "
        "its own, with one reading a row; for a series in time write their readings one below the "
        "other"
    )
    return (note,)
