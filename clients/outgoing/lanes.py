"""The numbers that a home adds to sums under a plan, question by question, as its forms have them.

They are those of the greatest form that the home accepts: the tables of questions and the plan
give it, so a number that is new there is new here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from fedhome.learning import update_clipping
from fedhome.plan.private_plan import is_private
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.plan.transfer_plan import bits_of, sends_fewer
from fedhome.questions import mixtures, outcomes, private_sums, weights
from fedhome.questions.empty_handed import EMPTY_HANDED, MEANING
from fedhome.questions.question_table import SUMMED, SummedQuestion
from fedhome.questions.settings import ROUND, census_faults
from fedhome.secagg.scalars import Scalar

_NUMBERED = re.compile(r"(.+?)-(-?\d+)")
_CLIPPED = 1.0  # any: whether there is one decides what is told
_WHOLE = "how the home would change each parameter of the model"
_PART = (
    "how the home would change each of some parameters of the model: in each round others, the "
    "same for all homes (transfer.stages)"
)
_SLICE = (
    "how the home would change each parameter that its device carries; those that a larger tier "
    "has and no smaller one (slicing.tiers) go in a sum of their own, with nothing beside them but "
    "a weight that is 1 for every home"
)
_OFTEN = {"round": "once a round", "run": "once a run", "sum": "once a sum"}


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Numbers of a sum that mean the same.

    Args:
        name: Name of the number, or of the first and the last of them.
        count: How many they are; None: as many as the model has parameters.
        meaning: What each is.
        span: From where to where it goes.
        steps: Into how many steps that is divided.
        weighted: Whether it is multiplied by the home's weight.
        noisy: Whether the home adds noise.
    """

    name: str
    count: int | None
    meaning: str
    span: str
    steps: int
    weighted: bool
    noisy: bool


@dataclass(frozen=True, kw_only=True)
class QuestionLanes:
    """What a home adds when it is asked one question.

    Args:
        question: The question.
        often: How often an honest server asks it, in words.
        times: How often in a run.
        lanes: The numbers, in the order in which they lie in the vector.
    """

    question: SummedQuestion
    often: str
    times: int
    lanes: tuple[Lane, ...]


def lanes_of(plan: Plan, homes: int) -> Iterator[QuestionLanes]:
    """Yield what a home of a plan adds to sums, by question; nothing where the plan is plain.

    Args:
        plan: The home's plan.
        homes: Homes in the fleet: how finely scores are counted follows from it.
    """
    if plan.aggregation.mode == "plain":
        return
    for row in SUMMED.values():
        if _answered(row, plan):
            yield QuestionLanes(
                question=row,
                often=_OFTEN[row.often],
                times=row.times(plan),
                lanes=tuple(_lanes(row, plan, homes)),
            )


def _answered(row: SummedQuestion, plan: Plan) -> bool:
    """Return whether a home of a plan answers a question at all."""
    if is_private(plan):
        return row.name in private_sums.ASKED
    if not row.times(plan):
        return False
    return row.faults is not census_faults or not any(census_faults({}, plan))


def _lanes(row: SummedQuestion, plan: Plan, homes: int) -> Iterator[Lane]:
    policy, private = policy_of(plan), is_private(plan)
    most = policy.most_weight if row.weighted else 1
    rule = "equal" if most == 1 else plan.aggregation.weights
    yield Lane(
        name="weight",
        count=1,
        meaning=weights.MEANING[rule] if row.weighted else weights.MEANING["equal"],
        span=f"0 to {most:,}",
        steps=most,
        weighted=False,
        noisy=False,
    )
    scalars = row.lanes(_greatest(plan, homes), plan.personalise)
    if private:
        scalars = private_sums.scalars_of(row.name, scalars, bits_of(plan))
    yield from _scalars(scalars, _meanings(row, plan), noisy=private)
    if row.update:
        exact = "" if policy.exact_clip else "at most "
        yield Lane(
            name="update",
            count=None,
            meaning=_meaning_of_update(plan),
            span=f"within {exact}±{policy.most_clip:g} ({policy.norm})",
            steps=(1 << bits_of(plan)) - 2,
            weighted=True,
            noisy=private,
        )


def _meaning_of_update(plan: Plan) -> str:
    if is_sliced(plan):
        return _SLICE
    return _PART if sends_fewer(plan) else _WHOLE


def _greatest(plan: Plan, homes: int) -> Mapping[str, object]:
    """Return the settings of a question with which a home adds the most numbers."""
    cohort = plan.aggregation.min_cohort
    bins = outcomes.MOST_BINS if is_private(plan) else outcomes.bins_for(homes, cohort=cohort)
    clipping = {update_clipping.KEY: _CLIPPED} if plan.strategy.wrap else {}
    return {ROUND: 1, outcomes.KEY: bins, **clipping}


def _meanings(row: SummedQuestion, plan: Plan) -> Callable[[str], str]:
    """Return what says what a number of a question is."""

    def meaning(name: str) -> str:
        if name == EMPTY_HANDED.name:
            return MEANING
        if row.meaning is not None:
            return row.meaning(name)
        stem = name.partition("-")[0]
        return row.consent.numbers[stem].format(**mixtures.sizes(plan.personalise))

    return meaning


def _scalars(
    scalars: tuple[Scalar, ...], meaning_of: Callable[[str], str], *, noisy: bool
) -> Iterator[Lane]:
    for _, group in groupby(scalars, _alike):
        same = list(group)
        first, last = same[0], same[-1]
        yield Lane(
            name=first.name if len(same) == 1 else f"{first.name} … {last.name}",
            count=len(same),
            meaning=meaning_of(first.name),
            span=f"{first.low:g} to {first.high:g}",
            steps=first.steps,
            weighted=first.weighted,
            noisy=noisy,
        )


def _alike(scalar: Scalar) -> tuple[str, float, float, bool, int]:
    """Return what numbers that follow one another must share to be told in one line."""
    numbered = _NUMBERED.fullmatch(scalar.name)
    stem = numbered[1] if numbered else scalar.name
    return stem, scalar.low, scalar.high, scalar.weighted, scalar.bits
