"""The notable events of a run, as a reader is told of them: equal ones together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fedhome.counted import counted
from fedhome.run.events import Event
from fedhome.run.waiting import FAILED, failure_of
from fedhome.server.report.number_words import NOTHING

NOTABLE: Final = frozenset(
    (
        "again",
        "dropped",
        "excluded",
        "failed",
        "handed",
        "late",
        "lost",
        "note",
        "refused",
        "repaired",
        "resumed",
        "stop",
        "unused",
    )
)
"""Events whose kind ends in one of these words are shown; the others are routine."""

MOST_NAMES: Final = 8
"""This many names are listed; the rest are counted."""


@dataclass
class Notice:
    """Notable events of one kind and one reason, grouped.

    Args:
        kind: What happened.
        reason: Why, and further details where they are the same for all.
        times: How often.
        homes: Which homes, each once.
        rounds: In which rounds, each once.
    """

    kind: str
    reason: str
    times: int = 0
    homes: dict[str, None] = field(default_factory=dict)
    rounds: dict[int, None] = field(default_factory=dict)

    @property
    def somewhere(self) -> bool:
        """Whether it is told where it happened."""
        return bool(self.homes or self.rounds)

    @property
    def where(self) -> str:
        """The homes and rounds, shortened."""
        names = list(self.homes)
        shown = ", ".join(names[:MOST_NAMES])
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        rounds = sorted(self.rounds)
        parts = [shown + more] if names else []
        if len(rounds) == 1:
            parts.append(f"round {rounds[0]}")
        elif rounds:
            parts.append(f"{counted(len(rounds), 'round')} from {rounds[0]} to {rounds[-1]}")
        return "; ".join(parts) or NOTHING


def notices(events: Sequence[Event]) -> list[Notice]:
    """Return the notable events, equal ones grouped, in the order of the first of each."""
    notices_by_kind: dict[tuple[str, str], Notice] = {}
    for event in events:
        if event.event.rpartition("-")[2] not in NOTABLE:
            continue
        kind = event.event.replace("-", " ").capitalize()
        reason = _why(event)
        notice = notices_by_kind.setdefault((kind, reason), Notice(kind, reason))
        notice.times += 1
        if isinstance(homes := event.data.get("homes"), list):
            notice.homes |= dict.fromkeys(map(str, homes))
        elif isinstance(home := event.data.get("home"), str):
            notice.homes[home] = None
        elif (node := event.data.get("node")) is not None:
            notice.homes[f"node {node}"] = None
        if isinstance(number := event.data.get("round"), int):
            notice.rounds[number] = None
    return list(notices_by_kind.values())


def _why(event: Event) -> str:
    """Return why something happened, with what else may be shown of it."""
    if event.event == FAILED and {"homes", "needed"} <= event.data.keys():
        return failure_of(event)
    reason = str(event.data.get("reason") or event.data.get("text") or "")
    details = [
        _detail(name, value)
        for name, value in event.data.items()
        if name in DETAILS and value is not None and not isinstance(value, list)
    ]
    return "; ".join(filter(None, [reason, *details])) or NOTHING


DETAILS: Final = ("best_loss", "best_round", "bytes", "homes", "patience", "stage")
"""What else of a notable event is shown: a list, so that nothing private slips through."""


def _detail(name: str, value: object) -> str:
    if name == "homes" and isinstance(value, int):
        return counted(value, "home")
    told = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {told}"
