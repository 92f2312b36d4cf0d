"""What one file of readings becomes, and how a file that cannot be read is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.columns.row_units import name_of_units
from fedhome.errors import SourceError

UNNAMED = "(unnamed)"
"""What a column without a name is called; further ones are ``(unnamed) 2``, ``(unnamed) 3``."""
MOST_COLUMNS = 20_000
TEXT_HINT = "save it again as CSV in UTF-8 with a header row, or as Parquet"
_ROW_NAMES_HINT = (
    "give every column a name; of the names of rows that R writes, col.names = NA gives them one, "
    "and row.names = FALSE leaves them out"
)


@dataclass(frozen=True, kw_only=True)
class FileTable:
    """The rows of one file.

    Args:
        name: The file's name, as messages give it.
        rows: The rows; cells of text files are text.
        format: How the file was written, in a few plain words.
        notes: What was assumed or left out, in plain sentences.
        units: Units by column, where a row below the header gives them, or the file's kind.
        time: The column of times, where the file's kind says it; columns are readings then.
        places: Row of the file, from 0 below the header, of each row; None where they are the
            file's rows one after the other.
    """

    name: str
    rows: pa.Table
    format: str
    notes: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    time: str = ""
    places: NDArray[np.int64] | None = None

    @property
    def length(self) -> int:
        """Rows of the file down to the last one that was kept."""
        if self.places is None or not len(self.places):
            return int(self.rows.num_rows)
        return int(self.places[-1]) + 1


def unreadable(name: str, reason: str, *, hint: str = TEXT_HINT) -> SourceError:
    """Return the error for a file that cannot be read.

    Args:
        name: The file's name.
        reason: Why, without anything that a cell holds.
        hint: What to do about it.
    """
    return SourceError(f"{name} cannot be read: {reason}", hint=hint)


def uneven(name: str, *, row: int, cells: int, names: int) -> SourceError:
    """Return the error for a row that is not as long as the header.

    Args:
        name: The file's name.
        row: The row, counted from 1.
        cells: How many cells it has.
        names: How many names the header has.
    """
    reason = f"row {row} has {cells} cells, but the header has {names}"
    return unreadable(name, reason, hint=_ROW_NAMES_HINT if cells == names + 1 else TEXT_HINT)


def lines_left_out(count: int, what: str) -> str:
    """Return the sentence for lines that were left out.

    Args:
        count: How many.
        what: Which ones, after "lines".
    """
    return f"1 line {what} was left out" if count == 1 else f"{count} lines {what} were left out"


def named(file: str, names: Sequence[str]) -> list[str]:
    """Return the names of a file's columns; those without one are called :data:`UNNAMED`.

    Args:
        file: The file's name, for messages.
        names: The header's cells.

    Raises:
        SourceError: Two columns have the same name, or there are too many columns.
    """
    if len(names) > MOST_COLUMNS:
        raise unreadable(
            file,
            f"it has {len(names)} columns, more than {MOST_COLUMNS}",
            hint="keep the columns of one home",
        )
    result, nameless = [], 0
    for name in names:
        if name:
            result.append(name)
        else:
            nameless += 1
            result.append(UNNAMED if nameless == 1 else f"{UNNAMED} {nameless}")
    twins = sorted(name for name, count in Counter(result).items() if count > 1)
    if twins:
        raise SourceError(
            f"{file} has several columns of the name {', '.join(map(repr, twins))}",
            hint="give every column a name of its own",
        )
    return result


def units_named(names: Sequence[str]) -> list[str]:
    """Return names in which columns of units that are called alike say of what they are.

    A Fritz!Box writes "Energie;Einheit;CO2-Ausstoss;Einheit": units of the column before.

    Args:
        names: The header's cells.
    """
    counts = Counter(names)
    return [
        f"{before} {name}".lstrip() if counts[name] > 1 and name_of_units(name) else name
        for before, name in zip(("", *names), names, strict=False)
    ]
