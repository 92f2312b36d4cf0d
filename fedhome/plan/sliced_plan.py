"""What a plan with slices cannot have besides: each told in a sentence, none passed over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fedhome.errors import PlanError

if TYPE_CHECKING:  # plans are checked by it
    from fedhome.plan.settings import Plan


def is_sliced(plan: Plan) -> bool:
    """Whether a plan's devices carry slices of its model."""
    return bool(plan.slicing.tiers)


def faults_of(plan: Plan) -> list[str]:
    """Return what of a plan's slices does not fit together, or not to the rest of the plan."""
    if not is_sliced(plan):
        return []
    faults = plan.slicing.faults(plan.model.hidden)
    for wrong, setting, value, instead, why in (
        (
            plan.model.name != "mlp",
            "model.name",
            plan.model.name,
            "mlp",
            "a module of your own does not say where its slices are",
        ),
        (
            plan.model.norm != "none",
            "model.norm",
            plan.model.norm,
            "none",
            "a part of a layer has other means than the layer",
        ),
        (
            plan.aggregation.mode != "plain",
            "aggregation.mode",
            plan.aggregation.mode,
            "plain",
            "slices are not added up under masks yet",
        ),
        (
            plan.privacy.mechanism != "none",
            "privacy.mechanism",
            plan.privacy.mechanism,
            "none",
            "noise is reckoned for updates of one size",
        ),
        (
            bool(plan.strategy.wrap),
            "strategy.wrap",
            plan.strategy.wrap,
            "",
            "it promises something of a mean over all devices, and few carry some places",
        ),
        (
            plan.engine.name == "ray",
            "engine.name",
            plan.engine.name,
            "vector",
            "Ray's workers hold homes of one model",
        ),
        (
            plan.engine.device != "cpu",
            "engine.device",
            plan.engine.device,
            "cpu",
            "slices are trained on the processor alone",
        ),
        (
            plan.evaluation.unseen > 0,
            "evaluation.unseen",
            plan.evaluation.unseen,
            0,
            "homes that join later have no tier yet",
        ),
    ):
        if wrong:
            faults.append(
                f"slicing.tiers are set, but {setting} = {json.dumps(value)}: {why}; set "
                f"{setting} = {json.dumps(instead)}"
            )
    return faults


IN_PROCESSES = (
    "slicing.tiers are for simulations (`fedhome simulate`): homes of a fleet all carry the whole "
    "model as yet; leave slicing out"
)


def check_whole(plan: Plan) -> None:
    """Refuse a plan with slices where homes are in processes of their own.

    Raises:
        PlanError: Its devices carry slices.
    """
    if is_sliced(plan):
        raise PlanError([IN_PROCESSES])


def note_on(plan: Plan) -> str:
    """Say where no tier carries the whole of ``model.hidden``: only what is covered is trained."""
    if not is_sliced(plan):
        return ""
    largest = plan.slicing.in_order()[-1]
    covered = largest.widths(plan.model.hidden)
    if covered == plan.model.hidden:
        return ""
    return (
        f"no device carries all of model.hidden = {list(plan.model.hidden)}: the largest tier, "
        f"{largest.name}, has {list(covered)}, and that is the model that is trained and kept"
    )
