"""The steps of a simulation as people in one time zone live them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from fedhome.simulations.homes.draws import Floats, Ints

START = datetime(2025, 1, 6, tzinfo=UTC)
"""When every simulation begins: a Monday in January, midnight in UTC."""

_DAY_S = 86_400
# Local day 0 lies two days before the start: west of Greenwich the first rows belong to
# local day 1, and what began on the evening before still has a day to belong to.
_LEAD_DAYS = 2


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The steps of a simulation in one time zone.

    Args:
        time_s: UTC seconds since 1970 at the start of each step, int64 ``[steps]``.
        step_h: Length of a step in hours.
        hour: Local hour of the day at the start of each step, float64 ``[steps]``, 0 to 24.
        day: Local day of each step, int64 ``[steps]``, counted from two days before the start.
        weekday: Weekday of each local day, int64 ``[days]``, Monday is 0.
    """

    time_s: Ints
    step_h: float
    hour: Floats
    day: Ints
    weekday: Ints

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.time_s)

    @property
    def days(self) -> int:
        """Number of local days, the incomplete ones at both ends included."""
        return len(self.weekday)

    def covered(self, start_h: Floats, length_h: Floats) -> Floats:
        """Return which share of each step lies in its day's interval or the day before's.

        Args:
            start_h: Local hour at which each day's interval begins, float64
                ``[homes, days]``, at least 0; 25 is one o'clock in the following night.
            length_h: Its length in hours, float64 ``[homes, days]``; 0 where there is
                none. An interval ends within its day or the following one.

        Returns:
            Shares between 0 and 1, float64 ``[homes, steps]``.
        """
        share = self._overlap(start_h, length_h, days_ago=0)
        if float(np.max(start_h + length_h, initial=0.0)) > 24.0:  # noqa: PLR2004 - hours
            share = share + self._overlap(start_h, length_h, days_ago=1)
        return np.minimum(share, 1.0)

    def _overlap(self, start_h: Floats, length_h: Floats, *, days_ago: int) -> Floats:
        hour, day = self.hour + 24.0 * days_ago, self.day - days_ago
        begin, end = start_h[:, day], (start_h + length_h)[:, day]  # [homes, steps]
        inside: Floats = np.minimum(end, hour + self.step_h) - np.maximum(begin, hour)
        return np.maximum(inside, 0.0) / self.step_h


def clock(*, days: int, step_minutes: int, time_zone: str) -> Clock:
    """Lay out the steps of a simulation in one time zone.

    Args:
        days: Length of the simulation in days.
        step_minutes: Length of a step in minutes.
        time_zone: IANA name of the zone.
    """
    start_s = int(START.timestamp())
    time_s = np.arange(start_s, start_s + days * _DAY_S, step_minutes * 60, dtype=np.int64)
    zone = ZoneInfo(time_zone)
    offset_s = np.array([_offset_s(zone, int(at)) for at in time_s], dtype=np.int64)
    since_first_s = time_s + offset_s - (start_s - _LEAD_DAYS * _DAY_S)
    return Clock(
        time_s=time_s,
        step_h=step_minutes / 60.0,
        hour=(since_first_s % _DAY_S) / 3600.0,
        day=since_first_s // _DAY_S,
        weekday=(START.weekday() - _LEAD_DAYS + np.arange(days + _LEAD_DAYS + 1)) % 7,
    )


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset() or timedelta(0)
    return int(offset.total_seconds())
