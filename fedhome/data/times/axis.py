"""Rows in the order of time: columns of times as UTC seconds, one row for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.data.times.joined_times import read_times
from fedhome.data.times.named_zones import named_clock
from fedhome.data.times.time_cells import SECOND_US
from fedhome.data.times.time_reading import ColumnTimes, LocationOf
from fedhome.data.times.twins import without_twins
from fedhome.data.times.zones import localise, zone_of
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

_FAR = 100  # spans of all other rows: no reading comes from so far away
_EARLY_S = 946_771_200  # the end of the first day of 2000: clocks that were not set yet
_FEW_OF = 100
_YEARS = (2000, 2100)  # from the first up to the second, homes' readings come


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Rows in the order of time.

    Args:
        time_s: UTC seconds since 1970, int64 ``[rows]``, strictly increasing.
        rows: The row of the file that each entry stands for, int64 ``[rows]``.
        time_zone: IANA name of the home's zone.
        notes: What was assumed or left out, in plain sentences.
        format: How the times were written, in words.
        naive: Whether they carried no offset and were read as UTC for want of a zone.
        twin_rows: Rows that were left out because a later row has the same time and holds
            something else, int64 ``[twins]``.
        twin_places: The entry of ``rows`` that took the place of each, int64 ``[twins]``.
    """

    time_s: NDArray[np.int64]
    rows: NDArray[np.int64]
    time_zone: str
    notes: tuple[str, ...]
    format: str = ""
    naive: bool = False
    twin_rows: NDArray[np.int64] = field(default_factory=_no_rows)
    twin_places: NDArray[np.int64] = field(default_factory=_no_rows)

    @property
    def twins(self) -> int:
        """Number of rows that were left out though they hold something else."""
        return len(self.twin_rows)


@dataclass(frozen=True, kw_only=True)
class RowTimes:
    """The times of rows, in the order of the file.

    Args:
        us: UTC microseconds since 1970, int64 ``[read]``.
        rows: The row of each, int64 ``[read]``.
        time_zone: IANA name of the home's zone.
        format: How the times were written, in words.
        naive: Whether they carried no offset and were read as UTC for want of a zone.
        notes: What was assumed or left out, in plain sentences.
    """

    us: NDArray[np.int64]
    rows: NDArray[np.int64]
    time_zone: str
    format: str
    naive: bool
    notes: tuple[str, ...]


def read_axis(
    rows: pa.Table,
    names: Sequence[str],
    settings: ReadingSettings,
    *,
    location_of: LocationOf,
) -> Axis:
    """Read the times of rows, sort the rows by them and keep the last of equal times.

    Args:
        rows: All columns.
        names: The column of times, or those of date and clock, or those of year, month, day, ...
        settings: How dates are to be read, and the zone of times without an offset.
        location_of: Returns where a row is, for messages.

    Raises:
        SourceError: Cells that are no times, times with and without offset in one column, dates
            that make sense in several ways, or no time at all.
    """
    if not rows.num_rows:
        zone = settings.time_zone or "UTC"
        return Axis(time_s=_no_rows(), rows=_no_rows(), time_zone=zone, notes=())
    moments = read_moments(rows, names, settings, location_of=location_of)
    notes = [*moments.notes, *told_untimed(rows.num_rows, moments.rows, names, location_of)]
    us, numbers = _set_clocks(moments.us, moments.rows, location_of, notes)
    notes += _odd_years(us, numbers, location_of)
    kept = without_twins(rows, us, numbers, leave=names, naive=moments.naive)
    return Axis(
        time_s=kept.us // SECOND_US,
        rows=kept.rows,
        time_zone=moments.time_zone,
        notes=(*notes, *kept.notes),
        format=moments.format,
        naive=moments.naive,
        twin_rows=kept.twin_rows,
        twin_places=kept.twin_places,
    )


def told_untimed(
    count: int, read: NDArray[np.int64], names: Sequence[str], location_of: LocationOf
) -> tuple[str, ...]:
    """Return a sentence on rows without a time, which are left out, if there are any.

    Args:
        count: Number of all rows.
        read: Those that have a time, int64 ``[read]``.
        names: The columns of times.
        location_of: Returns where a row is, for messages.

    Raises:
        SourceError: Most rows have none.
    """
    missing = count - len(read)
    if not missing:
        return ()
    if 2 * missing <= count:
        return (f"{counted(missing, 'row')} without a time {was(missing)} left out",)
    first = int(np.setdiff1d(np.arange(count), read)[0])
    columns = " and ".join(map(repr, names))
    raise SourceError(
        f"{location_of(first)}: there is no time in {columns}, as in {missing} of {count} rows",
        hint="write the time into every row: cells that were merged, and dates that stand only "
        "where they change, have to be filled down",
    )


