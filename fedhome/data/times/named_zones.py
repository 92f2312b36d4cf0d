"""What the name of a column of times says about its clock: ``HourUTC``, ``MTU (CET/CEST)``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedhome.data.times.zones import FIXED, wall_clock_zone

_PLACE = re.compile(r"[A-Za-z_]+(?:/[A-Za-z_-]+)+")
_OFFSET = re.compile(r"(?<![a-z])(?:utc|gmt)\s?([+\-\u2212])\s?(\d{1,2})(?::?\d\d)?", re.IGNORECASE)
_UTC = re.compile(r"(?<![a-z])(?:utc|gmt|zulu)(?![a-z])", re.IGNORECASE)
_UTC_IN_CAMELS = re.compile(r"(?<=[a-z])U(?:TC|tc)(?![a-z])")
_LOCAL = re.compile(r"lo[ck]al", re.IGNORECASE)
_SHORT = re.compile(r"(?<![A-Za-z])[A-Z]{3,4}(?![A-Za-z])")


@dataclass(frozen=True, kw_only=True)
class NamedClock:
    """The clock that a column's name tells.

    Args:
        zone: Its zone's IANA name, ``UTC`` where it says so; empty if that stays open.
        hint: What an open name says: an offset or a short name, as of all the year.
    """

    zone: str = ""
    hint: str = ""


def named_clock(names: Sequence[str]) -> NamedClock:
    """Return what the names of the columns of times say about their clock.

    ``UTC`` and names of places leave one meaning. An offset or a short name does not: many
    write UTC+1 or CET for a clock that follows summer time.

    >>> named_clock(["HourUTC"]).zone, named_clock(["MTU (CET/CEST)"]).zone
    ('UTC', 'Europe/Berlin')
    >>> named_clock(["Local time (CET)"])
    NamedClock(zone='', hint='CET')

    Args:
        names: Of the column of times, or of those of date and clock.
    """
    hint = ""
    for name in names:
        places = (wall_clock_zone(found.upper()) for found in _PLACE.findall(name))
        if place := next(filter(None, places), ""):
            return NamedClock(zone=place)
        if offset := _OFFSET.search(name):
            if int(offset[2]):
                hint = hint or offset[0]
                continue
            return NamedClock(zone="UTC")
        if (_UTC.search(name) or _UTC_IN_CAMELS.search(name)) and not _LOCAL.search(name):
            return NamedClock(zone="UTC")
        hint = hint or next((one for one in _SHORT.findall(name) if FIXED.get(one)), "")
    return NamedClock(hint=hint)
