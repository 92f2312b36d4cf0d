"""The plan's settings of rounds: how many there are, who is asked, and how long is waited."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from fedhome.plan.section import Section

MOST_WAIT_S: Final = 31 * 86_400.0
"""Of a home's work on one question, which ends by then: a month."""


class RoundSettings(Section):
    """How the rounds are driven."""

    count: int = Field(40, ge=1, le=1_000_000, description="most rounds of the run")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the homes asked in a round")
    quorum: float = Field(0.5, gt=0, le=1, description="share of the asked that must answer")
    deadline_s: float = Field(
        3600.0, gt=0, le=MOST_WAIT_S, description="replies after this many s are late"
    )
    close_share: float = Field(
        1.0, gt=0, le=1, description="a fleet's question is closed at this share of answers, or ..."
    )
    close_after: float = Field(
        5.0, gt=1, description="... after this many times the time in which half answered, but ..."
    )
    close_least_s: float = Field(
        30.0, ge=0, description="... not before this many s, nor before enough answered for a sum"
    )
    reply_after_s: float = Field(
        0.0,
        ge=0,
        description="a real home answers this many s after it was asked, whatever it needed, and "
        "adds nothing if it is not done; 0: as soon as it is",
    )
    pause_s: float = Field(
        10.0, gt=0, description="a fleet repeats a failed round after this many s, then twice, ..."
    )
    most_pause_s: float = Field(1800.0, gt=0, description="longest pause before such a repetition")
    give_up_s: float | None = Field(
        None,
        gt=0,
        description="a run that waits this many s for a fleet fails; unset: it waits on",
    )
    evaluate_fraction: float = Field(1.0, ge=0, le=1, description="share asked for its score")
    evaluate_every: int = Field(
        1,
        ge=1,
        description="homes test the model of one round in this many, of the first, of the last "
        "and of those that are judged: a test is a sum of its own, about as long as training's",
    )
    patience: int | None = Field(
        None,
        ge=0,
        description="stop after this many rounds without a better one; 0: never; unset: 10 where "
        "rounds are judged",
    )
    judge_every: int | None = Field(
        None,
        ge=0,
        description="one round in this many is judged: homes test its model as each would adapt "
        "it, and the run ends with the round that did best; 0: never; unset: 5 where homes "
        "personalise without noise",
    )
    checkpoint_every: int = Field(1, ge=1, description="rounds from one checkpoint to the next")
    max_examples: int = Field(
        1_000_000, ge=1, description="greatest weight (number of examples) that a home may claim"
    )
