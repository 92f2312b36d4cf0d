"""A home that runs ask nothing more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LeftOutHome:
    """A home that is asked nothing more.

    Args:
        home: Its name.
        identity: Its public key, hexadecimal: a home of this name that is enrolled anew is another.
        reason: Why, as a clause.
        run: Name of the run that found it.
        time: When, ISO 8601 in UTC.
        directory: Hash of the directory for which this holds, hexadecimal; empty: for all.
    """

    home: str
    identity: str
    reason: str
    run: str
    time: str
    directory: str = ""
