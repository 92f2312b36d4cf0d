"""Numbers with units in their cells, as numbers of one unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome.data.columns.column_read import Column
from fedhome.data.columns.tally import Tally
from fedhome.data.columns.units import conversion, converted, unit_of_name

_BARE = 0


def one_unit(
    values: NDArray[np.float64],
    unit_rows: NDArray[np.int16] | None,
    units: Tally,
    names: Sequence[str],
    column: Column,
) -> tuple[NDArray[np.float64], str, tuple[str, ...]]:
    """Return a column's numbers in the unit that most of its cells have.

    Args:
        values: float64 ``[rows]``, each in its own unit.
        unit_rows: Place in ``names`` of each row's unit, int16 ``[rows]``; None if none has one.
        units: Rows of each place.
        names: Units, the empty one first: of a cell without a unit, the column's name tells it.
        column: Their column.

    Returns:
        The numbers, the unit and sentences about what was converted.

    Raises:
        SourceError: Units of different quantities, or cells without a unit beside cells with one.
    """
    named = unit_of_name(column.name)
    if unit_rows is None:
        return values, named, ()
    counts = {names[place]: count for place, count in units.counts.items() if place != _BARE}
    bare = units.count(_BARE)
    if bare and not named:
        raise column.fault(
            units.first_of([_BARE]),
            "the cell in {column} has no unit, though other cells of it have one",
            hint="give every cell its unit, or none; or say the unit in the column's name, as in "
            "`load (kWh)`",
        )
    if bare:
        counts[named] = counts.get(named, 0) + bare
    if not counts:  # nothing but zeros that say nothing of their unit
        counts = {names[int(unit_rows.max())]: 1}
    unit = max(counts, key=lambda name: counts[name])
    result = values.copy()
    notes = []
    for place in sorted(units.counts):
        own = names[place] if place != _BARE else named
        if own == unit:
            continue
        if conversion(own, unit) is None:
            raise column.fault(
                units.first_of([place]),
                f"the cell in {{column}} is in a unit that cannot be converted to {unit}, the unit "
                "of other cells of it",
                hint="give the readings of each quantity a column of their own",
            )
        rows = unit_rows == place
        result[rows] = converted(values[rows], own, unit)
        notes.append(
            f"column {column.name!r}: {units.counts[place]} cells in {own} were converted to "
            f"{unit}, the commonest unit in it"
        )
    if named and named != unit and not bare:
        notes.append(
            f"column {column.name!r}: its cells are in {unit}, though its name says {named}"
        )
    return result, unit, tuple(notes)
