"""A column of text as numbers, flags or words: the whole column decides which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.cell_units import one_unit
from fedhome.data.columns.column_read import Column, ColumnRead
from fedhome.data.columns.number_ends import AT_LEAST, MINUS, PARENTHESES, TRAILING
from fedhome.data.columns.number_forms import DECIMAL, OPEN, refuse_grouped_points, signs_of_column
from fedhome.data.columns.odd_values import LARGEST_WHOLE, number_column
from fedhome.data.columns.tally import Piece, Tally
from fedhome.data.columns.text_numbers import (
    DATE,
    MISSING,
    NUMBER,
    STRANGE,
    TAILED,
    TRUTH,
    WORD,
    CellParser,
    ReadCells,
    trimmed,
)
from fedhome.data.columns.text_words import read_words
from fedhome.data.columns.units import conversion

PIECE_ROWS = 2**17
_MOST_ARE = 0.99
_ODD = (WORD, DATE, TAILED, STRANGE)
_MISFITS = {
    WORD: (
        "is not a number",
        (
            "correct the cell or leave it empty; a word for a missing reading goes into "
            "data.na_values; if the column holds classes, give every class a name that is not a "
            "number"
        ),
    ),
    DATE: (
        "is a date or a time, not a number",
        "a spreadsheet may have made a date of a number: write the column again as plain numbers",
    ),
    TAILED: (
        "is a number beside a text that is no known unit",
        (
            "leave the text away, and say the unit in the column's name, as in `load (kWh)`; if "
            "the column holds classes, give every class a name that does not begin with a number"
        ),
    ),
    STRANGE: (
        "has digits in no known format of numbers",
        "write 1234567.5, or group thousands by three as in 1,234,567.5; a cell holds one number",
    ),
}
_NO_NUMBERS = (
    'a column of words is learnt as classes where the plan says so, task.kind = "multi-class" or '
    '"binary", or names no task.kind; a word for a missing reading goes into data.na_values'
)
_ZEROS_BEFORE = r"^[+-]?0\d+,\d$"
_ONE_DIGIT_BEHIND = r"^([+-]?\d+,\d)?$"
_SIGN_WORDS = {TRAILING: "minus behind negatives", PARENTHESES: "negatives in parentheses"}


@dataclass
class Survey:
    """What the cells of a column hold, gathered piece by piece.

    Args:
        values: float64 ``[rows]``, NaN where there is no number.
        parser: Reads the pieces.
        kinds: Rows of each kind: MISSING, NUMBER, ...
        forms: Rows of each form of numbers.
        signs: Rows of each way to write a number's sign.
        units: Rows of numbers of each unit; zeros without a unit, which are zero in any, are not
            among them.
        open_rows: Which sign each row is open about, int8 ``[rows]``; None if none is.
        unit_rows: Each row's unit, int16 ``[rows]``; None if no cell has one.
        too_large: Rows of whole numbers for which float64 may lack digits.
    """

    values: NDArray[np.float64]
    parser: CellParser
    kinds: Tally = field(default_factory=Tally)
    forms: Tally = field(default_factory=Tally)
    signs: Tally = field(default_factory=Tally)
    units: Tally = field(default_factory=Tally)
    open_rows: NDArray[np.int8] | None = None
    unit_rows: NDArray[np.int16] | None = None
    too_large: int = 0

    @property
    def filled(self) -> int:
        """Rows in which something stands."""
        return sum(self.kinds.counts.values()) - self.kinds.count(MISSING)

    def add(self, piece: Piece, parsed: ReadCells) -> None:
        """Take in what a piece's cells hold."""
        start, values = piece.start, piece.spread(parsed.values)
        rows = slice(start, start + len(values))
        self.values[rows] = values
        self.kinds.add(start, piece.spread(parsed.kinds))
        self.forms.add(start, piece.spread(parsed.forms))
        self.signs.add(start, piece.spread(parsed.signs))
        counted = (parsed.kinds == NUMBER) & ((parsed.units > 0) | (parsed.values != 0))
        self.units.add(start, piece.spread(np.where(counted, parsed.units, -1)))
        if parsed.units.any():
            if self.unit_rows is None:
                self.unit_rows = np.zeros(len(self.values), dtype=np.int16)
            self.unit_rows[rows] = piece.spread(parsed.units)
        if (parsed.forms > OPEN).any():
            if self.open_rows is None:
                self.open_rows = np.zeros(len(self.values), dtype=np.int8)
            signs = np.where(parsed.forms > OPEN, parsed.forms - OPEN, 0).astype(np.int8)
            self.open_rows[rows] = piece.spread(signs)
        large = parsed.whole & np.isfinite(parsed.values)
        large &= np.abs(parsed.values) >= LARGEST_WHOLE
        if large.any():
            self.too_large += int(piece.spread(large).sum())


