"""What devices of a plan's tiers learn with: by its rule, each tier's part of the model."""

from __future__ import annotations

from fedhome.learning.build import learning_of
from fedhome.learning.home_round import check_sliced
from fedhome.learning.local import LocalLearning
from fedhome.learning.slice_rules import SLICE_RULES, CarriedSlice, Slicing
from fedhome.learning.slice_rules.declared import carried_as_declared
from fedhome.models.slicing import Widths
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared
from fedhome.plan.slicing_settings import SlicingSettings
from fedhome.plugins import look_up


def carried_slices(
    plan: Plan, whole: LocalLearning, features: int, classes: tuple[str, ...] = ()
) -> tuple[CarriedSlice, ...]:
    """Return what devices learn with, from the smallest tier to the largest.

    Args:
        plan: The plan, with tiers.
        whole: Learning of the whole model.
        features: Width of the input.
        classes: Class names found in the data, where the plan names none.

    Raises:
        PlanError: The plan's method is none that slices are trained by, or its rule does not go
            with its task.
        ModelError: A module of a user's own declares slices that cannot be; all faults at once.
    """
    check_sliced(whole.method, whole.layout)
    rule = look_up(SLICE_RULES, plan.slicing.rule, "slicing rule")
    if is_declared(plan):
        return carried_as_declared(plan, whole, features)

    def alone(widths: Widths) -> LocalLearning:
        small = plan.change(model={"hidden": widths}, slicing=SlicingSettings().model_dump())
        return learning_of(small, features, classes)

    slicing = Slicing(plan=plan, whole=whole, features=features, alone=alone)
    return tuple(rule(slicing, number) for number in range(len(plan.slicing.tiers)))
