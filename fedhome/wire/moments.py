"""Moments, and times between them, in words, for messages to people."""

from __future__ import annotations

from datetime import UTC, datetime

_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3600, 60


def length(seconds: float) -> str:
    """Return a length of time in the largest unit of which there are two.

    >>> length(1.0), length(600.0), length(200_000.0)
    ('1 s', '10 minutes', '2 days')

    Args:
        seconds: The length, s, not negative.
    """
    for size, name in ((_DAY_S, "days"), (_HOUR_S, "hours"), (_MINUTE_S, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def when(time: float) -> str:
    """Return a Unix time in words, to the minute."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "a year that no calendar has"
