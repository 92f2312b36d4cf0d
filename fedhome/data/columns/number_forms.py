"""How the digits of numbers are written: which sign marks decimals, and which groups thousands.

A cell such as ``1.896,0`` tells both signs. One sign before exactly three digits (``1,896``)
tells nothing by itself: it is *open*, and the whole column decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.column_read import Column
from fedhome.data.columns.tally import Tally
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

MALFORMED = -1
OPEN = 15  # a form's number is decimal + 3 * thousands, and 15 more if it is open
DECIMAL = ("", ".", ",")
THOUSANDS = ("", ".", ",", "'", " ")
_GROUP = 3  # digits
_FIRST_GROUPED = 1000
_NAMES = {".": "point", ",": "comma", "'": "apostrophe", " ": "space"}


@dataclass(frozen=True, kw_only=True)
class Signs:
    """The signs of a column.

    Args:
        decimal: Marks decimals.
        thousands: Groups thousands; empty if nothing does.
        assumed: Nothing but open cells with a point spoke for decimals.
    """

    decimal: str
    thousands: str = ""
    assumed: bool = False

    def words(self, forms: Mapping[int, int]) -> str:
        """Say which of the signs cells of these forms use, in a few words."""
        used = {sign for form in forms for sign in _signs_of(form)}
        parts = [f"decimal {_NAMES[self.decimal]}"] if self.decimal in used else []
        if self.thousands and self.thousands in used:
            parts.append(f"thousands {_NAMES[self.thousands]}")
        return ", ".join(parts)


def forms_of(digits: pa.Array, powers: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return how each number is written, int8 ``[cells]``; MALFORMED if in no known way.

    Args:
        digits: Digits, points, commas, apostrophes and spaces, without plus and minus.
        powers: Whether a power of ten follows: such a number is never grouped.
    """
    forms = forms_with_one_sign(digits, powers)
    several = pc.match_substring_regex(digits, "[' ]|[.,].*[.,]")
    rows = np.flatnonzero(np.asarray(several))
    if len(rows):
        forms[rows] = np.where(powers[rows], MALFORMED, _grouped(digits.take(rows)))
    return forms