def read_moments(
    rows: pa.Table,
    names: Sequence[str],
    settings: ReadingSettings,
    *,
    location_of: LocationOf,
    series: NDArray[np.int64] | None = None,
) -> RowTimes:
    """Read the times of rows, in the order of the file; arguments and errors as of `read_axis`.

    Args:
        rows: All columns.
        names: The columns of times.
        settings: How dates are to be read, and the zone of times without an offset.
        location_of: Returns where a row is, for messages.
        series: Number of the series that each row belongs to, int64 ``[rows]``: an hour that
            comes twice does so in each; None for one series.
    """
    read = read_times(rows, names, settings, location_of=location_of)
    notes = list(read.notes)
    if not read.aware and read.zone is None:
        read = _as_named(read, names, settings, notes)
    zone = settings.time_zone or read.zone
    us = read.us
    if not read.aware:
        if zone is None:
            columns = " and ".join(map(repr, names))
            notes.append(
                f"the times in {columns} carry no offset and were read as UTC; data.time_zone "
                "names the zone of local ones"
            )
        else:
            us = _in_zone(read, read.zone or zone, series, notes)
    return RowTimes(
        us=us,
        rows=read.rows,
        time_zone=zone or "UTC",
        format=read.format,
        naive=zone is None and not read.aware,
        notes=tuple(notes),
    )


def _as_named(
    read: ColumnTimes, names: Sequence[str], settings: ReadingSettings, notes: list[str]
) -> ColumnTimes:
    """Return times on the clock that their columns' names tell, whatever the home's zone is."""
    columns = " and ".join(map(repr, names))
    clock = named_clock(names)
    if clock.zone:
        one = "its name says" if len(names) == 1 else "their names say"
        notes.append(f"the times in {columns} were read as those of {clock.zone}, as {one}")
        return replace(read, aware=True) if clock.zone == "UTC" else replace(read, zone=clock.zone)
    if clock.hint and not (settings.time_zone and clock.hint.isalpha()):
        notes.append(
            f"the name of {columns} says {clock.hint}: name the clock's zone in data.time_zone, "
            'such as "Europe/Berlin", or "Etc/GMT-1" for UTC+1 all the year'
        )
    return read


def _in_zone(
    read: ColumnTimes, name: str, series: NDArray[np.int64] | None, notes: list[str]
) -> NDArray[np.int64]:
    zone = zone_of(name)
    seconds, finer = np.divmod(read.us, SECOND_US)
    local = localise(seconds, zone, None if series is None else series[read.rows])
    if local.skipped:
        notes.append(
            f"{local.skipped} {'time does' if local.skipped == 1 else 'times do'} not exist in "
            f"{zone.key}, where clocks skip an hour in spring"
            + (
                "; if the clock keeps winter time all the year, give its own zone, such as "
                'data.time_zone = "Etc/GMT-1" for UTC+1'
                if local.fixed
                else ""
            )
        )
    lie = f"{counted(local.twice, 'time')} {'lies' if local.twice == 1 else 'lie'}"
    if local.second:
        notes.append(
            f"{lie} in an hour that comes twice in {zone.key}; its two passes were told apart by "
            "the order of the rows"
        )
    elif local.twice:
        notes.append(
            f"{lie} in an hour that comes twice in {zone.key}, but "
            f"{'is' if local.twice == 1 else 'are'} there only once: the first pass was taken"
        )
    return local.seconds * SECOND_US + finer


def _set_clocks(
    us: NDArray[np.int64],
    rows: NDArray[np.int64],
    location_of: LocationOf,
    notes: list[str],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Leave out the few rows that a clock not set yet has written, and sort by time."""
    order = np.argsort(us, kind="stable")
    us, rows = us[order], rows[order]
    few = min(max(3, len(us) // _FEW_OF), len(us) // 10)
    if not few:
        return us, rows
    core = us[few : len(us) - few]
    span = int(core[-1] - core[0])
    if not span:
        return us, rows
    far = (us < core[0] - _FAR * span) | (us > core[-1] + _FAR * span)
    early = us < _EARLY_S * SECOND_US
    first_later = int(np.sum(early))
    if 0 < first_later <= few and int(us[first_later] - us[first_later - 1]) > span:
        far |= early
    if not far.any():
        return us, rows
    first = location_of(int(rows[far].min()))
    notes.append(
        f"{int(far.sum())} rows have a time far from all others, as of a clock that was not set "
        f"(the first: {first}), and were left out"
    )
    return us[~far], rows[~far]


def _odd_years(
    us: NDArray[np.int64], rows: NDArray[np.int64], location_of: LocationOf
) -> list[str]:
    """Return a sentence on times of years from which no home's readings come, if there are any."""
    first, end = (int(np.datetime64(f"{year}-01-01", "us").astype(np.int64)) for year in _YEARS)
    odd = (us < first) | (us >= end)
    if not odd.any():
        return []
    at, count = int(np.argmin(rows[odd])), int(odd.sum())
    year = np.datetime64(int(us[odd][at]), "us").astype("datetime64[Y]")
    note = (
        f"{counted(count, 'row')} {was(count)} read as of years before {_YEARS[0]} or from "
        f"{_YEARS[1]} on (the first, of {year}: {location_of(int(rows[odd][at]))}): see whether "
        "that is meant; data.time names another column of times, data.dates the order of dates"
    )
    return [note]
