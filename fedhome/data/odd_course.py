"""Numbers whose course in time stands out: a meter that counts up, a sensor that is stuck."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.data.read_report import length

_FEWEST = 100  # readings; a course of fewer says little
_SHORTEST_S = 2 * 86_400  # a warm morning rises from end to end, too
_RISES = 20
_SIZES = 5  # different rises: row numbers and calendars rise by one
_NEAR_ZERO = 0.05  # of the greatest reading
_RISES_A_FALL = 200  # a meter is exchanged, or shows less once
_READINGS_A_RESTART, _RISES_A_RESTART = 20, 5
_STRETCHES = 50
_RARE = 3  # what stands still more often does so by itself
_NEARLY_ALL = 0.99
_LONGER = 20  # times what nearly all stretches of equal readings stay within
_STUCK, _STUCK_S = 24, 43_200
_AT_AN_END = 0.01  # of the range: wet air is told as 99.9 as often as 100
_COUNTS = 20  # different whole numbers: of people, devices or windows, which stay for a weekend
_NO_METER = re.compile(
    r"#|index|idx|id|no\.?|nr\.?|number|row|zeile|year|jahr|ann[ée]e|año|anno|week|day|date"
)
"""What rises because rows are numbered, or because it is time that goes by."""


def odd_course(
    values: NDArray[np.float64],
    time_s: NDArray[np.int64],
    *,
    source: str,
    name: str,
    time_zone: str,
) -> Iterator[str]:
    """Yield sentences on numbers that only rise, or that stand still as they never do elsewhere.

    Args:
        values: A column's numbers in the order of time, ``[rows]``; NaN where there is none.
        time_s: When they were read, UTC seconds since 1970, ``[rows]``.
        source: The column's name in its file.
        name: Its name in a plan.
        time_zone: IANA name of the zone in which a time is told.
    """
    read, at = _long(values, time_s)
    if how := "" if _numbers_rows(source) else _counts_up(read):
        rule = f'{{{json.dumps(name, ensure_ascii=False)} = "difference"}}'
        yield (
            f"column {source!r} {how}, like a meter that counts up: its readings are learnt from "
            f"as they stand, unless a plan has data.step and data.rules = {rule}, which takes what "
            "was used in each step"
        )
    elif stuck := _stuck(read, at, ZoneInfo(time_zone)):
        yield f"column {source!r} {stuck}: its sensor may be stuck; they were kept"


def counts_up(values: NDArray[np.float64], time_s: NDArray[np.int64], *, name: str) -> bool | None:
    """Tell whether numbers are those of a meter that counts up; None where too few of them move.

    Args:
        values: As of :func:`odd_course`.
        time_s: Likewise.
        name: The column's name.
    """
    if _numbers_rows(name):
        return None
    read, _ = _long(values, time_s)
    moves = np.count_nonzero(np.diff(read) > 0) >= _RISES
    return bool(_counts_up(read)) if moves else None


def _numbers_rows(name: str) -> bool:
    return _NO_METER.fullmatch(name.strip().casefold()) is not None


def _long(
    values: NDArray[np.float64], time_s: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the readings that there are, and when; none of too short a course."""
    there = np.isfinite(values)
    read, at = values[there], time_s[there]
    short = len(read) < _FEWEST or at[-1] - at[0] < _SHORTEST_S
    return (read[:0], at[:0]) if short else (read, at)


def _counts_up(read: NDArray[np.float64]) -> str:
    """Return what a meter's readings do; empty where they are no meter's that counts up."""
    changes = np.diff(read)
    rises = changes[changes > 0]
    falls = np.flatnonzero(changes < 0)
    if len(rises) < max(_RISES, _RISES_A_RESTART * len(falls)) or len(np.unique(rises)) < _SIZES:
        return ""
    if not len(falls):
        return "never falls"
    if len(rises) >= _RISES_A_FALL * len(falls):
        return f"falls no more than {counted(len(falls), 'time')}"
    to_zero = bool(np.all(np.abs(read[falls + 1]) <= _NEAR_ZERO * read.max()))
    few = len(read) >= _READINGS_A_RESTART * len(falls)
    if to_zero and few:
        return f"rises, and falls to zero {counted(len(falls), 'time')}"
    return ""


def _stuck(read: NDArray[np.float64], at: NDArray[np.int64], zone: ZoneInfo) -> str:
    """Return how long numbers stood still that elsewhere change; empty where they did not.

    What lies at the least or the greatest is left out: nothing, full, all that a sensor can show;
    and so are counts of few things.
    """
    levels = np.unique(read)
    if len(levels) <= _COUNTS and bool(np.all(levels == np.round(levels))):
        return ""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(read)) + 1])
    counts = np.diff(np.append(starts, len(read)))
    if len(starts) < _STRETCHES:
        return ""
    usual = float(np.quantile(np.sort(counts)[:-_RARE], _NEARLY_ALL))
    level, lasted = read[starts], at[starts + counts - 1] - at[starts]
    odd = (counts >= max(_STUCK, _LONGER * usual)) & (lasted >= _STUCK_S)
    end = _AT_AN_END * (levels[-1] - levels[0])
    odd &= (level > levels[0] + end) & (level < levels[-1] - end)
    if not odd.any():
        return ""
    longest = int(np.where(odd, counts, 0).argmax())
    begin = datetime.fromtimestamp(int(at[starts[longest]]), UTC).astimezone(zone)
    times = "" if odd.sum() == 1 else f"{counted(int(odd.sum()), 'time')}, longest "
    return (
        f"stands still {times}for {counts[longest]:,} readings "
        f"({length(int(lasted[longest]))}) from {begin:%Y-%m-%d %H:%M} on, and elsewhere seldom "
        f"for more than {usual:.0f}"
    )