def forms_with_one_sign(digits: pa.Array, powers: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return the same for numbers with one point or comma at most."""
    point = np.asarray(pc.find_substring(digits, "."))
    comma = np.asarray(pc.find_substring(digits, ","))
    place = np.maximum(point, comma)
    forms = ((point >= 0) + 2 * (comma >= 0)).astype(np.int8)
    if (place >= 0).any():
        behind = np.asarray(pc.binary_length(digits)) - place - 1
        is_open = (place >= 1) & (place <= _GROUP) & (behind == _GROUP) & ~powers
        is_open &= ~np.asarray(pc.starts_with(digits, "0"))
        forms[is_open] += OPEN
        forms[(place == 0) & (behind == 0)] = MALFORMED
    return forms


def _grouped(digits: pa.Array) -> NDArray[np.int8]:
    forms = np.full(len(digits), MALFORMED, dtype=np.int8)
    for thousands, sign in enumerate(THOUSANDS[1:], start=1):
        whole = rf"^[1-9]\d{{0,2}}(?:[{sign}]\d{{3}})+"
        for decimal, mark in enumerate(DECIMAL):
            if mark != sign:
                ending = rf"[{mark}]\d*$" if mark else "$"
                fits = np.asarray(pc.match_substring_regex(digits, whole + ending))
                forms[fits] = decimal + 3 * thousands
    return forms


def as_numbers(
    digits: pa.Array, forms: NDArray[np.int8], powers: pa.Array | None = None
) -> NDArray[np.float64]:
    """Return the numbers, float64 ``[cells]``, NaN where malformed; an open sign marks decimals.

    Args:
        digits: As for :func:`forms_of`.
        forms: What it returned.
        powers: What follows the digits, such as ``e-3`` or nothing.
    """
    values = np.full(len(digits), np.nan)
    for form in np.unique(forms[forms != MALFORMED]):
        rows = np.flatnonzero(forms == form)
        text = digits.take(rows)
        decimal, thousands = DECIMAL[form % OPEN % 3], THOUSANDS[form % OPEN // 3]
        if thousands:
            text = pc.replace_substring(text, thousands, "")
        if decimal == ",":
            text = pc.replace_substring(text, ",", ".")
        if powers is not None:
            text = pc.binary_join_element_wise(text, powers.take(rows), "")
        values[rows] = np.asarray(text.cast(pa.float64()))
    return values


def signs_of_column(forms: Tally, column: Column) -> Signs:
    """Decide which signs a column uses.

    Args:
        forms: How many cells have each form, and the first row of each.
        column: ``decimal`` and ``thousands`` of its settings are obeyed where they are set.

    Raises:
        SourceError: The cells can be read in two ways, contradict one another, or do not fit
            the settings.
    """
    settings = column.settings
    if settings.decimal and settings.decimal == settings.thousands:
        raise SourceError(
            "data.decimal and data.thousands are the same sign",
            hint="one sign cannot mark decimals and group thousands: correct one of them",
        )
    signs = _decided(forms, settings)
    if signs is None:
        raise column.fault(
            forms.first_of(form for form in forms.counts if form > OPEN),
            "{column} can be read in two ways: wherever its cells have a comma, exactly three "
            "digits follow, and the comma may mark decimals or group thousands",
            hint='set data.decimal = "," if the comma marks decimals, data.thousands = "," if it '
            "groups thousands",
        )
    misfits = [form for form in forms.counts if not _fits(form, signs)]
    if misfits:
        raise column.fault(
            forms.first_of(misfits),
            f"the cell in {{column}} is not written as {_wanted(signs, settings)}",
            hint="write all numbers of a column in one way, or set data.decimal and "
            "data.thousands to the signs that the file uses",
        )
    return signs


def refuse_grouped_points(
    values: NDArray[np.float64], is_open: NDArray[np.bool_], column: Column
) -> None:
    """Refuse a column in which points before three digits look like thousands: 896 and 1.896.

    Args:
        values: With the point as decimal sign, float64 ``[rows]``.
        is_open: Where a point stands before three digits; elsewhere are whole numbers.
        column: Their column.

    Raises:
        SourceError: The whole numbers are those that would have no thousands, and by far larger.
    """
    whole = np.abs(values[~is_open & np.isfinite(values)])
    split = np.abs(values[is_open])
    if len(whole) and whole.max() < _FIRST_GROUPED and np.median(whole) > 10 * np.median(split):
        raise column.fault(
            int(np.argmax(is_open)),
            "{column} can be read in two ways: wherever a point stands, exactly three digits "
            "follow, and the cells without a point are far larger numbers: the point may mark "
            "decimals or group thousands",
            hint='set data.decimal = "." if the point marks decimals, data.thousands = "." if it '
            "groups thousands",
        )


def _signs_of(form: int) -> tuple[str, str]:
    return DECIMAL[form % OPEN % 3], THOUSANDS[form % OPEN // 3]


def _decided(forms: Tally, settings: ReadingSettings) -> Signs | None:
    """Return the signs that the settings or most cells tell; None if nothing tells."""
    closed = [form for form in forms.commonest() if form < OPEN]
    undecided = {_signs_of(form)[0] for form in forms.counts if form > OPEN}
    decimals = [sign for sign, _ in map(_signs_of, closed) if sign]
    groups = [sign for _, sign in map(_signs_of, closed) if sign]
    decimal = settings.decimal or _first(decimals, settings.thousands)
    thousands = settings.thousands or _first(groups, decimal)
    assumed = False
    if not decimal and thousands in (".", ","):
        decimal = "," if thousands == "." else "."
    if not decimal and undecided == {","} and thousands:
        decimal = ","
    if not decimal and "," in undecided:
        return None
    if not decimal:
        decimal, assumed = ".", bool(undecided) and not thousands
    if not thousands:
        thousands = next(iter(undecided - {decimal}), "")
    return Signs(decimal=decimal, thousands=thousands, assumed=assumed)


def _first(signs: Iterable[str], other: str) -> str:
    return next((sign for sign in signs if sign != other), "")


def _fits(form: int, signs: Signs) -> bool:
    decimal, thousands = _signs_of(form)
    if form > OPEN:
        return decimal in (signs.decimal, signs.thousands)
    return decimal in ("", signs.decimal) and thousands in ("", signs.thousands)


def _wanted(signs: Signs, settings: ReadingSettings) -> str:
    source = "the plan says" if settings.decimal or settings.thousands else "other cells of it are"
    thousands = f" and thousands {_NAMES[signs.thousands]}" if signs.thousands else ""
    return f"{source}: decimal {_NAMES[signs.decimal]}{thousands}"
