"""Whether a run's log tells why homes were missing from its rounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fedhome.run.absent import AWAY, BACK
from fedhome.run.events import Event

_DROPPED = frozenset({"reply-dropped", "reply-late", "home-refused", "sum-failed"})
_TAKEN_AGAIN = "is taken again"  # a sum over those who were there before the process ended
_NOTHING_TO_ADD = "had nothing to add"  # a sum hides which homes: their own logs say why


def untold(events: Iterable[Event], homes: int) -> list[str]:
    """Return of which rounds the log does not tell why homes were missing.

    A home is told of that is away (until it is back), that was late, that refuses, or whose answer
    could not be used or had nothing to add: at least as many as were missing.

    Args:
        events: The log.
        homes: How many homes the fleet has, where the log does not tell.
    """
    away: set[str] = set()
    meanwhile: set[str] = set()  # away at some time since the last round
    before: set[str] = set()  # the same, as told by a process that has ended
    told, broken = 0, []
    for event in events:
        if event.event == "run-resumed":
            before = before | meanwhile | away
            away.clear()  # the new process tells anew who is
            meanwhile.clear()
        elif _TAKEN_AGAIN in str(event.data.get("text")):
            meanwhile |= before
        elif event.event == "fleet-ready":  # a home may have left the fleet, or joined
            homes = int(str(event.data["homes"])) + len(away)
        elif event.event == AWAY:
            away |= _homes(event)
            meanwhile |= away
        elif event.event == BACK:
            away -= _homes(event)
        elif event.event in _DROPPED or _NOTHING_TO_ADD in str(event.data.get("text")):
            told += 1
        elif event.event == "round-closed":
            row = {name: int(str(event.data[name])) for name in ("round", "homes_answered")}
            told += int(str(event.data["homes_late"]))
            missing = homes - row["homes_answered"]
            if missing > len(meanwhile | away) + told:
                broken.append(f"nothing tells why {missing} homes miss round {row['round']}")
            told, meanwhile, before = 0, {*away}, set()
    return broken


def _homes(event: Event) -> set[str]:
    data: Any = event.data
    return set(data["homes"])
