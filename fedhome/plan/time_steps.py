"""Lengths of time as text: what a plan calls the step of a grid, and how people read them."""

from __future__ import annotations

import re

from fedhome.counted import counted
from fedhome.errors import PlanError

DAY_S = 86_400
YEAR_S = 31_556_952  # the mean year of the calendar, 365.2425 days
MONTH_S = YEAR_S // 12
_LONGEST_S = 100 * YEAR_S
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": DAY_S, "mo": MONTH_S, "y": YEAR_S}
_NAMES = {
    "sec": "s",
    "second": "s",
    "minute": "min",
    "hr": "h",
    "hour": "h",
    "day": "d",
    "month": "mo",
    "year": "y",
}
_FORM = re.compile(r"(\d{1,9})\s*([a-z]+)")


def step_seconds(text: str, setting: str = "data.step") -> int:
    """Return a length of time in seconds; a month or a year is the calendar's mean one.

    >>> step_seconds("15min"), step_seconds("1h"), step_seconds("30 s"), step_seconds("1 day")
    (900, 3600, 30, 86400)
    >>> step_seconds("1mo") / 86400, step_seconds("1y") / 86400
    (30.436875, 365.2425)

    Args:
        text: A whole number and a unit: ``s``, ``min``, ``h``, ``d``, ``mo`` or ``y``.
        setting: What it is called in the error.

    Raises:
        PlanError: It is no such text, or no length of 1 s to 100 years.
    """
    found = _FORM.fullmatch(text.strip().casefold())
    name = found[2] if found else ""
    unit = name if name in _UNITS else _NAMES.get(name.removesuffix("s"), "")
    if found is None or not unit:
        fault = (
            f"{setting} is {text!r}: a whole number and s, min, h, d, mo or y are needed, "
            'such as "30s", "15min", "1h", "1d" or "1mo"'
        )
        raise PlanError([fault])
    seconds = int(found[1]) * _UNITS[unit]
    if not 1 <= seconds <= _LONGEST_S:
        raise PlanError([f"{setting} is {text!r}: a length of 1s to 100y is needed"])
    return seconds


def step_text(seconds: int) -> str:
    """Return a length as a plan writes it, in the largest unit that divides it.

    >>> step_text(900), step_text(90), step_text(86400), step_text(2629746)
    ('15min', '90s', '1d', '1mo')
    """
    unit = next(unit for unit in reversed(_UNITS) if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def span_text(seconds: int) -> str:
    """Return a length as people say it, in its two largest units.

    >>> span_text(312), span_text(3600), span_text(90061)
    ('5 min 12 s', '1 h', '1 d 1 h')
    """
    parts = []
    for unit in ("d", "h", "min", "s"):
        count, seconds = divmod(seconds, _UNITS[unit])
        parts.append(f"{count} {unit}" if count else "")
    first = next((place for place, part in enumerate(parts) if part), len(parts) - 1)
    return " ".join(filter(None, parts[first : first + 2])) or "0 s"


def ahead_of(horizon: str) -> str:
    """Return how far ahead one of several horizons is, in words.

    >>> ahead_of("6h"), ahead_of("6")
    ('6h ahead', '6 steps ahead')

    Args:
        horizon: Its name: a length of time, or a number of steps.
    """
    if not horizon.isdecimal():
        return f"{horizon} ahead"
    return f"{counted(int(horizon), 'step')} ahead"
