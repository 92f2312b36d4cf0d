"""Columns that name the unit of each row's readings: no number is converted by them."""

from __future__ import annotations

from collections.abc import Sequence

from fedhome.data.columns.units import conversion, unit_named


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
