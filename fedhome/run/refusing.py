"""Which homes refuse what a run asks them, as its log tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fedhome.reasons import OTHER_PLAN
from fedhome.run.events import Event
from fedhome.run.waiting import few

REFUSED, ANSWERS = "home-refused", "home-answers"


@dataclass(frozen=True, kw_only=True)
class HomeRefusal:
    """What a home refuses.

    Args:
        home: Its name.
        question: Type of the question.
        reason: The word that it told.
        why: What the word means.
        remedy: Who does what about it.
        since: When it said so first.
    """

    home: str
    question: str
    reason: str
    why: str
    remedy: str
    since: datetime


class Refusing:
    """The refusals that stand, from the events of a log in their order."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._standing: dict[tuple[str, str], HomeRefusal] = {}
        for event in events:
            self.see(event)

    def see(self, event: Event) -> HomeRefusal | None:
        """Take an event; return the refusal that it tells, the first with its word."""
        data = {name: str(value) for name, value in event.data.items()}
        if event.event not in (REFUSED, ANSWERS):
            return None
        key = data.get("home", ""), data.get("question", "")
        known = {one.reason for one in self._standing.values()}
        self._standing.pop(key, None)
        if event.event == ANSWERS:
            return None
        refusal = HomeRefusal(
            home=key[0],
            question=key[1],
            reason=data.get("reason", ""),
            why=data.get("why", ""),
            remedy=data.get("remedy", ""),
            since=event.time,
        )
        self._standing[key] = refusal
        return None if refusal.reason in known else refusal

    @property
    def standing(self) -> list[HomeRefusal]:
        """The last refusal of each home that still refuses something."""
        return sorted(
            {one.home: one for one in self._standing.values()}.values(), key=lambda one: one.home
        )

    def line(self) -> str:
        """Return how many homes refuse for which reasons; nothing where none does."""
        counts = Counter(one.reason for one in self.standing)
        if not counts:
            return ""
        reasons = ", ".join(f"{word} {homes}" for word, homes in counts.most_common())
        return f"refuse: {reasons}"

    def remedy(self) -> str:
        """Return what to type where homes refuse the plan itself: none of them will answer.

        Nothing where none does.
        """
        others = [one for one in self.standing if one.reason in OTHER_PLAN]
        if not others:
            return ""
        words = ", ".join(sorted({one.reason for one in others}))
        names = few([one.home for one in others])
        return (
            f"{names} agreed to another plan than this one ({words}). End the run with `fedhome "
            "server cancel`, and run the plan of the invites without other settings; or let the "
            "owner ask for this one: `fedhome fleet invite HOME --again`, then `client join` there"
        )
