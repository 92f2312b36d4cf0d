"""Which homes a run goes on without, in words: for people who look at its log."""

from __future__ import annotations

from typing import Any

from fedhome.run.events import Event
from fedhome.run.waiting import few

AWAY, BACK = "homes-away", "homes-back"


def absence(event: Event) -> str:
    """Return who cannot be asked and why, of an event ``homes-away``."""
    data: Any = event.data
    return f"without {few(data['homes'])}: {data['reason']}"


def return_of(event: Event) -> str:
    """Return who can be asked again, of an event ``homes-back``."""
    data: Any = event.data
    return f"back: {few(data['homes'])}"
