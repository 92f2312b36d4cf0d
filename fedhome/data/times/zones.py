"""Time zones: what their names mean, and clock times of a zone as UTC."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import SourceError

DAY_S = 86_400
_QUARTER_S = 900
_START = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DAY = (datetime.max.replace(tzinfo=UTC) - _START).days - 1
_FIRST_DAY = (datetime.min.replace(tzinfo=UTC) - _START).days + 1
_HOUR = 60

# Short names that mean one offset all over the world, in minutes.
FIXED = {
    "UTC": 0, "WET": 0, "WEST": _HOUR, "CET": _HOUR, "CEST": 2 * _HOUR, "MEZ": _HOUR,
    "MESZ": 2 * _HOUR, "EET": 2 * _HOUR, "EEST": 3 * _HOUR, "MSK": 3 * _HOUR, "SAST": 2 * _HOUR,
    "JST": 9 * _HOUR, "KST": 9 * _HOUR, "AWST": 8 * _HOUR, "AEST": 10 * _HOUR,
    "AEDT": 11 * _HOUR, "ACST": 9 * _HOUR + 30, "ACDT": 10 * _HOUR + 30, "NZST": 12 * _HOUR,
    "NZDT": 13 * _HOUR,
}  # fmt: skip
# Short names that mean several: clear only beside their other half, or in a zone that is given.
PAIRED = {
    ("EST", "EDT"): (-5 * _HOUR, -4 * _HOUR),
    ("CST", "CDT"): (-6 * _HOUR, -5 * _HOUR),
    ("MST", "MDT"): (-7 * _HOUR, -6 * _HOUR),
    ("PST", "PDT"): (-8 * _HOUR, -7 * _HOUR),
    ("UTC", "BST"): (0, _HOUR),
}
AMBIGUOUS = ({name for pair in PAIRED for name in pair} | {"IST", "AST", "ADT"}) - set(FIXED)
# Both names of a zone: the clock changes, and the cell does not say to which.
WALL_CLOCKS = {
    "CET/CEST": "Europe/Berlin",
    "MEZ/MESZ": "Europe/Berlin",
    "EET/EEST": "Europe/Athens",
    "WET/WEST": "Europe/Lisbon",
    "EST/EDT": "America/New_York",
    "CST/CDT": "America/Chicago",
    "MST/MDT": "America/Denver",
    "PST/PDT": "America/Los_Angeles",
    "GMT/BST": "Europe/London",
}


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        SourceError: No such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise SourceError(
            f"{name!r} is not a time zone", hint='use an IANA name such as "Europe/Berlin"'
        ) from None


@functools.cache
def _zones_in_capitals() -> dict[str, str]:
    return {name.upper(): name for name in sorted(available_timezones())}


def wall_clock_zone(name: str) -> str:
    """Return the IANA zone that a name in capitals stands for in a cell; empty if none."""
    return WALL_CLOCKS.get(name) or (_zones_in_capitals().get(name, "") if "/" in name else "")


def is_known(name: str) -> bool:
    """Tell whether a name in capitals, behind a clock time, can name a zone."""
    return not name or name in FIXED or name in AMBIGUOUS or bool(wall_clock_zone(name))


def known_zone(name: str) -> str | None:
    """Return a zone's IANA name; None for what names none, such as a plain offset."""
    try:
        return zone_of(name).key
    except SourceError:
        return None


def short_names(zone: ZoneInfo, clock_s: NDArray[np.int64]) -> dict[str, int]:
    """Return the short names that a zone has in the years of some times, with their minutes."""
    names: dict[str, int] = {}
    for year in np.unique(clock_s // (366 * DAY_S)).tolist():
        for month in (0, 91, 182, 273):
            day = min(max(year * 366 + month, _FIRST_DAY), _LAST_DAY)
            moment = (_START + timedelta(days=day)).astimezone(zone)
            names[moment.tzname() or ""] = (moment.utcoffset() or timedelta()) // timedelta(
                minutes=1
            )
    return names


@dataclass(frozen=True, kw_only=True)
class Localised:
    """Times of a zone's clock as UTC.

    Args:
        seconds: UTC seconds, int64 ``[rows]``.
        skipped: Number of times that do not exist, where clocks skip an hour.
        twice: Number of times in hours that come twice.
        second: How many of them were taken for the hour's second pass.
    """

    seconds: NDArray[np.int64]
    skipped: int
    twice: int
    second: int

    @property
    def fixed(self) -> bool:
        """Whether the clock seems to keep one offset all the year."""
        return self.skipped > 0 and self.twice > 0 and self.second == 0