def read_text(cells: pa.ChunkedArray, column: Column) -> ColumnRead:
    """Read a column of text.

    Args:
        cells: Text of any storage, ``[rows]``.
        column: What is known of it.

    Raises:
        SourceError: Cells that can be read in two ways, that contradict one another or the
            settings, or words where numbers were meant.
    """
    survey = Survey(values=np.empty(len(cells)), parser=CellParser(column.settings))
    for piece in pieces(cells):
        parsed = survey.parser.bare_numbers(piece.cells) if piece.of_row is None else None
        if parsed is None:
            piece = piece.with_cells(trimmed(piece.cells))  # noqa: PLW2901
            parsed = survey.parser.cells(piece.cells)
        survey.add(piece, parsed)
    kinds = survey.kinds
    if not survey.filled:
        return ColumnRead(values=survey.values, kind="empty")
    if kinds.count(DATE) >= _MOST_ARE * survey.filled:
        return column.left_out(
            len(cells), "holds dates or times, which are no readings", first=kinds.first_of([DATE])
        )
    misfits = kinds.count(*_ODD) > 0
    if kinds.count(TRUTH) and not misfits:
        if _are_flags(survey):
            return ColumnRead(values=survey.values, kind="flag", format="true and false")
        misfits = True
    if _are_names(survey, misfits=misfits) and not column.numeric:
        misfits = True
    elif misfits:
        _refuse_misfits(survey, column)
    if not misfits and _have_marks(cells, survey, column):
        return column.left_out(
            len(cells),
            "holds digits filled up with zeros, a comma and one digit, which may be a value and a "
            'mark of its quality (data.decimal = "," if the comma marks decimals)',
        )
    if not misfits:
        return _numbers(survey, column)
    numbers = kinds.count(NUMBER)
    return read_words(
        pieces(cells),
        survey.parser,
        column,
        rows=len(cells),
        filled=survey.filled,
        numbers=numbers,
    )


def _are_flags(survey: Survey) -> bool:
    numbers = survey.values[~np.isnan(survey.values)]
    return survey.unit_rows is None and bool(np.isin(numbers, (0, 1)).all())


def _have_marks(cells: pa.ChunkedArray, survey: Survey, column: Column) -> bool:
    """Tell whether cells may be a value and its mark, such as ``+0072,1`` of weather stations."""
    commas = {form % OPEN for form in survey.forms.counts if DECIMAL[form % OPEN % 3] == ","}
    if not commas or column.settings.decimal or column.settings.thousands:
        return False
    filled_up = False
    for piece in pieces(cells):
        text = pc.fill_null(trimmed(piece.cells), "")
        if not pc.all(pc.match_substring_regex(text, _ONE_DIGIT_BEHIND)).as_py():
            return False
        filled_up |= bool(pc.any(pc.match_substring_regex(text, _ZEROS_BEFORE)).as_py())
    return filled_up


def _are_names(survey: Survey, *, misfits: bool) -> bool:
    """Tell whether numbers with a letter, such as 12A beside 12B or 3C, name rooms or houses."""
    units = survey.units
    names = [survey.parser.met.names[unit] for unit in units.counts]
    if not names or any(len(name.strip("°")) != 1 for name in names):
        return False
    # A slip among 230V and 231V is a slip.
    varied = 2 * max(units.counts.values()) <= survey.filled
    plain_words = survey.kinds.count(WORD, DATE, STRANGE, TRUTH)
    related = all(conversion(name, names[0]) is not None for name in names[1:])
    return varied and not plain_words and (misfits or not related)


