"""A column of times as UTC seconds: ISO 8601 with or without offset, or numbers since 1970."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.errors import SourceError

# From 1989 to 2191: what lies outside in every unit counts steps, or is a date in digits.
_EPOCH_S = (6e8, 7e9)
_PER_SECOND = (1, 1_000, 1_000_000, 1_000_000_000)
_QUARTER_S = 900
_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Rows in the order of time.

    Args:
        time_s: UTC seconds since 1970, int64 ``[rows]``, strictly increasing.
        rows: The row of the file that each entry stands for, int64 ``[rows]``.
        time_zone: IANA name of the home's zone.
        notes: What was assumed or left out, in plain sentences.
    """

    time_s: NDArray[np.int64]
    rows: NDArray[np.int64]
    time_zone: str
    notes: tuple[str, ...]


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


def read_axis(
    column: pa.ChunkedArray, *, name: str, time_zone: str | None, location_of: Callable[[int], str]
) -> Axis:
    """Read a column of times, sort the rows by it and keep the last of equal times.

    Args:
        column: Text, numbers, dates or timestamps, ``[rows]``.
        name: The column's name, for messages.
        time_zone: Zone of times without an offset, and of the home; None if unknown.
        location_of: Returns where a row is, for messages.

    Raises:
        SourceError: A cell that is no time, times with and without offset in one column,
            or no time at all.
    """
    notes: list[str] = []
    zone = time_zone
    filled = np.flatnonzero(column.is_valid().to_numpy())
    cells = column.drop_null()
    if not len(filled):
        raise SourceError(f"the time column {name!r} is empty", hint="every row needs a time in it")
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        seconds = np.asarray(pc.floor_temporal(cells, unit="second").cast(pa.timestamp("s", "UTC")))
        seconds = seconds.astype(np.int64)
        zone = zone or _known_zone(str(column.type.tz))
    elif pa.types.is_temporal(column.type):
        moments = _moments_of_arrow(cells, name)
        seconds, zone = _from_moments(
            moments, filled, name, time_zone=zone, location_of=location_of, notes=notes
        )
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        seconds = _from_numbers(np.asarray(cells, dtype=np.float64), name)
    else:
        texts = [str(cell).strip() for cell in cells.to_pylist()]
        try:
            numbers = np.array([float(text) for text in texts])
        except ValueError:
            moments = _moments_of_text(texts, filled, name, location_of)
            seconds, zone = _from_moments(
                moments, filled, name, time_zone=zone, location_of=location_of, notes=notes
            )
        else:
            seconds = _from_numbers(numbers, name)
    if missing := len(column) - len(filled):
        notes.append(f"{missing} rows without a time were left out")
    return _sorted(seconds, filled, zone or "UTC", notes)


def _sorted(
    seconds: NDArray[np.int64], rows: NDArray[np.int64], zone: str, notes: list[str]
) -> Axis:
    order = np.argsort(seconds, kind="stable")
    seconds, rows = seconds[order], rows[order]
    last = np.append(seconds[1:] != seconds[:-1], True)
    if twins := int(np.sum(~last)):
        notes.append(f"{twins} rows have the time of a later row and were left out")
    return Axis(time_s=seconds[last], rows=rows[last], time_zone=zone, notes=tuple(notes))


def _known_zone(name: str) -> str | None:
    try:
        return zone_of(name).key
    except SourceError:
        return None  # Arrow also stores plain offsets such as +02:00, which name no zone


def _from_numbers(numbers: NDArray[np.float64], name: str) -> NDArray[np.int64]:
    least, most = _EPOCH_S
    fits = (bool(np.all((numbers >= least * u) & (numbers <= most * u))) for u in _PER_SECOND)
    unit = next((u for u, fit in zip(_PER_SECOND, fits, strict=True) if fit), None)
    if unit is None:
        raise SourceError(
            f"the time column {name!r} holds numbers that are no times since 1970",
            hint="write times as 2024-05-31T14:00:00+02:00, as seconds or milliseconds since "
            "1970, or rename the column if it only counts rows",
        )
    return np.floor(numbers / unit).astype(np.int64)


