"""What stands before and behind a number's digits: signs, powers of ten, units, currencies."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.units import is_currency, unit_named

# How a number's sign is written.
PLAIN, MINUS, TRAILING, PARENTHESES = range(4)

_BEFORE = re.compile(r"(\(?)\s*([+-]?)\s*([^\s()+-]*)\s*([+-]?)\s*")
_BEHIND = re.compile(r"((?:[eE][+-]?\d+)?)\s*(-?)\s*((?:[^\s()-][^()]*?)?)\s*(\)?)\s*")
_TAIL = 16  # letters: what is longer is a sentence, no unit


@dataclass(frozen=True)
class _Ends:
    """What one text before and one behind the digits say.

    Args:
        sign: PLAIN, MINUS, ...; -1 if they make no number of the digits.
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
        signs: PLAIN, MINUS, ..., int8; -1 where the digits are no number.
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
    """

    names: list[str] = field(default_factory=lambda: [""])
    tails: set[str] = field(default_factory=set)

    def ends(self, before: pa.Array, behind: pa.Array) -> Ends:
        """Look at what stands before and behind the digits of each cell, once for each text."""
        first, last = before.dictionary_encode(), behind.dictionary_encode()
        pairs = np.asarray(first.indices).astype(np.int64) * len(last.dictionary)
        found, of_cell = np.unique(pairs + np.asarray(last.indices), return_inverse=True)
        starts, stops = first.dictionary.to_pylist(), last.dictionary.to_pylist()
        ends = [_ends(starts[pair // len(stops)], stops[pair % len(stops)]) for pair in found]
        if len(self.tails) < 2:  # noqa: PLR2004  (two are enough to know that they differ)
            self.tails.update(end.tail for end in ends if end.tail)
        for end in ends:
            if end.unit not in self.names:
                self.names.append(end.unit)
        units = np.array([self.names.index(end.unit) for end in ends], dtype=np.int16)
        return Ends(
            signs=np.array([end.sign for end in ends], dtype=np.int8)[of_cell],
            powers=pa.array([end.power for end in ends], pa.string()).take(pa.array(of_cell)),
            units=units[of_cell],
            tailed=np.array([bool(end.tail) for end in ends], dtype=np.bool_)[of_cell],
        )


def parts_of(cells: pa.Array) -> tuple[NDArray[np.bool_], pa.Array, pa.Array, pa.Array]:
    """Split cells into what stands before their first digits, the digits, and what follows.

    Returns:
        Whether a cell has digits, bool ``[cells]``, and the three parts, empty where it has none.
    """
    parts = pc.extract_regex(
        cells,
        # A point behind a letter ends an abbreviation: Rs.500 is no half rupee.
        r"(?s)^(?P<a>[^\d.,]*\pL\.\s*|[^\d.,]*)(?P<b>[\d.,](?:[\d.,' ]*[\d.,])?)(?P<c>.*)$",
    )
    before, digits, behind = (pc.fill_null(pc.struct_field(parts, part), "") for part in "abc")
    return np.asarray(parts.is_valid()), before, digits, behind


def _ends(before: str, behind: str) -> _Ends:
    start, stop = _BEFORE.fullmatch(before), _BEHIND.fullmatch(behind)
    if start is None or stop is None:
        return _Ends()
    opened, outer, currency, inner = start.groups()
    power, trailing, text, closed = stop.groups()
    marks = (outer, inner, trailing, opened)
    if bool(opened) != bool(closed) or sum(map(bool, marks)) > 1:
        return _Ends()
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
