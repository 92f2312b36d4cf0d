"""What stands behind clock times in cells: nothing, an offset, or a zone's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedhome.data.times.time_cells import SECOND_US
from fedhome.data.times.zones import (
    FIXED,
    PAIRED,
    localise,
    short_names,
    wall_clock_zone,
    zone_of,
)
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings


@dataclass(frozen=True, kw_only=True)
class Marked:
    """Times of cells, and what stands behind them.

    Args:
        us: Microseconds since 1970 of each distinct cell, int64 ``[cells]``.
        marks: Index into ``names`` of each distinct cell, int16 ``[cells]``.
        names: ``""`` nothing, ``"+"`` an offset (taken off already), or a name in capitals.
        places: The distinct cell of each row that is read, int64 ``[read]``.
        rows: These rows, int64 ``[read]``.
        offsets: Offsets in minutes that occur.
    """

    us: NDArray[np.int64]
    marks: NDArray[np.int16]
    names: list[str]
    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    offsets: set[int]


def resolved(
    cells: Marked,
    settings: ReadingSettings,
    *,
    name: str,
    location_of: Callable[[int], str],
    notes: list[str],
) -> tuple[NDArray[np.int64], str | None, bool]:
    """Return times in microseconds ``[read]``, the zone that cells name, and whether it is UTC.

    Args:
        cells: The times.
        settings: The zone that short names belong to.
        name: The column's name, for messages.
        location_of: Returns where a row is, for messages.
        notes: Gets a sentence for what was assumed.

    Raises:
        SourceError: Times with and without offset in one column, or a short name of many zones.
    """
    used = [cells.names[mark] for mark in np.unique(cells.marks[cells.places]).tolist()]
    if "" in used and len(used) > 1:
        naive = cells.marks[cells.places] == 0
        odd = int(cells.rows[np.argmax(naive != naive[0])])
        raise SourceError(
            f"{location_of(odd)}: the time column {name!r} has times with and times without an "
            "offset",
            hint="write all times the same way, best with their offset: 2024-05-31T14:00:00+02:00",
        )
    us = cells.us[cells.places]
    if used == [""]:
        return us, None, False
    zones = {one: wall_clock_zone(one) for one in used if wall_clock_zone(one)}
    if len(used) == len(zones) == 1:
        return us, next(iter(zones.values())), False
    minutes = _minutes(used, zones, settings, us, name)
    marks = cells.marks[cells.places]
    for one, offset in minutes.items():
        us[marks == cells.names.index(one)] -= offset * 60 * SECOND_US
    for one, zone in zones.items():
        here = marks == cells.names.index(one)
        seconds, finer = np.divmod(us[here], SECOND_US)
        us[here] = localise(seconds, zone_of(zone)).seconds * SECOND_US + finer
    offsets = set(minutes.values()) | (cells.offsets if "+" in used else set())
    if len(offsets) > 1 or zones:
        kinds = len(offsets) + len(zones)
        notes.append(
            f"the times in {name!r} have {kinds} different offsets; each was converted to UTC"
        )
    if not settings.time_zone and any(offsets):
        notes.append("the home's time zone is not given: its hours and weekdays are those of UTC")
    return us, None, True


def _minutes(
    used: list[str],
    zones: dict[str, str],
    settings: ReadingSettings,
    us: NDArray[np.int64],
    name: str,
) -> dict[str, int]:
    """Return the offset in minutes of each short name."""
    own = short_names(zone_of(settings.time_zone), us // SECOND_US) if settings.time_zone else {}
    minutes = {}
    for one in used:
        if one == "+" or one in zones:
            continue
        pair = next((p for p in PAIRED if one in p and set(p) <= set(used)), None)
        if one in own:
            minutes[one] = own[one]
        elif one in FIXED:
            minutes[one] = FIXED[one]
        elif pair:
            minutes[one] = PAIRED[pair][pair.index(one)]
        else:
            raise SourceError(
                f"the times in column {name!r} end with the short name of a zone that "
                "several zones have",
                hint='name the zone: data.time_zone = "America/New_York"',
            )
    return minutes
