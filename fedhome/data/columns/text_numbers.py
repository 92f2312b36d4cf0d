"""Distinct cells of text as numbers, with how each was written, or as what else they are."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.date_like import is_date_like
from fedhome.data.columns.missing import is_missing, missing_numbers, missing_words
from fedhome.data.columns.number_ends import (
    AT_LEAST,
    LETTERS,
    MINUS,
    PLAIN,
    TRAILING,
    UnitsMet,
    parts_of,
)
from fedhome.data.columns.number_forms import (
    MALFORMED,
    OPEN,
    as_numbers,
    forms_of,
    forms_with_one_sign,
)
from fedhome.data.columns.units import CURRENCY_WORDS
from fedhome.plan.reading_settings import ReadingSettings

# What a cell is: TAILED is a number beside a text that is no known unit, STRANGE are digits in
# no known format.
MISSING, NUMBER, TRUTH, WORD, DATE, TAILED, STRANGE = range(7)

_INFINITE = pa.array([sign + word for sign in ("", "+", "-") for word in ("inf", "infinity", "∞")])
_TRIED = 64
_BEGINS_A_NUMBER = (
    rf"^[^{LETTERS}\d]*(?:{'|'.join(map(re.escape, CURRENCY_WORDS))})?[^{LETTERS}\d]*\d"
)
_TRUTHS = pa.array(["true", "false"])
Text = TypeVar("Text", pa.Array, pa.ChunkedArray)
_PLAIN_SIGNS = (
    ("[\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]", " "),
    ("[\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]", ""),  # not to be seen
    ("[\u2010-\u2015\u2212\ufe63\uff0d]", "-"),
    ("[\u2018\u2019\u02bc\u00b4]", "'"),
)


@dataclass(frozen=True, kw_only=True)
class ReadCells:
    """What distinct cells hold; every array is ``[cells]``.

    Args:
        kinds: MISSING, NUMBER, TRUTH, ..., int8.
        values: Numbers, and 1 and 0 for true and false; else NaN.
        forms: As `number_forms.forms_of` returns them; of no number, -1.
        signs: PLAIN, MINUS, ..., int8; of no number, -1.
        units: Places in :attr:`~fedhome.data.columns.number_ends.UnitsMet.names`, int16.
        whole: Whether it is a number of digits alone, bool.
    """

    kinds: NDArray[np.int8]
    values: NDArray[np.float64]
    forms: NDArray[np.int8]
    signs: NDArray[np.int8]
    units: NDArray[np.int16]
    whole: NDArray[np.bool_]


class CellParser:
    """Reads the cells of one column, some at a time.

    Args:
        settings: Its ``na_values`` are missing readings.

    Attributes:
        met: The units that were met.
        missing_numbers: Numbers that are missing readings, float64.
    """

    def __init__(self, settings: ReadingSettings) -> None:
        self.met = UnitsMet()
        self.missing_numbers = missing_numbers(settings.na_values)
        self._missing_words = missing_words(settings.na_values)

    def bare_numbers(self, cells: pa.Array) -> ReadCells | None:
        """Read cells that are all bare numbers with one sign at most; None if others are there."""
        try:
            # Arrow is slow where many cells fail: a few of them are tried first.
            for start in (0, len(cells) // 2) if len(cells) > _TRIED else ():
                _floats(cells.slice(start, _TRIED))
            values = _floats(cells)
        except pa.ArrowInvalid:
            return None
        cells = pc.fill_null(cells, "")
        there = ~np.isnan(values)
        powers = np.asarray(pc.find_substring(pc.ascii_lower(cells), "e")) >= 0
        forms = forms_with_one_sign(pc.ascii_ltrim(cells, characters="+-"), powers)
        minus = np.asarray(pc.starts_with(cells, "-"))
        return self._without_missing_numbers(
            ReadCells(
                kinds=np.where(there, NUMBER, MISSING).astype(np.int8),
                values=values,
                forms=np.where(there, forms, MALFORMED).astype(np.int8),
                signs=np.where(there, np.where(minus, MINUS, PLAIN), -1).astype(np.int8),
                units=np.zeros(len(cells), dtype=np.int16),
                whole=there & (forms == 0) & ~powers,
            )
        )

    def say_nothing(self, cells: pa.Array) -> NDArray[np.bool_]:
        """Tell which cells are missing readings, bool ``[cells]``."""
        return is_missing(_in_plain_signs(cells), self._missing_words)

    def cells(self, cells: pa.Array) -> ReadCells:
        """Read cells of any kind, without spaces around them."""
        text = _in_plain_signs(cells)
        missing = is_missing(text, self._missing_words)
        text = pc.if_else(pa.array(missing), pa.scalar(None, pa.string()), text)
        bare = self.bare_numbers(text)
        if bare is not None:
            return bare
        stripped = self.met.strip(text)
        if stripped is not None:
            bare = self.bare_numbers(stripped[0])
            if bare is not None:
                return replace(bare, units=stripped[1])
        return self._without_missing_numbers(self._parsed(text))

    def _parsed(self, text: pa.Array) -> ReadCells:
        parsed = ReadCells(
            kinds=np.where(np.asarray(text.is_null()), MISSING, WORD).astype(np.int8),
            values=np.full(len(text), np.nan),
            forms=np.full(len(text), MALFORMED, dtype=np.int8),
            signs=np.full(len(text), -1, dtype=np.int8),
            units=np.zeros(len(text), dtype=np.int16),
            whole=np.zeros(len(text), dtype=np.bool_),
        )
        begun = pc.match_substring_regex(pc.utf8_lower(text), _BEGINS_A_NUMBER)
        begun = pc.fill_null(begun, fill_value=False)
        rows = np.flatnonzero(np.asarray(begun))
        if len(rows):
            self._read_numbers(parsed, rows, text.take(rows))
        rest = np.flatnonzero(parsed.kinds >= WORD)
        if len(rest):
            _look_again(parsed, rest, text.take(rest))
        return parsed

    def _read_numbers(self, parsed: ReadCells, rows: NDArray[np.int64], text: pa.Array) -> None:
        """Read what may be numbers, in place."""
        before, digits, behind = parts_of(text)
        ends = self.met.ends(before, digits, behind)
        has_power = np.asarray(pc.not_equal(ends.powers, ""))
        # 5.- is a price without cents, and no negative number.
        round_price = np.asarray(pc.match_substring_regex(digits, "[.,]$"))
        round_price &= ends.signs == TRAILING
        sound = (ends.signs >= 0) & ~round_price
        forms = np.where(sound, forms_of(digits, has_power), MALFORMED).astype(np.int8)
        number = forms != MALFORMED
        values = as_numbers(digits, forms, ends.powers)
        values[(ends.signs >= MINUS) & (ends.signs != AT_LEAST)] *= -1
        listed = np.asarray(pc.match_substring_regex(digits, r"\d.*[,' ].*\d"))
        kinds = np.where(number, NUMBER, WORD).astype(np.int8)
        kinds[round_price | (sound & ~number & listed & (ends.units == 0))] = STRANGE
        kinds[ends.tailed] = TAILED
        parsed.kinds[rows], parsed.values[rows], parsed.forms[rows] = kinds, values, forms
        parsed.signs[rows] = np.where(number, ends.signs, -1)
        parsed.units[rows] = np.where(number, ends.units, 0)
        parsed.whole[rows] = number & (forms == 0) & ~has_power

    def _without_missing_numbers(self, parsed: ReadCells) -> ReadCells:
        if not len(self.missing_numbers):
            return parsed
        # Of an open cell the number is not known yet.
        known = (parsed.units == 0) & (parsed.forms < OPEN)
        gone = np.isin(parsed.values, self.missing_numbers) & known & (parsed.kinds == NUMBER)
        return replace(
            parsed,
            kinds=np.where(gone, MISSING, parsed.kinds).astype(np.int8),
            values=np.where(gone, np.nan, parsed.values),
            forms=np.where(gone, MALFORMED, parsed.forms).astype(np.int8),
            signs=np.where(gone, -1, parsed.signs).astype(np.int8),
        )


def trimmed(cells: Text) -> Text:
    """Return text without the spaces around it and without what marks text for a spreadsheet."""
    cells = pc.utf8_trim_whitespace(cells)
    marked = pc.match_substring_regex(cells, '^(=?".*"|\'[-+(.,\\d].*)$')
    if not pc.any(marked).as_py():
        return cells
    inner = pc.replace_substring_regex(cells, r'^=?"(.*)"$', r"\1")
    inner = pc.replace_substring_regex(inner, r"^'([-+(.,\d].*)$", r"\1")
    return pc.utf8_trim_whitespace(inner)


def _floats(cells: pa.Array) -> NDArray[np.float64]:
    return np.array(pc.replace_substring(cells, ",", ".").cast(pa.float64()), dtype=np.float64)


def _in_plain_signs(cells: pa.Array) -> pa.Array:
    """Return text with plain spaces, hyphens and apostrophes for those of typesetters."""
    odd = f"[{''.join(pattern[1:-1] for pattern, _ in _PLAIN_SIGNS)}]"
    if not pc.any(pc.match_substring_regex(cells, odd)).as_py():
        return cells
    for pattern, plain in _PLAIN_SIGNS:
        cells = pc.replace_substring_regex(cells, pattern, plain)
    return pc.utf8_trim_whitespace(cells)


def _look_again(parsed: ReadCells, rest: NDArray[np.int64], text: pa.Array) -> None:
    """Tell true and false, dates and infinite numbers from words, in place."""
    lower = pc.utf8_lower(text)
    truth = rest[np.asarray(pc.is_in(lower, value_set=_TRUTHS))]
    parsed.kinds[truth] = TRUTH
    parsed.values[truth] = np.asarray(pc.equal(lower, "true"))[np.isin(rest, truth)]
    parsed.kinds[rest[is_date_like(text)]] = DATE
    infinite = rest[np.asarray(pc.is_in(lower, value_set=_INFINITE))]
    parsed.kinds[infinite] = NUMBER
    parsed.values[infinite] = np.inf
    parsed.forms[infinite] = parsed.signs[infinite] = 0
