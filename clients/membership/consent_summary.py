"""The first screen of a consent: what leaves, who reads it, what it costs, and how to say no.

It says nothing that the points after it do not say with all their numbers, and leaves out nothing
that a person would decide by: what a server that cheats can learn is among it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from fedhome.clients.membership import method_words
from fedhome.clients.membership.private_words import odds_factor
from fedhome.plan.overrides import code_at_home
from fedhome.plan.private_plan import is_private, private_run
from fedhome.plan.protocol import most_sums_a_day
from fedhome.plan.settings import Plan

ALL_OF_IT = "ALL OF IT, POINT BY POINT"
"""The line at which the summary ends, and all points begin."""

_WIDTH = 78


def short_of(text: str) -> str:
    """Return the summary that a consent's text begins with; all of one that has none.

    Args:
        text: The text that people agreed to, or have to.
    """
    return text.partition(f"\n\n{ALL_OF_IT}\n")[0].rstrip("\n") + "\n"


def summary_of(head: Sequence[tuple[str, str]], plan: Plan, *, size: str, plain: bool) -> str:
    """Return the summary.

    Args:
        head: Home, fleet, server and plan: name and value.
        plan: The plan.
        size: How many numbers an update has, in words.
        plain: Whether the server reads the home's own update.
    """
    rows = "".join(f"\n  {name:<8}{value}" for name, value in head)
    parts = [
        *([_PLAIN] if plain else []),
        f"WHAT YOU AGREE TO\n{rows}",
        paragraph(
            "This device learns from its readings, and other homes from theirs: one model for all. "
            "The readings stay on this device."
        ),
        bullets("What leaves it:", _leaves(plan, size, plain=plain)),
        bullets("Who can read what:", _readers(plan, plain=plain)),
        bullets("What it costs this device:", _costs(plan, plain=plain)),
        bullets("How to say no:", _ways_out()),
    ]
    return "\n\n".join(parts)


_PLAIN = """\
THIS PLAN IS PLAIN: THE SERVER READS THIS HOME'S OWN UPDATE
===========================================================

Nothing is added up in secret. Each update goes to the server readable, and so
do losses and scores of this home alone. From an update, parts of the readings
behind it can be worked out. Agree only if whoever runs the server may know
them."""


def _leaves(plan: Plan, size: str, *, plain: bool) -> list[str]:
    learnt = (
        f"the model as this home has trained it ({size})"
        if plain
        else f"how this home would change the model ({size})"
    )
    alike = is_private(plan) or plan.aggregation.greatest_weight == 1
    counts = "" if alike else ", how many examples it has"
    how = "readable for the server" if plain else "hidden under masks, which cancel in sums alone"
    return [
        f"{how}: {learnt}{counts}, and how well models do on its readings.",
        (
            "readable for the server: its name and keys, its internet address, which fedhome it "
            "runs, when it is connected, when it answers, and how long its answers are."
        ),
    ]


def _readers(plan: Plan, *, plain: bool) -> list[str]:
    others = (
        "other homes and the fleet's owner: this home's name and keys, and the fleet's model, "
        "which says what homes learnt together."
    )
    if plain:
        return ["the server: all of the above.", others]
    least = plan.aggregation.min_cohort
    if is_private(plan):
        run = private_run(plan)
        return [
            (
                f"the server: sums over at least {least} homes, with noise. Whatever it does, a "
                "run changes the odds of what it may believe of this home's readings by a factor "
                f"of {odds_factor(run.between)} at most. Agree only if you trust whoever runs the "
                "server to keep to the rules, or if that bound is enough for you."
            ),
            others,
        ]
    return [
        (
            f"a server that keeps to the rules: sums over at least {least} homes. Many of them "
            "tell it roughly what this home adds, as homes add no noise."
        ),
        *method_words.shown_by(plan),
        (
            "a server that breaks the rules: this home's own change of the model, from which "
            "parts of its readings can be worked out. Agree only if you trust whoever runs the "
            "server."
        ),
        others,
    ]


def _costs(plan: Plan, *, plain: bool) -> list[str]:
    rounds = f"it trains in up to {plan.rounds.count} rounds a run"
    sums = "" if plain else f", and takes part in at most {most_sums_a_day(plan)} sums a day"
    return [
        f"{rounds}{sums}; in each it is sent the model and answers.",
        *(
            f"it runs code that is not fedhome's: {named}. What that does with the readings, "
            "nobody here can say."
            for named in code_at_home(plan)
        ),
    ]


def _ways_out() -> list[str]:
    return [
        "now: answer no. Nothing is written, nothing is sent.",
        (
            "later: `fedhome client pause` for a while, `fedhome client leave` for good. What is "
            "in a sum or a model by then stays in it."
        ),
    ]


def paragraph(text: str, *, width: int = _WIDTH, first: str = "", other: str = "") -> str:
    """Return a text in lines.

    Args:
        text: The text.
        width: Of a line.
        first: What the first line begins with.
        other: What each other line begins with.
    """
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=other, break_on_hyphens=False
    )


def bullets(title: str, lines: Iterable[str], *, width: int = _WIDTH) -> str:
    """Return lines as a list with a title; arguments as of :func:`paragraph`."""
    listed = (paragraph(line, width=width, first="  * ", other="    ") for line in lines)
    return "\n".join([paragraph(title, width=width), *listed])
