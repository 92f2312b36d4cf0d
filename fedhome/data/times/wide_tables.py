"""Tables in which times, or homes, stand side by side: a column a day, an hour, or a home."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fedhome.data.columns.month_names import NUMBERS, without_accents
from fedhome.data.columns.units import unit_of_name
from fedhome.data.files.table_file import UNNAMED
from fedhome.data.times.time_cells import CLOCK, DATE, MOMENT, SPAN, parse
from fedhome.errors import SourceError

_FEWEST_MOMENTS = 3
_FEWEST_CLOCKS = 12
_MONTHS = 12
_FEWEST_ALIKE = 10  # columns that are called alike but for a number, and nothing beside them
_OF_A_HOME = re.compile(
    r"(home|house|household|apartment|flat|dwelling|residence|building|customer|client|consumer|user"
    r"|participant|haus|haushalt|wohnung|kunde|maison|logement|foyer|casa|hogar|vivienda)"
    r"[\s_.-]*(\d+)(?!\d)",
    re.IGNORECASE,
)
_OF_USE = frozenset({"kWh", "Wh", "kW", "W"})
_NAMED = re.compile(r"\s*(\w+(?:[\s.-]\w+)?)\s*[\[(][^\[\]()]*[\])]\s*")  # Oak (kWh)
_OF_A_METER = re.compile(  # what the columns of one home's meters are called by, in any of them
    r"import|export|total|sum|net|grid|mains|meter|energ|power|load|usage|cons|demand|gener|prod"
    r"|solar|pv|wind|batt|charg|heat|cool|water|light|plug|socket|appl|kitchen|bath|room|floor"
    r"|garage|office|oven|stove|cook|fri?dge|freez|wash|dry|boil|pump|hvac|circuit|other|phase"
    r"|day|night|peak|tarif|reading|value|actual|forecast|active|reactive"
    r"|verbrauch|bezug|strom|netz|speis|leist|wärm|heiz|licht|küche|elec|élec|\b(ac|ev|tv|pc|[lpt]\d)\b",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(\D*)(\d+)")
_OF_A_DAY = re.compile(
    r"(h|hr|he|hour|hora|stunde|std|heure|ora|uur|t|q|qh|quarter|p|period|hh|slot|v|r|)[\s_.-]*",
    re.IGNORECASE,
)
_PARTS = (24, 25, 48, 50, 96, 100)  # of a day, and of the day on which clocks are set back


def told_wide(names: Sequence[str], times: Sequence[str], *, file: str) -> tuple[str, ...]:
    """Return sentences about columns that are called by clock times or by homes, if many are.

    Args:
        names: The columns' names.
        times: Those of the columns of times.
        file: The file's name, for messages.

    Raises:
        SourceError: No column holds times, and columns are called by dates instead.
    """
    others = [name.strip() for name in names if name not in times]
    kinds = parse(pa.chunked_array([pa.array(others, pa.string())])).kinds
    dated = [others[place] for place in np.flatnonzero((kinds == MOMENT) | (kinds == DATE))]
    # Six digits, as in 202403, are as often a device's number.
    months = [others[place] for place in np.flatnonzero(kinds == SPAN)]
    dated = dated or [name for name in months if not name.isdigit()]
    if len(dated) >= _FEWEST_MOMENTS and not times:
        raise SourceError(
            f"{file}: its times stand side by side in the header: {len(dated)} columns are called "
            f"{dated[0]!r} to {dated[-1]!r}",
            hint="write a row for each time, its time in a column of its own: pandas.melt does so",
        )
    if parts := _parts_of_a_day(others):
        return _side_by_side(parts, "parts of a day")
    if len(months := [name for name in others if without_accents(name) in NUMBERS]) == _MONTHS:
        return _side_by_side(months, "months of a year")
    clocks = [others[place] for place in np.flatnonzero(kinds == CLOCK)]
    if len(clocks) >= _FEWEST_CLOCKS:
        return _side_by_side(clocks, "clock times")
    return _of_homes(others, times) if times else ()


def _side_by_side(names: Sequence[str], what: str) -> tuple[str, ...]:
    note = (
        f"{len(names)} columns are called by {what}, {names[0]!r} to {names[-1]!r}: each was read "
        "as a column of its own, with one reading a row; for a series in time write their readings "
        "one below the other"
    )
    return (note,)


def _parts_of_a_day(names: Sequence[str]) -> list[str]:
    """Return columns that are called by the hours, or other parts, of a day one after the other."""
    found = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    found = [match for match in found if _OF_A_DAY.fullmatch(match[1])]
    numbers = [int(match[2]) for match in found]
    counted_up = numbers and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if not counted_up or numbers[0] > 1 or len(numbers) not in _PARTS:
        return []
    return [match[0] for match in found]


def _of_homes(names: Sequence[str], times: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence where each column is of a home, by a home's word or by number alone."""
    names = [name for name in names if not name.startswith(UNNAMED)]
    homes: dict[str, str] = {}  # the first column of each
    for name in names:
        if found := _OF_A_HOME.match(name):
            homes.setdefault(found[0].casefold(), name)
    called = list(homes.values()) or _of_named_homes(names)
    if len(called) < 2:  # noqa: PLR2004 - one home's columns may be called by its number
        numbered = [found for name in names if (found := _NUMBERED.fullmatch(name))]
        alike = len(numbered) == len(names) and len({found[1] for found in numbered}) == 1
        if not alike or len(names) < _FEWEST_ALIKE:
            return ()
        called = names
    note = (
        f"{len(called)} columns are called as of a home each, {called[0]!r} to {called[-1]!r}, "
        "and were read as columns of one home; if they are several homes, write their readings one "
        f"below the other: pandas.melt(table, id_vars={list(times)!r}, var_name='home') does so, "
        'and data.home_column = "home" reads it'
    )
    return (note,)


def _of_named_homes(names: Sequence[str]) -> list[str]:
    """Return columns of one unit of use behind names that are of no meter, if all are such."""
    found = [match for name in names if (match := _NAMED.fullmatch(name))]
    units = {unit_of_name(name) for name in names}
    if len(found) < len(names) or len(units) != 1 or not units <= _OF_USE:
        return []
    return [] if any(_OF_A_METER.search(match[1]) for match in found) else list(names)
