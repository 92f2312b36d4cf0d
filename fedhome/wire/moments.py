"""Moments in words, for messages to people."""

from __future__ import annotations

from datetime import UTC, datetime


def when(time: float) -> str:
    """Return a Unix time in words, to the minute."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "a year that no calendar has"
