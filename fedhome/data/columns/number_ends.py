"""What stands before and behind a number's digits: signs, powers of ten, units, currencies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.units import is_currency, unit_named

# How a number's sign is written.
PLAIN, MINUS, TRAILING, PARENTHESES = range(4)
AT_LEAST = 4
"""A plus behind the number, such as ``3+`` children: as many, or more."""

_BEFORE = re.compile(r"(\(?)\s*([+-]?)\s*([^\s()+-]*)\s*([+-]?)\s*")
_BEHIND = re.compile(r"((?:[eE][+-]?[0-9]+)?)\s*(-?)\s*((?:[^\s()-][^()]*?)?)\s*(\)?)\s*")
_MAY_FOLLOW = r"(?s)^([eE][+-]?\d{1,9})?\D{0,16}\d?\D{0,16}$"
_NEVER = "\0("
# For patterns: Arrow is slow to prepare those that name all letters, \pL, or both cases, (?i).
LETTERS = "A-Za-z\u00c0-\u024f\u0370-\u1fff"
_NUMERIC = "0123456789.,'+- "
_FEW = 16
_TAIL = 16  # letters: what is longer is a sentence, no unit


@dataclass(frozen=True)
class _Ends:
    """What one text before and one behind the digits say.

    Args:
        sign: PLAIN, MINUS, ..., AT_LEAST; -1 if they make no number of the digits.
        power: ``e-3`` or empty.
        unit: Its usual spelling; empty for none.
        tail: A text that is no known unit, where a unit may stand.
    """

    sign: int = -1
    power: str = ""
    unit: str = ""
    tail: str = ""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The same for many cells; every array is ``[cells]``.

    Args:
        signs: PLAIN, MINUS, ..., AT_LEAST, int8; -1 where the digits are no number.
        powers: Text such as ``e-3``, or empty.
        units: Places in :attr:`UnitsMet.names`, int16.
        tailed: Whether a text that is no known unit stands where a unit may, bool.
    """

    signs: NDArray[np.int8]
    powers: pa.Array
    units: NDArray[np.int16]
    tailed: NDArray[np.bool_]


@dataclass
class UnitsMet:
    """What was met beside the numbers of a column.

    Args:
        names: Units in the order in which they were met; the first is no unit.
        tails: Texts that are no known unit; of many, some.
        tailed: Digits beside such texts; of many, some.
    """

    names: list[str] = field(default_factory=lambda: [""])
    tails: set[str] = field(default_factory=set)
    tailed: set[str] = field(default_factory=set)

    @property
    def one_tail(self) -> bool:
        """Whether different numbers had one and the same text that is no known unit."""
        return len(self.tails) == 1 and len(self.tailed) > 1

    def ends(self, before: pa.Array, digits: pa.Array, behind: pa.Array) -> Ends:
        """Look at what stands before and behind the digits of each cell, once for each text."""
        # What is no unit at the first look has few spellings from here on.
        far = pc.invert(pc.match_substring_regex(behind, _MAY_FOLLOW))
        behind = pc.if_else(far, pa.scalar(_NEVER), behind)
        first, last = before.dictionary_encode(), behind.dictionary_encode()
        pairs = np.asarray(first.indices).astype(np.int64) * len(last.dictionary)
        found, of_cell = np.unique(pairs + np.asarray(last.indices), return_inverse=True)
        starts, stops = first.dictionary.to_pylist(), last.dictionary.to_pylist()
        ends = [_ends(starts[pair // len(stops)], stops[pair % len(stops)]) for pair in found]
        if len(self.tails) < 2:  # noqa: PLR2004  (two are enough to know that they differ)
            self.tails.update(end.tail for end in ends if end.tail)
        self._learn(end.unit for end in ends)
        units = np.array([self.names.index(end.unit) for end in ends], dtype=np.int16)
        tailed = np.array([bool(end.tail) for end in ends], dtype=np.bool_)[of_cell]
        if len(self.tailed) < 2:  # noqa: PLR2004  (likewise)
            self.tailed.update(digits.filter(pa.array(tailed)).unique().slice(0, 2).to_pylist())
        return Ends(
            signs=np.array([end.sign for end in ends], dtype=np.int8)[of_cell],
            powers=pa.array([end.power for end in ends], pa.string()).take(pa.array(of_cell)),
            units=units[of_cell],
            tailed=tailed,
        )

    def strip(self, cells: pa.Array) -> tuple[pa.Array, NDArray[np.int16]] | None:
        """Take units off cells that have nothing else beside digits and signs.

        Returns:
            The cells without them and the units' places, int16 ``[cells]``; None if there are
            none, or something else is there.
        """
        found = pc.ascii_ltrim(cells, characters=_NUMERIC).dictionary_encode()
        tails = found.dictionary.to_pylist()
        units = [unit_named(tail) for tail in tails] if len(tails) <= _FEW else []
        if not any(units) or any(
            (tail and not unit) or set(tail) & set(_NUMERIC)
            for tail, unit in zip(tails, units, strict=True)
        ):
            return None
        self._learn(units)
        places = np.array([*map(self.names.index, units), 0], dtype=np.int16)
        of_cell = places[np.asarray(pc.fill_null(found.indices, -1))]
        return pc.utf8_rtrim(cells, characters="".join({*"".join(tails), " "})), of_cell

    def _learn(self, units: Iterable[str]) -> None:
        self.names.extend(dict.fromkeys(unit for unit in units if unit not in self.names))


def parts_of(cells: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Split cells that hold digits into what stands before the first, the digits, and the rest."""
    # The point of an abbreviation is no decimal sign: Rs.500 is no half rupee.
    cells = pc.replace_substring_regex(cells, rf"^([^{LETTERS}\d]*[{LETTERS}]+)\.", r"\1 ")
    parts = pc.extract_regex(
        cells, r"(?s)^(?P<a>[^\d.,]*)(?P<b>[\d.,](?:[\d.,' ]*[\d.,])?)(?P<c>.*)$"
    )
    before, digits, behind = (pc.struct_field(parts, part) for part in "abc")
    return before, digits, behind


def _ends(before: str, behind: str) -> _Ends:
    start, stop = _BEFORE.fullmatch(before), _BEHIND.fullmatch(behind)
    if start is None or stop is None:
        return _Ends()
    opened, outer, currency, inner = start.groups()
    power, trailing, text, closed = stop.groups()
    marks = (outer, inner, trailing, opened)
    if bool(opened) != bool(closed) or sum(map(bool, marks)) > 1:
        return _Ends()
    if text == "+" and not (currency or power or any(marks)):
        return _Ends(sign=AT_LEAST)
    unit = unit_named(currency + text)
    if (currency or text) and (not unit or (currency and not is_currency(unit_named(currency)))):
        label = currency + text
        odd = len(label) > _TAIL or any(map(str.isdigit, label)) or any(map(str.isalpha, currency))
        return _Ends() if odd else _Ends(tail=f"{currency}\0{text}")
    sign = PLAIN
    if opened or trailing:
        sign = PARENTHESES if opened else TRAILING
    elif "-" in (outer, inner):
        sign = MINUS
    return _Ends(sign=sign, power=power, unit=unit)
