"""Tables whose cells are separated by blanks: seen, so that they are refused by what they are."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence

from fedhome.data.files.header_rows import kind_of_cell

_LINES = 50
_LONGEST = 4096  # characters of a line that are looked at
_MOSTLY = 0.9
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?")
_BEGIN = re.compile(r"[+-]?\d{1,3}")
_GROUP = re.compile(r"\d{3}([.,]\d+)?")


def is_separated_by_blanks(text: str) -> bool:
    """Tell whether lines hold several cells with blanks between them.

    A date and a clock time are one cell, and so is a number whose thousands are grouped by blanks.

    Args:
        text: The file's first lines.
    """
    lines = [line for line in text.splitlines()[: 2 * _LINES] if line.strip()][:_LINES]
    rows = [_cells(line[:_LONGEST]) for line in lines]
    if len(rows) < 2:  # noqa: PLR2004  (a header and a row)
        return False
    first, body = rows[0], rows[1:]
    widths = Counter(len(row) for row in body)
    width, count = widths.most_common(1)[0]
    if width < 2 or count < _MOSTLY * len(body):  # noqa: PLR2004  (several cells)
        return False
    even = [row for row in body if len(row) == width]
    typed = sum(all(map(_is_typed, row[:2])) for row in even)
    if typed < _MOSTLY * len(even) or all(_is_one_number(row) for row in even):
        return False
    # R writes no name for the names of rows; a clock time may have a name beside its date's.
    names = len(first)
    return all(map(_is_typed, first[:2])) or (names > 1 and abs(names - width) <= 1)


def _cells(line: str) -> list[str]:
    cells: list[str] = []
    for cell in next(csv.reader([line], delimiter=" ", skipinitialspace=True), []):
        if cells and _CLOCK.fullmatch(cell) and kind_of_cell(cells[-1]) == "time":
            cells[-1] = f"{cells[-1]} {cell}"
        elif cell:
            cells.append(cell)
    return cells


def _is_typed(cell: str) -> bool:
    return kind_of_cell(cell) in {"number", "time"}


def _is_one_number(row: Sequence[str]) -> bool:
    return bool(_BEGIN.fullmatch(row[0])) and all(map(_GROUP.fullmatch, row[1:]))
