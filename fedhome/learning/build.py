"""From a plan to local learning: the task, the model, the method, the three functions."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from fedhome.errors import PlanError
from fedhome.learning.first_step import try_own
from fedhome.learning.home_round import is_plain, private_places
from fedhome.learning.local import LocalLearning
from fedhome.learning.methods import method_of
from fedhome.learning.tasks import task_of
from fedhome.models.declared_slices import declared_slices, shells_in
from fedhome.models.mlp import build_model
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared


def learning_of(plan: Plan, features: int, classes: tuple[str, ...] = ()) -> LocalLearning:
    """Build what every home of a plan learns with; the same plan gives the same parameters.

    Args:
        plan: The plan.
        features: Width of the input.
        classes: Class names found in the data, where the plan names none.

    Raises:
        PlanError: The task does not fit the data, or the method refuses its settings.
        PluginError: A name behind which there is nothing, or what is there fails at a first step.
        ModelError: The model cannot be trained in a federation.
    """
    task = task_of(plan, classes)
    method = method_of(plan.method)
    if fault := method.fault_on(plan):
        raise PlanError([fault])

    def make(copy: int) -> nn.Module:
        return build_model(plan, features, task.outputs, copy=copy)

    model = method.module(make)
    learning = LocalLearning(model, task, plan.train, method)
    if is_declared(plan) and is_plain(method, learning.layout):  # other methods: refused elsewhere
        slices = declared_slices(plan, model, features, task.outputs)
        learning.layout = replace(learning.layout, shells=shells_in(slices))
    private_places(method, learning.layout)  # a fault in its names is told before a run begins
    try_own(learning, features)
    return learning
