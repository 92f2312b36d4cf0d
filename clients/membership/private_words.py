"""What people are told of a plan whose homes add noise: what it promises, and what it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fedhome.counted import chance_in_words
from fedhome.plan.private_plan import private_run
from fedhome.plan.settings import Plan
from fedhome.questions.private_sums import ASKED, LOSS_RANGE
from fedhome.questions.question_table import TRAIN, summed

_MOST_TENS = 5  # above, a factor is told as a power of ten


THE_MODEL = (
    "the fleet's model, which is made of these sums; all homes and the fleet's owner can have it. "
    "Whoever has those of two rounds knows roughly the mean of what all homes learnt in between."
)
"""What everybody learns who gets the model of each round."""


def summed_lines(plan: Plan, values: Mapping[str, object]) -> list[str]:
    """Return what homes add up with noise, one line a question.

    Args:
        plan: The plan.
        values: What the lines may name; see `fedhome.questions.question_table.ConsentWords`.
    """
    lines = []
    for row in map(summed, ASKED):
        words = "; ".join(row.words(plan.personalise))
        if row.name == TRAIN:
            words = (
                f"how the home would change the model ({{update}}), cut to a length of "
                f"{plan.privacy.clip:g} where it is longer"
            )
        lines.append(f"{row.consent.when}: {words}. With noise on each number.".format(**values))
    return [
        *lines,
        (
            f"every home counts once: nobody asks how many examples it has. Losses above "
            f"{LOSS_RANGE:g} count as that."
        ),
    ]


def promises(plan: Plan) -> list[str]:
    """Return what the noise promises, and on what that rests."""
    run = private_run(plan)
    surer, between = map(odds_factor, (run.epsilon, run.between))
    return [
        (
            "this device draws its noise anew for each sum, adds it before anything is hidden "
            "under masks, and keeps it nowhere."
        ),
        (
            "whatever may be seen in all sums of one run is as likely as if this home had added "
            f"its noise alone, but for a factor of {surer} at most (epsilon {run.epsilon:.3g}) "
            f"and for a chance of {chance_in_words(run.delta)}. So the odds between any two things "
            "that somebody may believe of this home's readings change by a factor of "
            f"{between} at most (epsilon {run.between:.3g}). That holds whatever the server "
            "does with the sums, and whatever it tells other homes."
        ),
        (
            "this home counts by itself what it has spent, over all runs, and refuses each sum "
            "above its ceiling: `fedhome client privacy` shows and sets it."
        ),
        (
            "it rests on the noise of many homes: of all that a sum needs, less those that may "
            "work for whoever attacks. This home's own noise alone hides much less."
        ),
        *(
            []
            if plan.rounds.reply_after_s
            else ["when this home answers has no noise: it tells how long it computes."]
        ),
    ]


def odds_factor(epsilon: float) -> str:
    """Return e to the epsilon, in digits.

    Args:
        epsilon: By how much odds may change, as their logarithm.
    """
    tens = epsilon / math.log(10)
    return f"{10**tens:.3g}" if tens < _MOST_TENS else f"10^{math.ceil(tens)}"


def learnt_by_an_honest_server(sums: str) -> list[str]:
    """Return what a server that keeps to the rules learns.

    Args:
        sums: What sums there are, in words.
    """
    return [
        sums,
        THE_MODEL,
        "of this home, from all sums together, no more than the noise lets through (below).",
    ]


def learnt_by_a_cheating_server() -> list[str]:
    """Return what a server that breaks the rules learns."""
    return [
        (
            "this home's numbers with the noise of many homes, by telling the others to send "
            "nothing of theirs: the bound below still holds. Asking again is counted, and ends at "
            "the ceiling."
        ),
        (
            "what this home sent in the past, with this home's own noise alone, if whoever "
            "recorded it gets hold of this home's keys, or of those of enough members, also much "
            "later."
        ),
    ]
