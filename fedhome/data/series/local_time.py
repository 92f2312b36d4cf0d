"""A home's own clock: UTC moments as its local time, and hour and weekday as inputs of a model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.errors import DataError
from fedhome.plan.time_steps import DAY_S

CALENDAR = (
    "hour sin",
    "hour cos",
    "half-day sin",
    "half-day cos",
    "week sin",
    "week cos",
    "weekend",
)
"""Names of the inputs that say when something is predicted."""
OF_THE_WEEK = frozenset(CALENDAR[4:])
"""Those of them that say on which day of the week."""
_WEEK = 7  # days


def local_seconds(time_s: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Return what the home's clocks show at UTC moments.

    Args:
        time_s: UTC seconds since 1970, ``[rows]``.
        zone: IANA name of the home's zone.

    Returns:
        Seconds since 1970-01-01 00:00 on the local clock, ``[rows]``; an hour that comes
        twice in autumn is shown twice.

    Raises:
        DataError: No such zone.
    """
    try:
        local = pc.local_timestamp(pa.array(time_s, pa.int64()).cast(pa.timestamp("s", tz=zone)))
    except pa.ArrowInvalid:
        raise _no_zone(zone) from None
    return np.asarray(local.cast(pa.int64()).to_numpy(zero_copy_only=False))


def utc_seconds(local_s: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Return the UTC moments at which the home's clocks show local times.

    Of a time that comes twice it is the first, of one that is skipped the moment of the change.

    Args:
        local_s: Seconds since 1970-01-01 00:00 on the local clock, ``[rows]``.
        zone: IANA name of the home's zone.

    Raises:
        DataError: No such zone.
    """
    shown = pa.array(local_s, pa.int64()).cast(pa.timestamp("s"))
    try:
        utc = pc.assume_timezone(shown, zone, ambiguous="earliest", nonexistent="latest")
    except pa.ArrowInvalid:
        raise _no_zone(zone) from None
    return np.asarray(utc.cast(pa.int64()).to_numpy(zero_copy_only=False))


def calendar(time_s: NDArray[np.int64], zone: str) -> dict[str, NDArray[np.float64]]:
    """Return hour and weekday of moments in the home's own zone, as points on circles.

    Args:
        time_s: UTC seconds since 1970, ``[rows]``.
        zone: IANA name of the home's zone.

    Raises:
        DataError: No such zone.
    """
    second = local_seconds(time_s, zone)
    hour = 2 * np.pi * (second % DAY_S) / DAY_S
    weekday = (second // DAY_S + 3) % _WEEK  # day 0, 1970-01-01, was a Thursday; Monday is 0
    week = 2 * np.pi * (second / DAY_S + 3) / _WEEK
    values = (
        np.sin(hour),
        np.cos(hour),
        np.sin(2 * hour),
        np.cos(2 * hour),
        np.sin(week),
        np.cos(week),
        (weekday >= 5).astype(np.float64),  # noqa: PLR2004
    )
    return dict(zip(CALENDAR, values, strict=True))


def knows_a_week(time_s: NDArray[np.int64], zone: str) -> bool:
    """Return whether moments reach over seven days or more, as the home's own calendar has them.

    Args:
        time_s: UTC seconds since 1970, ``[rows]``, at least one.
        zone: IANA name of the home's zone.

    Raises:
        DataError: No such zone.
    """
    return bool(np.ptp(local_seconds(time_s, zone) // DAY_S) >= _WEEK - 1)


def _no_zone(zone: str) -> DataError:
    return DataError(f"{zone!r} is not a time zone", hint="use an IANA name such as Europe/Berlin")
