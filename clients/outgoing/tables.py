"""All that leaves a home under a plan, as tables for people: on a screen, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fedhome.clients.outgoing.lanes import Lane, QuestionLanes, lanes_of
from fedhome.clients.outgoing.records import Record, answers, requests
from fedhome.plan.private_plan import is_private
from fedhome.plan.protocol import most_sums_a_day
from fedhome.plan.settings import Plan
from fedhome.reasons import TOLD
from fedhome.secagg.ledger import MOST_ATTEMPTS

_SUMMED = ("number", "how many", "what it is", "range", "steps", "in the sum")
_CLEAR = ("field", "what it is")


class Table(NamedTuple):
    """One table, and what is said above it.

    Args:
        title: Its title.
        text: What is said first; empty: nothing.
        header: Names of the columns; empty where there is text alone.
        rows: The rows.
    """

    title: str
    text: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def tables_of(plan: Plan, homes: int) -> Iterator[Table]:
    """Yield everything that leaves a home.

    Args:
        plan: The home's plan.
        homes: Homes in the fleet.
    """
    yield from _sums(plan, list(lanes_of(plan, homes)), homes)
    yield Table("In the clear: answers", f"What the server can read of an answer. {_time(plan)}")
    yield from map(_record, answers(plan))
    yield Table(
        "In the clear: all else",
        "The size and the time of each of these is seen too, and the internet address.",
    )
    yield from map(_record, requests())
    yield _refusals()


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown."""
    parts = []
    for table in tables:
        parts.append(f"{'###' if table.header else '##'} {table.title}")
        parts += [table.text] if table.text else []
        if table.header:
            lines = [table.header, ["---"] * len(table.header), *table.rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _sums(plan: Plan, questions: Sequence[QuestionLanes], homes: int) -> Iterator[Table]:
    if not questions:
        yield Table("In sums", "Nothing: this plan is plain, and all is sent in the clear.")
        return
    noise = "; to each but the weight the home adds noise" if is_private(plan) else ""
    yield Table(
        "In sums",
        f"Under masks: the server sees what all homes of a sum add up, over at least "
        f"{plan.aggregation.min_cohort} of them{noise}. At most {MOST_ATTEMPTS} tries about one "
        f"model, and {most_sums_a_day(plan)} sums a day.",
    )
    for asked in questions:
        yield Table(
            f"`{asked.question.name}`",
            f"{asked.question.consent.when.capitalize()}; {asked.often}, {_times(asked.times)} in "
            f"a run of this plan.",
            _SUMMED,
            [_lane(lane) for lane in asked.lanes],
        )
    yield Table(
        "In all",
        f"in a run, by a home that is in every sum of a fleet of {homes}",
        ("question", "sums", "numbers in each", "numbers"),
        [_total(asked) for asked in questions],
    )


def _time(plan: Plan) -> str:
    after_s = plan.rounds.reply_after_s
    if not after_s:
        return "Each leaves as soon as it is done, so its time tells how long the home computed."
    return (
        f"Each leaves {after_s:g} s after its question, whatever the home needed; keys and a "
        "member's help leave at once."
    )


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _lane(lane: Lane) -> tuple[str, ...]:
    added = [
        "times the weight" if lane.weighted else "as it is",
        *(["with noise"] if lane.noisy else []),
    ]
    return (
        f"`{lane.name}`",
        "all parameters" if lane.count is None else f"{lane.count}",
        lane.meaning,
        lane.span,
        f"{lane.steps:,}",
        ", ".join(added),
    )


def _total(asked: QuestionLanes) -> tuple[str, ...]:
    count = sum(lane.count or 0 for lane in asked.lanes)
    more = " and all parameters" if asked.question.update else ""
    return (
        f"`{asked.question.name}`",
        f"{asked.times}",
        f"{count}{more}",
        f"{asked.times * count}{f', {asked.times} times all parameters' if more else ''}",
    )


def _record(record: Record) -> Table:
    rows = [(f"`{name}`", text) for name, text in record.fields.items()]
    return Table(f"`{record.name}`", f"{record.when.capitalize()}.", _CLEAR, rows)


def _refusals() -> Table:
    return Table(
        "Refusals",
        "One of these words, and nothing else. What fails at home is told only where no sum is "
        "asked for: in a sum the home adds nothing instead.",
        ("word", "what is wrong"),
        [(f"`{word}`", reason.why) for word, reason in TOLD.items()],
    )
