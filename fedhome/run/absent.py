"""Which homes a run, or a sum of it, goes on without, in words: for people who look at its log."""

from __future__ import annotations

from typing import Any

from fedhome.run.events import Event
from fedhome.run.waiting import few

AWAY, BACK = "homes-away", "homes-back"
LATE, EMPTY, AGAIN = "homes-late", "homes-empty-handed", "sum-taken-again"
DROPPED, UNTRIED, PASSED = "reply-dropped", "homes-not-tried", "homes-passed-over"


def exclusion(home: str, reason: str) -> str:
    """Return which home cannot take part and why, as of an event ``home-excluded``.

    >>> exclusion("oak", "it has no rows"), exclusion("oak", "home 'oak' has too few rows")
    ('left out: oak: it has no rows', "left out: home 'oak' has too few rows")
    """
    named = reason.startswith(f"home {home!r}")
    return f"left out: {reason if named else f'{home}: {reason}'}"


def absence(event: Event) -> str:
    """Return who cannot be asked and why, of an event ``homes-away``."""
    data: Any = event.data
    return f"without {few(data['homes'])}: {data['reason']}"


def return_of(event: Event) -> str:
    """Return who can be asked again, of an event ``homes-back``."""
    data: Any = event.data
    return f"back: {few(data['homes'])}"


def lateness(event: Event) -> str:
    """Return who was late with what, of an event ``homes-late``."""
    data: Any = event.data
    return f"late with {data['stage']}: {few(data['homes'])}"


def passed_over(event: Event) -> str:
    """Return which homes a sum is taken without, of an event ``homes-passed-over``."""
    data: Any = event.data
    return f"{data['stage']} without {few(data['homes'])}: {data['reason']}"


def taken_again(event: Event) -> str:
    """Return which sum is taken without asking homes, of an event ``sum-taken-again``."""
    data: Any = event.data
    missing = f"; without {few(sorted(data['missing']))}" if data["missing"] else ""
    return f"round {data['round']}: {data['reason']}{missing}"


def search_without(event: Event) -> str:
    """Return which homes a search goes on without, of an event ``homes-not-tried``."""
    data: Any = event.data
    homes = f"without {few(data['homes'])}" if data["homes"] else "with all homes"
    return f"searching for homes that spoil sums: the next sums are {homes}"
