"""The plan's table ``transfer``: how less than a whole update travels (docs/transfer.md)."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from fedhome.plan.section import Section

GRIDS: Final = {"int8": 8, "int4": 4}
"""Stages that say how fine a number is: bits with its sign, on the sum's public scale."""

FEWER: Final = ("random-k",)
"""Stages after which fewer numbers travel than the model has."""

STAGES: Final = (*FEWER, *GRIDS)
"""All stages, in the order in which a plan names them."""


class TransferSettings(Section):
    """What a home sends of its update, and how fine (docs/transfer.md)."""

    stages: tuple[str, ...] = Field(
        (),
        description="what is done to an update before it is added up, in this order: one of "
        '"random-k", then one of "int8", "int4"; none: all of it travels',
    )
    share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="share of the model's numbers that random-k sends in a round, as one whole "
        "part of it: 0.25 is every number in one of four rounds",
    )
    feedback: float = Field(
        0.75,
        ge=0,
        le=1,
        description="share of what random-k did not send that a home adds to its next update; "
        "0: it keeps nothing, 1: all of it, which small shares do not bear",
    )
