"""Whether a run's log tells why homes were missing from its rounds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fedhome.questions.question_table import TRAIN
from fedhome.run.absent import AGAIN, AWAY, BACK, DROPPED, EMPTY, LATE, PASSED, UNTRIED
from fedhome.run.events import Event
from fedhome.run.waiting import FAILED
from fedhome.server.rounds.suspects import FOUND

_EXCLUDED = "home-excluded"


def untold(events: Iterable[Event], homes: int) -> list[str]:
    """Return of which rounds the log does not tell why homes were missing, and what it tells.

    Each of them is named: it is away (at some time of the attempt that gave the round), left out,
    was late with its training or passed over, or what it sent was of no use. Homes that had
    nothing to add are counted: a sum hides which they are. What was told of an attempt that failed,
    or before the process ended, explains nothing later, but where the log says that it is the same
    sum.

    Args:
        events: The log.
        homes: How many homes the fleet has, where the log does not tell.
    """
    told, broken, since = _Told(), list[str](), list[Event]()
    for event in events:
        since.append(event)
        if event.event == "run-resumed":  # the new process tells anew
            told = _Told()
        told.hear(event)
        if event.event == "fleet-ready":  # a home may have left the fleet, or joined
            homes = int(str(event.data["homes"])) + len(told.uncounted)
        elif event.event == "round-closed":
            missing = homes - int(str(event.data["homes_answered"]))
            if missing > len(told.named) + sum(told.empty.values()):
                broken.append(
                    f"nothing tells why {missing} homes miss round {event.data['round']}: named "
                    f"are {', '.join(sorted(told.named)) or 'none'}; since the round before the "
                    f"log has\n{_lines(since)}"
                )
            told.begin()
            since.clear()
    return broken


def _lines(events: Iterable[Event]) -> str:
    """Return events as lines, for people: what it takes to see from a failure alone why it is."""
    return "\n".join(
        f"  {one.seq} {one.time:%H:%M:%S} {one.event} {json.dumps(dict(one.data))}"
        for one in events
    )


class _Told:
    """What a log has told so far.

    Attributes:
        named: Homes that are missing from the round that is being made, with a reason.
        empty: How many had nothing to add to the trainings of each group.
    """

    def __init__(self) -> None:
        self._away: set[str] = set()
        self._out: set[str] = set()
        self._unfit: set[str] = set()
        self._untried: set[str] = set()
        self.named: set[str] = set()
        self.empty: dict[object, int] = {}

    @property
    def uncounted(self) -> set[str]:
        """Homes of the fleet that are not among those that a run begins with."""
        return self._away | self._unfit

    @property
    def unasked(self) -> set[str]:
        """Homes that are not asked now."""
        return self.uncounted | self._out | self._untried

    def begin(self) -> None:
        """Begin another attempt at a round."""
        self.named = self.unasked

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        data: Any = event.data
        kind = event.event
        if kind == FAILED:
            self.begin()
        elif kind == AWAY:
            self._away |= set(data["homes"])
        elif kind == BACK:
            self._away -= set(data["homes"])
        elif kind == FOUND:
            self._out |= set(data["homes"])
        elif kind == _EXCLUDED:
            self._unfit.add(data["home"])
        elif kind == UNTRIED:
            self._untried = set(data["homes"])
        elif data.get("stage") == TRAIN:
            self._hear_of_training(kind, data)
        self.named |= self.unasked

    def _hear_of_training(self, kind: str, data: Any) -> None:
        if kind == DROPPED:
            self.named.add(data["home"])
        elif kind in (LATE, PASSED):
            self.named |= set(data["homes"])
        elif kind == AGAIN:
            self.named |= set(data["missing"])
        elif kind == EMPTY:
            self.empty[data["group"]] = data["homes"]
