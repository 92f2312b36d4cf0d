"""From a plan to local learning: the task, the model, the three functions."""

from __future__ import annotations

from fedhome.learning.local import LocalLearning
from fedhome.learning.tasks import task_of
from fedhome.models.mlp import build_model
from fedhome.plan.settings import Plan


def learning_of(plan: Plan, features: int, classes: tuple[str, ...] = ()) -> LocalLearning:
    """Build what every home of a plan learns with; the same plan gives the same parameters.

    Args:
        plan: The plan.
        features: Width of the input.
        classes: Class names found in the data, where the plan names none.

    Raises:
        PlanError: The task does not fit the data.
        ModelError: The model cannot be trained in a federation.
    """
    task = task_of(plan, classes)
    return LocalLearning(build_model(plan, features, task.outputs), task, plan.train)