def _refuse_misfits(survey: Survey, column: Column) -> None:
    """Refuse a column of numbers with something else in it; return if words were meant."""
    kinds = survey.kinds
    numbers = kinds.count(NUMBER)
    meant = numbers + kinds.count(STRANGE)
    if survey.parser.met.one_tail:
        meant += kinds.count(TAILED)
    if numbers:
        meant += kinds.count(DATE)
    mostly = 2 * meant >= survey.filled
    if not mostly and not column.numeric:
        return
    row = kinds.first_of((*_ODD, TRUTH))
    kind = next(kind for kind, first in kinds.firsts.items() if first == row)
    what, hint = _MISFITS.get(kind, _MISFITS[WORD])
    why = ", though at least half of its cells are" if 2 * numbers >= survey.filled else ""
    if not mostly:
        why, hint = ", and the column must hold numbers", _NO_NUMBERS
    raise column.fault(row, f"the cell in {{column}} {what}{why}", hint=hint)


def _numbers(survey: Survey, column: Column) -> ColumnRead:
    signs = signs_of_column(survey.forms, column)
    _refuse_mixed_signs(survey, column)
    values, notes = survey.values, []
    if survey.signs.count(AT_LEAST):
        notes.append(
            f"column {column.name!r}: numbers with a plus behind them, as many or more, were read "
            "as the least that they stand for"
        )
    if survey.open_rows is not None:
        is_open = survey.open_rows > 0
        if signs.assumed:
            if len(survey.units.counts) < 2:  # noqa: PLR2004  (896 W and 1.896 kW go together)
                refuse_grouped_points(values, is_open, column)
            notes.append(
                f"column {column.name!r}: wherever a point stands, exactly three digits follow; it "
                "was read as decimal sign (set data.thousands if it groups thousands)"
            )
        if signs.thousands in (".", ","):
            grouped = survey.open_rows == DECIMAL.index(signs.thousands)
            values[grouped] = np.rint(values[grouped] * 1000)
        known = is_open & np.isin(values, survey.parser.missing_numbers)
        values[known] = np.nan
    values, unit, told = one_unit(
        values, survey.unit_rows, survey.units, survey.parser.met.names, column
    )
    words = [signs.words(survey.forms.counts)]
    words += [text for sign, text in _SIGN_WORDS.items() if survey.signs.count(sign)]
    if survey.unit_rows is not None:
        words.append("unit in cells")
    return number_column(
        values,
        column,
        unit=unit,
        format=", ".join(filter(None, words)) or "whole numbers",
        notes=(*notes, *told),
        too_large=survey.too_large,
    )


def _refuse_mixed_signs(survey: Survey, column: Column) -> None:
    ways = [sign for sign in survey.signs.commonest() if MINUS <= sign < AT_LEAST]
    if len(ways) > 1:
        raise column.fault(
            survey.signs.first_of(ways[1:]),
            "the sign of the cell in {column} is written otherwise than in other cells of it",
            hint="write all negative numbers of a column with a minus before them",
        )
    if survey.signs.count(AT_LEAST) and survey.signs.count(TRAILING):  # 1+, 1 and 1- are marks
        raise column.fault(
            survey.signs.first_of([AT_LEAST]),
            "the cell in {column} has a plus behind its number, and others have a minus there",
            hint="give classes names that do not begin with a number; write a minus before numbers",
        )


def pieces(cells: pa.ChunkedArray) -> Iterator[Piece]:
    """Return a column's rows some at a time, so that what is made of them fits into memory."""
    start = 0
    for chunk in cells.chunks:
        for at in range(0, len(chunk), PIECE_ROWS):
            rows = chunk.slice(at, PIECE_ROWS)
            yield Piece.of(start, rows.cast(pa.string()))
            start += len(rows)
