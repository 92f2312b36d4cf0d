"""Live progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

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
_SHOWN_EXCLUSIONS = 5


@contextmanager
def progress_on(console: Console) -> Iterator[OnEvent]:
    """Show a run's events on a console while the context is open."""
    if console.is_terminal:
        with _bar(console) as on_event:
            yield on_event
    else:
        yield ProgressLines(console)


class ProgressLines:
    """Progress as plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rounds = 0
        self._excluded = 0
        self._dropped = 0
        self._epsilon = 0.0
        self._refusing = Refusing()
        self._remedy = ""

    def __call__(self, event: Event) -> None:
        """Print a line for an event that matters to a reader."""
        if line := self.line(event):
            self._console.print(line, highlight=False, soft_wrap=True)

    def _excluded_more(self) -> str:
        """Return how many homes were left out besides those that were named."""
        more = self._excluded - _SHOWN_EXCLUSIONS
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
            return "\n".join(filter(None, (self._excluded_more(), _fleet(data))))
        refusal = self._refusing.see(event)
        if event.event == SPENT:
            self._epsilon = data["epsilon"]
        if event.event == "round-closed":
            return self._round(data)
        if event.event == "home-excluded":
            self._excluded += 1
            if self._excluded > _SHOWN_EXCLUSIONS:
                return ""
            return f"left out: {escape(data['reason'])}"
        if event.event == DROPPED:
            self._dropped += 1
            said = f"dropped a reply of {data['home']}: {data['reason']}"
            return escape(said) if self._dropped == 1 else ""
        others: dict[str, Callable[[], str]] = {
            "home-refused": lambda: _refusal(refusal) if refusal else "",
            "readings": lambda: f"read: {escape(data['text'])}",
            "note": lambda: f"note: {escape(data['text'])}",
            "tier-carried": lambda: f"note: {escape(data['text'])}",
            "tier-scored": lambda: f"note: {escape(data['text'])}",
            "release-in-use": lambda: (
                f"release {data['release']} is in use: round {data['round']} of "
                f"{escape(data['run'])}{escape(_unfit(data['reason']))}"
            ),
            "model-released": lambda: (
                f"release {data['release']}: the model of round {data['round']} is in use from now "
                f"on{escape(_because(data.get('reason')))}"
            ),
            "release-kept": lambda: f"the release in use stays: {escape(data['reason'])}",
            "begins-with": lambda: (
                f"begins with the model of {escape(data['plan'])}, round {data['round']}"
            ),
            "run-resumed": lambda: "going on with an interrupted run",
            WAITING: lambda: escape(self._held_up(waiting_for(event))),
            THERE: lambda: f"enough are there, after {data['seconds']:.0f} s",
            FAILED: lambda: escape(
                self._held_up(
                    repetition(event) or f"round {data['round']} failed: {failure_of(event)}"
                )
            ),
            AWAY: lambda: escape(absence(event)),
            LATE: lambda: escape(lateness(event)),
            PASSED: lambda: escape(passed_over(event)),
            EMPTY: lambda: f"note: {escape(data['reason'])}",
            AGAIN: lambda: escape(taken_again(event)),
            UNTRIED: lambda: escape(search_without(event)),
            BACK: lambda: escape(return_of(event)),
            "round-unused": lambda: (
                f"round {data['round']} changed nothing: {escape(data['reason'])}"
            ),
            "sum-failed": lambda: (
                f"a sum over {counted(data['homes'], 'home')} was not opened: "
                f"{escape(data['reason'])}"
            ),
            "homes-left-out": lambda: (
                f"left out: {escape(', '.join(data['homes']))}: {escape(data['reason'])}"
            ),
            "release-failed": lambda: (
                f"the model of round {data['round']} was not released: {escape(data['message'])}"
            ),
            "run-failed": lambda: f"failed: {escape(data['reason'])}",
            "model-judged": lambda: (
                f"round {data['round']}, once homes have adapted its model: validation "
                f"{data['loss']:.4f}"
            ),
            "model-picked": lambda: (
                f"the run ends with the model of round {data['round']}, the best in validation"
                + (", once homes have adapted it" if data["adapted"] else "")
            ),
            RATES_TRIED: lambda: rates_tried(data),
            RATES_CHOSEN: lambda: rates_chosen(data),
            "early-stop": lambda: f"stopped early after round {data['round']}",
            "trying-new-homes": lambda: (
                f"trying {data['homes']} new homes with {_listed(data['days'])} days"
            ),
            "personalising": lambda: f"personalising {counted(data['homes'], 'home')}",
        }
        return others.get(event.event, str)()

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
        parts.append(f"{data['unseen']} homes join after the rounds")
    if "engine" in data:
        parts.append(f"engine {data['engine']}")
    if "aggregation" in data:
        parts.append(f"{data['aggregation']} aggregation")
    return ", ".join(parts)


@contextmanager
def _bar(console: Console) -> Iterator[OnEvent]:
    lines = ProgressLines(console)
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