def localise(
    clock_s: NDArray[np.int64], zone: ZoneInfo, groups: NDArray[np.int64] | None = None
) -> Localised:
    """Return UTC of times on a zone's clock; an hour that comes twice keeps both of its passes.

    The passes are told apart by the order of the rows, whether the oldest or the newest is first.

    Args:
        clock_s: Seconds since 1970 on the zone's clock, int64 ``[rows]``, in the file's order.
        zone: The zone.
        groups: Number of the series that each row belongs to, int64 ``[rows]``; None for one.
    """
    offsets, near, late = _offsets_of_rows(clock_s, zone)
    skipped = int(np.sum(offsets[near] < late))
    twice = offsets[near] > late
    second = np.zeros(len(near), dtype=bool)
    if twice.any():
        series = np.zeros_like(clock_s) if groups is None else groups
        step = np.diff(clock_s)
        newest_first = int(np.sum(step < 0)) > int(np.sum(step > 0))
        order = np.arange(len(near))[:: -1 if newest_first else 1]
        order = order[np.argsort(series[near[order]], kind="stable")]
        rows = near[order]
        second[order] = _second_pass(clock_s[rows], series[rows], twice[order])
        offsets[near[second]] = late[second]
    return Localised(
        seconds=clock_s - offsets,
        skipped=skipped,
        twice=int(np.sum(twice)),
        second=int(np.sum(second)),
    )


def _second_pass(
    clock_s: NDArray[np.int64], series: NDArray[np.int64], twice: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which rows belong to the second pass of an hour, among rows of the days around it.

    Args:
        clock_s: Their times, series by series, the oldest row of each first, int64 ``[rows]``.
        series: Their series, int64 ``[rows]``.
        twice: Which times lie in an hour that comes twice, ``[rows]``.
    """
    rank, copies = _copies(clock_s, series)
    usual = int(np.median(copies[~twice])) if not twice.all() else 1
    # A time that has its usual number of rows already stands for the later pass.
    again = twice & (rank >= usual)
    joined = (np.diff(series) == 0) & (np.diff(clock_s) > -DAY_S)
    back = joined & (np.diff(clock_s) <= 0)
    within = twice[1:] & twice[:-1]
    if usual > 1 or bool(np.any(back & ~within & (np.diff(clock_s) < 0))):
        return again
    # Rows in order: from where the clock goes back, all rows of the hour are of the later pass.
    backs = np.concatenate([[0], np.cumsum(back & within)])
    begins = np.concatenate([[True], ~(joined & within & (np.diff(clock_s) < DAY_S))])
    before = np.maximum.accumulate(np.where(begins, backs, 0))
    return twice & (backs > before)


def _copies(
    clock_s: NDArray[np.int64], series: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many rows of a row's time come before it, and how many there are in all."""
    order = np.lexsort((clock_s, series))
    new = np.concatenate([[True], (np.diff(clock_s[order]) != 0) | (np.diff(series[order]) != 0)])
    firsts = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    rank, copies = np.empty_like(clock_s), np.empty_like(clock_s)
    rank[order] = np.arange(len(order)) - firsts[group]
    copies[order] = np.bincount(group)[group]
    return rank, copies


def _offsets_of_rows(
    clock_s: NDArray[np.int64], zone: ZoneInfo
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return offsets in seconds ``[rows]``, and what is special on days on which they change.

    That is the rows of these days, and for each the offset of a later pass of its hour.
    """
    none = np.empty(0, dtype=np.int64)
    if not len(clock_s):
        return none, none, none
    day = clock_s // DAY_S
    first_day = int(day.min())
    table = np.zeros(int(day.max()) - first_day + 1, dtype=np.int64)
    changes = np.zeros(len(table), dtype=bool)
    table[day - first_day] = 1
    days = np.flatnonzero(table) + first_day
    begin = _offsets(days * DAY_S, zone, fold=0)
    edges = [_offsets(days * DAY_S, zone, fold=1)]
    edges += [_offsets((days + 1) * DAY_S, zone, fold=fold) for fold in (0, 1)]
    table[days - first_day] = begin
    changes[days - first_day] = np.any([edge != begin for edge in edges], axis=0)
    offsets = table[day - first_day]
    near = np.flatnonzero(changes[day - first_day])
    # Zones change their offset at quarters of an hour only, so one look-up serves a quarter.
    quarters, place = np.unique(clock_s[near] // _QUARTER_S, return_inverse=True)
    early, late = (_offsets(quarters * _QUARTER_S, zone, fold=fold)[place] for fold in (0, 1))
    offsets[near] = early
    return offsets, near, late


def _offsets(clock_s: NDArray[np.int64], zone: ZoneInfo, *, fold: int) -> NDArray[np.int64]:
    """Return the zone's offsets in seconds at times on its own clock."""
    start = _START.replace(tzinfo=zone)
    kept = np.clip(clock_s, _FIRST_DAY * DAY_S, _LAST_DAY * DAY_S)
    offsets = (
        (start + timedelta(seconds=second)).replace(fold=fold).utcoffset()
        for second in kept.tolist()
    )
    seconds = (0 if offset is None else offset // timedelta(seconds=1) for offset in offsets)
    return np.fromiter(seconds, np.int64, len(kept))
