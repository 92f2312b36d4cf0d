"""Columns of each row's unit or zone, by which nothing is converted; readings in two units."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from fedhome.data.columns.units import conversion, unit_named

_OFFSET = re.compile(r"(UTC|GMT)?[+-]\d{1,2}(:?\d\d)?|Z|UTC|GMT|[CWE]ES?T|MES?Z|BST|[ECMP][SD]T")
_ITS_UNIT = re.compile(r"\s*[\[(][^\[\]()]*[\])]\s*$|[\s_]+[^\s_]+\s*$")


def mixed_units(words: Sequence[str]) -> str:
    """Return units that are a scale of one another, as ``Wh and kWh``; empty if words name none.

    >>> mixed_units(["Wh", "kWh"]), mixed_units(["W", "°C"]), mixed_units(["Wh", "open"])
    ('Wh and kWh', '', '')

    Args:
        words: The different words of a column.
    """
    units = {unit_named(word): word for word in words if word}
    if "" in units or len(units) < 2:  # noqa: PLR2004  (two may differ)
        return ""
    mixed = [
        word
        for unit, word in units.items()
        if any(other != unit and conversion(unit, other) for other in units)
    ]
    return " and ".join(sorted(mixed))


def are_offsets(words: Sequence[str]) -> bool:
    """Tell whether the words of a column are offsets from UTC, or zones' abbreviations.

    >>> are_offsets(["+01:00", "+02:00"]), are_offsets(["CET", "CEST"]), are_offsets(["on", "CET"])
    (True, True, False)

    Args:
        words: The different words of a column.
    """
    return bool(words) and all(_OFFSET.fullmatch(word.strip().upper()) for word in words)


def told_in_turns(
    columns: Mapping[str, NDArray[np.float64]], units: Mapping[str, str]
) -> list[str]:
    """Return sentences on columns of one name but for its unit, of which each row has one alone.

    Args:
        columns: Columns by name, ``[rows]`` each.
        units: Their units by name.
    """
    alike: dict[str, list[str]] = defaultdict(list)  # files have thousands of columns, few alike
    for name in units:
        if name in columns:
            alike[_without_unit(name).casefold()].append(name)
    told = []
    for one, other in chain.from_iterable(combinations(names, 2) for names in alike.values()):
        if units[one] == units[other] or conversion(units[one], units[other]) is None:
            continue
        if not np.any(~np.isnan(columns[one]) & ~np.isnan(columns[other])):
            told.append(
                f"columns {one!r} and {other!r} have one name but for the unit, and no row has "
                "both: they were read as two inputs; write them in one unit, under one name"
            )
    return told


def _without_unit(name: str) -> str:
    """Return a column's name without the unit at its end."""
    found = _ITS_UNIT.search(name)
    named = found is not None and unit_named(found[0].strip(" \t_[]()"))
    return name[: found.start()] if found is not None and named else name
