"""One home's readings as columns of numbers on a time axis, as every source delivers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import DataError, SourceError
from fedhome.plan.step_rule import Rule
from fedhome.printable import shown

CLOCKS_APART_S = 60
"""By as much, two clocks may differ: a reading from further ahead is told."""

_NAME_BYTES = 255
_OUR_DAYS_S = 600_000_000  # 1989: no table has this many rows
_APART_S = 3600  # of as many rows that are numbered, more than one is left


@dataclass(frozen=True, kw_only=True)
class HomeTable:
    """One home's readings: aligned columns, in the order of time.

    Args:
        home: The home's name, unique in the fleet.
        time_s: UTC seconds since 1970, int64 ``[rows]``, strictly increasing; for
            rows without a time of their own, the row numbers.
        columns: Column name to float64 ``[rows]``; NaN where nothing was read.
        time_zone: IANA name of the home's own zone, for calendar features.
        labels: Column name to the text of its classes, for columns whose numbers
            are class indices.
        units: Column name to its unit, for columns that say one.
        flags: Columns that were read as yes and no: 1 and 0.
        rules: Column name to how its readings become one a step, where the plan's ``data.rules``
            do not hold for this home: a meter that counts up among others' loads.

    Raises:
        SourceError: A name that is not one line of text.
        DataError: Columns of unequal length, or a time axis that does not increase.
    """

    home: str
    time_s: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    time_zone: str = "UTC"
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.home.isprintable() or not 1 <= len(self.home.encode()) <= _NAME_BYTES:
            raise SourceError(
                f"'{shown(self.home)[:_NAME_BYTES]}' cannot be the name of a home",
                hint="name its file, or its rows in the home's column, by 1 to "
                f"{_NAME_BYTES} bytes of one line of text in UTF-8",
            )
        if unknown := [rule for rule in self.rules.values() if rule not in get_args(Rule)]:
            raise DataError(
                f"home {self.home!r} has the rule {unknown[0]!r}, which there is not",
                hint=f"a rule is one of {', '.join(get_args(Rule))}",
            )
        rows = len(self.time_s)
        uneven = [name for name, column in self.columns.items() if len(column) != rows]
        if uneven:
            raise DataError(
                f"home {self.home!r}: {', '.join(uneven)} and the time axis differ in length",
                hint="every column needs one value per row; use an empty cell where none was read",
            )
        if rows > 1 and not bool(np.all(np.diff(self.time_s) > 0)):
            raise DataError(
                f"home {self.home!r}: its times do not increase strictly",
                hint="sort the rows by time and keep one row for each time",
            )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.time_s)

    @property
    def timeless(self) -> bool:
        """Whether the rows have no time of their own: their time is the row number.

        A first row at 0 whose last is of our days is a clock that was not set yet; and rows that
        lie hours apart, from 1970 on, are years, days or hours of those times.
        """
        if not self.rows or int(self.time_s[0]) != 0:
            return False
        return int(self.time_s[-1]) < min(_OUR_DAYS_S, _APART_S * max(self.rows - 1, 1))
