"""What a plan's transfer comes to, and what it cannot have besides: told, none passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedhome.plan.sliced_plan import is_sliced
from fedhome.plan.transfer_settings import FEWER, GRIDS, STAGES, TransferSettings
from fedhome.spelling import did_you_mean

if TYPE_CHECKING:  # plans are checked by it
    from fedhome.plan.settings import Plan


def is_staged(plan: Plan) -> bool:
    """Whether anything is done to a plan's updates before they are added up."""
    return bool(plan.transfer.stages)


def sends_fewer(plan: Plan) -> bool:
    """Whether homes of a plan send fewer numbers than its model has."""
    return any(name in FEWER for name in plan.transfer.stages)


def bits_of(plan: Plan) -> int:
    """Return the bits of a number in a plan's sums, with its sign."""
    return next(
        (GRIDS[name] for name in plan.transfer.stages if name in GRIDS), plan.aggregation.bits
    )


def faults_of(plan: Plan) -> list[str]:
    """Return what of a plan's transfer does not fit together, or not to the rest of the plan."""
    transfer = plan.transfer
    if unknown := [name for name in transfer.stages if name not in STAGES]:
        known = ", ".join(STAGES)
        return [
            f"transfer.stages names {name!r}, which is unknown{did_you_mean(name, STAGES)}; known "
            f"are: {known}"
            for name in unknown
        ]
    return [*_own_faults(transfer), *(_with_the_rest(plan) if is_staged(plan) else ())]


def _own_faults(transfer: TransferSettings) -> Iterator[str]:
    named = transfer.stages
    for kind, among in (("leaves numbers out", FEWER), ("says how fine numbers are", tuple(GRIDS))):
        several = [name for name in named if name in among]
        if len(several) > 1:
            yield f"transfer.stages has {' and '.join(several)}: one stage {kind}, not two"
    if len(named) > 1 and list(named) != sorted(named, key=STAGES.index):
        yield (
            f"transfer.stages = {json.dumps(list(named))}: first what leaves numbers out, then how "
            "fine the others are"
        )
    default = TransferSettings()
    for setting in ("share", "feedback"):
        value = getattr(transfer, setting)
        if value != getattr(default, setting) and not any(name in FEWER for name in named):
            yield (
                f"transfer.{setting} = {json.dumps(value)} belongs to random-k, which "
                "transfer.stages does not name"
            )


def _with_the_rest(plan: Plan) -> Iterator[str]:
    fewer = sends_fewer(plan)
    for wrong, setting, value, instead, why in (
        (
            plan.aggregation.mode == "plain",
            "aggregation.mode",
            "plain",
            "auto",
            "stages are for what is added up",
        ),
        (
            plan.aggregation.bits != bits_of(plan) and plan.aggregation.bits != _BITS,
            "aggregation.bits",
            plan.aggregation.bits,
            _BITS,
            "the stage says how many bits a number has",
        ),
        (
            plan.privacy.mechanism != "none",
            "privacy.mechanism",
            plan.privacy.mechanism,
            "none",
            "noise is computed for whole updates on the plan's own grid",
        ),
        (
            fewer and is_sliced(plan),
            "slicing.tiers",
            [tier.name for tier in plan.slicing.tiers],
            [],
            "a slice is summed shell by shell, and random-k is of whole models (int8, int4 go)",
        ),
        (
            bool(plan.strategy.wrap),
            "strategy.wrap",
            plan.strategy.wrap,
            "",
            "it promises something of whole updates",
        ),
        (
            fewer and plan.engine.name == "ray",
            "engine.name",
            "ray",
            "vector",
            "Ray's workers send whole updates",
        ),
    ):
        if wrong:
            yield (
                f"transfer.stages are set, but {setting} = {json.dumps(value)}: {why}; set "
                f"{setting} = {json.dumps(instead)}"
            )


_BITS = 16  # of aggregation.bits where nobody sets it
