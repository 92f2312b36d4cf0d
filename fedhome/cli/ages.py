"""How long ago something was, in the words of the command line."""

from __future__ import annotations

import time

from fedhome.wire.moments import length

_MINUTE_S = 60


def now() -> float:
    """Return the time by which a command tells ages, Unix time in s: its only clock for them."""
    return time.time()


def ago(then: float, now_s: float) -> str:
    """Return how long ago a moment was, in the largest unit of which there are two.

    >>> ago(1000.0, 1001.0), ago(1000.0, 1600.0), ago(1001.0, 1000.0)
    ('1 s ago', '10 minutes ago', '0 s ago')

    Args:
        then: The moment, Unix time in s.
        now_s: The present, likewise; of a moment after it, no time has passed.
    """
    return f"{length(max(0.0, now_s - then))} ago"


def of_reading(then: float, now_s: float) -> str:
    """Return how old a reading is; of one that is yet to come, by how much, and what to check.

    >>> of_reading(1000.0, 1600.0), of_reading(1030.0, 1000.0)
    ('10 minutes ago', '0 s ago')

    Args:
        then: The reading's time, Unix time in s.
        now_s: The present, likewise; within a minute, two clocks may differ.
    """
    if then - now_s <= _MINUTE_S:
        return ago(then, now_s)
    ahead = length(then - now_s)
    return f"{ahead} ahead of this device's clock: check that, and the readings' time zone"
