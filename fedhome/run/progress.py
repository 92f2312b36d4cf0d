"""Live progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fedhome.counted import counted
from fedhome.run.absent import (
    AGAIN,
    AWAY,
    BACK,
    DROPPED,
    EMPTY,
    LATE,
    PASSED,
    UNTRIED,
    absence,
    exclusion,
    lateness,
    passed_over,
    return_of,
    search_without,
    taken_again,
)
from fedhome.run.events import SPENT, Event
from fedhome.run.rate_words import RATES_CHOSEN, RATES_TRIED, rates_chosen, rates_tried
from fedhome.run.refusing import HomeRefusal, Refusing
from fedhome.run.waiting import FAILED, THERE, WAITING, failure_of, repetition, waiting_for

OnEvent = Callable[[Event], None]
_EXCLUDED = "home-excluded"
_OF_READINGS = {_EXCLUDED, "readings", "note"}
_SHOWN = {_EXCLUDED: 5, DROPPED: 1}  # lines for events of a kind: others stay in the log
_WHY = (
    "; `fedhome server status` says whom the server turns away and why, and `fedhome client "
    "status`, at the home, whether its agent runs"
)


@contextmanager
def progress_on(console: Console, *, said: set[str] | None = None) -> Iterator[OnEvent]:
    """Show a run's events on a console while the context is open.

    Args:
        console: Where to.
        said: What runs before it said of the same plan and readings before their first round, which
            is not said again; what this one says of them is added. None: it is the only one.
    """
    lines = ProgressLines(console, said=said)
    if console.is_terminal:
        with _bar(console, lines) as on_event:
            yield on_event
    else:
        yield lines


class ProgressLines:
    """Progress as plain lines.

    Args:
        console: Where they go.
        said: As of `progress_on`.
    """

    def __init__(self, console: Console, *, said: set[str] | None = None) -> None:
        self._console = console
        self._said, self._as_before = said, 0
        self._rounds = 0
        self._seen = Counter[str]()
        self._epsilon = 0.0
        self._refusing = Refusing()
        self._remedy = ""

    def __call__(self, event: Event) -> None:
        """Print a line for an event that matters to a reader."""
        if line := self.line(event):
            self._console.print(line, highlight=False, soft_wrap=True)

    def _excluded_more(self) -> str:
        """Return how many homes were left out besides those that were named."""
        more = self._seen[_EXCLUDED] - _SHOWN[_EXCLUDED]
        if more <= 0:
            return ""
        return f"left out: {counted(more, 'home')} more; home-excluded in events.jsonl says why"

    def _held_up(self, told: str) -> str:
        """Return why a run does not go on; and once what to do, where homes refuse its plan."""
        remedy, before = self._refusing.remedy(), self._remedy
        self._remedy = remedy
        return told if remedy == before else f"{told}\n{remedy}".rstrip()

    def line(self, event: Event) -> str:
        """Return the line for an event; nothing for one that is only for the log."""
        data: Any = event.data
        if event.event == "fleet-ready":
            self._rounds = data["rounds"]
            self._said = None  # what is said from now on is of this run's own rounds
            return "\n".join(filter(None, (self._excluded_more(), self._again(), _fleet(data))))
        refusal = self._refusing.see(event)
        if event.event == SPENT:
            self._epsilon = data["epsilon"]
        if event.event == "round-closed":
            return self._round(data)
        self._seen[event.event] += 1
        if self._seen[event.event] > _SHOWN.get(event.event, math.inf):
            return ""
        if event.event == "home-refused":
            return _refusal(refusal) if refusal else ""
        words = self._words(event)
        if self._said is not None and event.event in _OF_READINGS:
            if words in self._said:
                self._as_before += 1
                return ""
            self._said.add(words)
        return escape(words)

    def _again(self) -> str:
        """Return how many notes were those of runs before, and were not said again."""
        if not self._as_before:
            return ""
        return f"{counted(self._as_before, 'note')}, as before"

    def _words(self, event: Event) -> str:
        data: Any = event.data
        if event.event == WAITING:
            return self._held_up(waiting_for(event) + (_WHY if data["missing"] else ""))
        if event.event == FAILED:
            failed = f"round {data['round']} failed: {failure_of(event)}"
            return self._held_up(repetition(event) or failed)
        if told := _OF_AN_EVENT.get(event.event):
            return told(event)
        words = _OF_ITS_DATA.get(event.event)
        return words(data) if words else ""

    def _round(self, data: Any) -> str:
        parts = [f"round {data['round']}/{self._rounds}"]
        again = data["homes_answered"] > data["homes_asked"] == 0
        homes = f"{data['homes_answered']}/{data['homes_asked']} homes"
        parts.append("no home asked: the first sum again" if again else homes)
        for name, key in (
            ("loss", "train_loss"),
            ("validation", "validation_loss"),
            ("score", "validation_score"),
        ):
            if data[key] is not None:
                parts.append(f"{name} {data[key]:.4f}")
        if self._epsilon:
            parts.append(f"epsilon {self._epsilon:.3g}")
        parts += filter(None, [self._refusing.line()])
        return "  ".join(parts)


def _listed(days: list[float]) -> str:
    """Return numbers of days as a list in words."""
    *others, last = (f"{one:g}" for one in days)
    return f"{', '.join(others)} and {last}" if others else last


def _unfit(reason: str) -> str:
    return f"; nothing to begin with: {reason}" if reason else ""


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _refusal(refusal: HomeRefusal) -> str:
    """Return the line for the first home that refuses for a reason: others are only counted."""
    remedy = f"; {refusal.remedy}" if refusal.remedy else ""
    return escape(
        f"{refusal.home} refuses {refusal.question}: {refusal.why} ({refusal.reason}){remedy}"
    )


def _fleet(data: Any) -> str:
    parts = [f"{counted(data['homes'], 'home')}"]
    # A server does not know what its homes hold, or what computes there.
    if "examples" in data:
        held = f" in {data['held']} of them" if "held" in data else ""
        parts.append(f"{data['examples']:,} training examples{held}")
    parts.append(f"{counted(data['parameters'], 'parameter')}")
    if "unseen" in data:
        joins = counted(data["unseen"], "home") + (" joins" if data["unseen"] == 1 else " join")
        parts.append(f"{joins} after the rounds")
    if "engine" in data:
        parts.append(f"engine {data['engine']}")
    if "aggregation" in data:
        parts.append(f"{data['aggregation']} aggregation")
    return ", ".join(parts)


_OF_AN_EVENT: dict[str, Callable[[Event], str]] = {
    AWAY: absence,
    LATE: lateness,
    PASSED: passed_over,
    AGAIN: taken_again,
    UNTRIED: search_without,
    BACK: return_of,
}
_OF_ITS_DATA: dict[str, Callable[[Any], str]] = {
    DROPPED: lambda data: f"dropped a reply of {data['home']}: {data['reason']}",
    _EXCLUDED: lambda data: exclusion(data["home"], data["reason"]),
    "readings": lambda data: f"read: {data['text']}",
    "note": lambda data: f"note: {data['text']}",
    "tier-carried": lambda data: f"note: {data['text']}",
    "tier-scored": lambda data: f"note: {data['text']}",
    "release-in-use": lambda data: (
        f"release {data['release']} is in use: round {data['round']} of {data['run']}"
        f"{_unfit(data['reason'])}"
    ),
    "model-released": lambda data: (
        f"release {data['release']}: the model of round {data['round']} is in use from now on"
        f"{_because(data.get('reason'))}"
    ),
    "release-kept": lambda data: f"the release in use stays: {data['reason']}",
    "begins-with": lambda data: f"begins with the model of {data['plan']}, round {data['round']}",
    "run-resumed": lambda _: "going on with an interrupted run",
    THERE: lambda data: f"enough are there, after {data['seconds']:.0f} s",
    EMPTY: lambda data: f"note: {data['reason']}",
    "round-unused": lambda data: f"round {data['round']} changed nothing: {data['reason']}",
    "sum-failed": lambda data: (
        f"a sum over {counted(data['homes'], 'home')} was not opened: {data['reason']}"
    ),
    "homes-left-out": lambda data: f"left out: {', '.join(data['homes'])}: {data['reason']}",
    "release-failed": lambda data: (
        f"the model of round {data['round']} was not released: {data['message']}"
    ),
    "run-failed": lambda data: f"failed: {data['reason']}",
    "model-judged": lambda data: (
        f"round {data['round']}, once homes have adapted its model: validation {data['loss']:.4f}"
    ),
    "model-picked": lambda data: (
        f"the run ends with the model of round {data['round']}, the best in validation"
        + (", once homes have adapted it" if data["adapted"] else "")
    ),
    RATES_TRIED: rates_tried,
    RATES_CHOSEN: rates_chosen,
    "early-stop": lambda data: f"stopped early after round {data['round']}",
    "trying-new-homes": lambda data: (
        f"trying {counted(data['homes'], 'new home')} with {_listed(data['days'])} days"
    ),
    "personalising": lambda data: f"personalising {counted(data['homes'], 'home')}",
}
"""What is said of an event; of those that are in neither table, nothing."""


@contextmanager
def _bar(console: Console, lines: ProgressLines) -> Iterator[OnEvent]:
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[now]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with progress:
        task = progress.add_task("gathering homes", total=None, now="")

        def on_event(event: Event) -> None:
            data: Any = event.data
            if event.event == "round-closed":
                now = lines.line(event).split("  ", 1)[1]
                progress.update(task, completed=data["round"], now=now)
                return
            if event.event == "fleet-ready":
                progress.update(task, description="rounds", total=data["rounds"])
            elif event.event == "personalising":
                progress.update(task, description="personalising", total=None, now="")
            elif event.event == "trying-new-homes":
                progress.update(task, description="trying new homes", total=None, now="")
            if line := lines.line(event):
                progress.console.print(line, highlight=False)

        yield on_event
