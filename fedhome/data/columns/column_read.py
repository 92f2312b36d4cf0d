"""What reading one column's cells gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

Kind = Literal["number", "flag", "words", "empty", "left out"]


@dataclass(frozen=True, kw_only=True)
class ColumnRead:
    """A column as numbers.

    Args:
        values: One for each row, float64 ``[rows]``, NaN where nothing was read: numbers, 1 and 0
            for true and false, or places in ``words``.
        kind: What the cells are; ``empty`` if nothing is in them, ``left out`` if what is in
            them is no reading (``notes`` say why): all values are NaN then.
        words: The different words of a column of words, sorted.
        unit: What one unit of a number is, as cells or the column's name say: ``kWh``; or empty.
        format: How the cells were written, in a few plain words.
        notes: What was assumed, converted or left out: plain sentences that name the column.
    """

    values: NDArray[np.float64]
    kind: Kind
    words: tuple[str, ...] = ()
    unit: str = ""
    format: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is known of a column before its cells are read.

    Args:
        name: As the file has it.
        settings: How the user wants cells to be read.
        location_of: Returns where a row is, for messages.
        numeric: Whether it must hold numbers.
    """

    name: str
    settings: ReadingSettings
    location_of: Callable[[int], str]
    numeric: bool = False

    def fault(self, row: int, message: str, *, hint: str) -> SourceError:
        """Return an error about a row; ``{column}`` in the message stands for the column."""
        about = message.format(column=f"column {self.name!r}")
        return SourceError(f"{self.location_of(row)}: {about}", hint=hint)

    def left_out(self, rows: int, why: str, *, first: int = 0) -> ColumnRead:
        """Return a column that holds no readings.

        Args:
            rows: How many it has.
            why: What it holds instead: the end of a sentence that begins with its name.
            first: A row that shows it.

        Raises:
            SourceError: It must hold numbers.
        """
        if self.numeric:
            raise self.fault(
                first,
                f"{{column}} must hold numbers, but it {why}",
                hint="choose a column of numbers, or correct what its cells hold",
            )
        return ColumnRead(
            values=np.full(rows, np.nan),
            kind="left out",
            notes=(f"column {self.name!r} was left out: it {why}",),
        )