def _moments_of_arrow(cells: pa.ChunkedArray, name: str) -> list[datetime]:
    try:
        moments = cells.cast(pa.timestamp("us"), safe=False).to_pylist()
    except (pa.ArrowException, OverflowError, ValueError):
        raise SourceError(
            f"the time column {name!r} holds clock times without a date, or dates out of range",
            hint="write date and time into one column",
        ) from None
    return [moment for moment in moments if isinstance(moment, datetime)]


def _moments_of_text(
    texts: Sequence[str], rows: NDArray[np.int64], name: str, location_of: Callable[[int], str]
) -> list[datetime]:
    moments = []
    for row, text in zip(rows, texts, strict=True):
        try:
            moments.append(datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-")))
        except ValueError:
            raise SourceError(
                f"{location_of(int(row))}: the cell in the time column {name!r} is no time",
                hint="write date and time into one column, as in 2024-05-31T14:00:00+02:00",
            ) from None
    return moments


def _from_moments(
    moments: Sequence[datetime],
    rows: NDArray[np.int64],
    name: str,
    *,
    time_zone: str | None,
    location_of: Callable[[int], str],
    notes: list[str],
) -> tuple[NDArray[np.int64], str | None]:
    aware = [moment.tzinfo is not None for moment in moments]
    if any(aware) and not all(aware):
        odd = int(rows[aware.index(not aware[0])])
        raise SourceError(
            f"{location_of(odd)}: the time column {name!r} has times with and times without an "
            "offset",
            hint="write all times the same way, best with their offset: 2024-05-31T14:00:00+02:00",
        )
    if not aware[0]:
        if time_zone is None:
            notes.append(f"the times in {name!r} carry no offset and were read as UTC")
        return _localise(moments, zone_of(time_zone or "UTC"), notes), time_zone
    offsets = {moment.utcoffset() for moment in moments}
    if len(offsets) > 1:
        notes.append(
            f"the times in {name!r} have {len(offsets)} different offsets; "
            "each was converted to UTC"
        )
    if time_zone is None and any(offsets):
        notes.append("the home's time zone is not given: its hours and weekdays are those of UTC")
    return _seconds(moments), time_zone


def _localise(moments: Sequence[datetime], zone: ZoneInfo, notes: list[str]) -> NDArray[np.int64]:
    """Give naive moments their zone; an hour that comes twice in autumn keeps both of its rows."""
    clock = _seconds(moments, _START.replace(tzinfo=None))
    # Zones change their offset at quarters of an hour only, so one look-up serves a quarter.
    quarters, quarter_index = np.unique(clock // _QUARTER_S, return_inverse=True)
    first, second = (_offsets(quarters, zone, fold=fold)[quarter_index] for fold in (0, 1))
    if skipped := int(np.sum(first < second)):
        notes.append(
            f"{skipped} times do not exist in {zone.key}, where clocks skip an hour in spring"
        )
    again = np.ones(len(clock), dtype=bool)
    again[np.unique(clock, return_index=True)[1]] = False
    return clock - np.where(again & (first > second), second, first)


def _offsets(quarters: NDArray[np.int64], zone: ZoneInfo, *, fold: int) -> NDArray[np.int64]:
    """Return the zone's offsets in seconds at quarters of an hour on its own clock."""
    start = _START.replace(tzinfo=zone)
    offsets = (
        (start + timedelta(seconds=_QUARTER_S * int(quarter))).replace(fold=fold).utcoffset()
        for quarter in quarters
    )
    seconds = (0 if offset is None else offset // timedelta(seconds=1) for offset in offsets)
    return np.fromiter(seconds, np.int64, len(quarters))


def _seconds(moments: Sequence[datetime], start: datetime = _START) -> NDArray[np.int64]:
    # Exact at both ends of the calendar, where datetime.timestamp() overflows.
    gaps = (moment - start for moment in moments)
    return np.fromiter((gap.days * 86_400 + gap.seconds for gap in gaps), np.int64, len(moments))
