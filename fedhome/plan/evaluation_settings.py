"""The plan's table ``evaluation``: what a simulation measures beside what its homes gain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fedhome.plan.section import Section


class EvaluationSettings(Section):
    """What a simulation looks at besides: homes that join after the rounds (docs/evaluation.md)."""

    unseen: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of a simulation's homes that take no part in the rounds, and show "
        "afterwards what a new home gets; 1: all are new",
    )
    days: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 3.0, 7.0, 14.0, 28.0),
        min_length=1,
        description="days of own readings with which these homes are tried; of rows without times, "
        "24 rows count as a day",
    )
    homes: int | None = Field(
        None,
        ge=1,
        description="homes that are asked to judge rounds and say what they gain, where "
        "engine.hold has not all in memory; unset: 200",
    )
    predictions: bool = Field(
        default=True,
        description="show predictions and readings of a simulation's best, median and worst home "
        "in its report",
    )
