"""What a run waits for, in words: read off its log, for people who look at it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from fedhome.counted import counted
from fedhome.run.events import Event
from fedhome.wire.moments import when

WAITING, THERE, FAILED = "waiting", "waiting-over", "round-failed"
_NAMED = 8
_ENDS = {THERE, "round-closed", "run-resumed", "run-finished", "run-failed", "personalising"}


def what_it_waits_for(events: Iterable[Event]) -> str:
    """Return what a run waits for after these events, as a clause; nothing if it does not wait."""
    text = ""
    for event in events:
        if event.event in _ENDS:
            text = ""
        elif event.event == WAITING:
            text = waiting_for(event)
        elif event.event == FAILED:
            text = repetition(event)
    return text


def waiting_for(event: Event) -> str:
    """Return who is waited for, of an event ``waiting``."""
    data: Any = event.data
    missing, left_out = data["missing"], data["left_out"]
    names = f" for {few(missing)}" if missing else ""
    out = f"; {few(left_out)} left out" if left_out else ""
    return (
        f"waiting since {when(event.time.timestamp())}{names}: {data['there']} of {data['of']} "
        f"{data['what']}, {data['needed']} are needed{out}"
    )


def repetition(event: Event) -> str:
    """Return when a failed round is tried again, of an event ``round-failed``; empty if never."""
    data: Any = event.data
    if "again_s" not in data:
        return ""
    so_far = f"round {data['round']} failed {_times(data['attempt'])}: {failure_of(event)}; it is"
    if not data["again_s"]:
        return f"{so_far} repeated"
    due = event.time + timedelta(seconds=data["again_s"])
    return f"{so_far} repeated at {when(due.timestamp())}, or when another home comes"


def failure_of(event: Event) -> str:
    """Return why a round failed, of an event ``round-failed``."""
    data: Any = event.data
    if data.get("reason") and not data["homes"]:  # how many answered is in it, where it matters
        return str(data["reason"])
    why = f" ({data['reason']})" if data.get("reason") else ""
    return f"{counted(data['homes'], 'home')} answered, {data['needed']} are needed{why}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def few(names: list[str]) -> str:
    """Return names in words: the first ones, and how many more there are."""
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
