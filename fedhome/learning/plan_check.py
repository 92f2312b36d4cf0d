"""What a plan names of local learning, looked at before anything is built; free of torch."""

from __future__ import annotations

from collections.abc import Callable

from fedhome.errors import PlanError, PluginError
from fedhome.learning import methods, tasks
from fedhome.learning.optimisers import optimiser_of
from fedhome.plan.settings import Plan


def check_plan(plan: Plan, *, where: str = "the plan") -> Plan:
    """Return a plan whose names of local learning are known, and fit each other.

    What is a user's own (``"module:attribute"``) is looked at when it is built.

    Args:
        plan: The plan.
        where: What it is called in the error.

    Raises:
        PlanError: All faults at once.
    """
    faults: list[str] = []
    for setting, name, look in _LOOKS:
        if ":" in name(plan):
            continue
        try:
            faults += look(plan)
        except PluginError as error:
            faults.append(f"{setting}: {error.message}; {error.hint}")
    if faults:
        raise PlanError(
            faults, where=where, hint="`fedhome plan explain` lists every setting with its meaning"
        )
    return plan


def _optimiser_faults(plan: Plan) -> list[str]:
    optimiser_of(plan.train)
    return []


_Look = tuple[str, Callable[[Plan], str], Callable[[Plan], list[str]]]
_LOOKS: tuple[_Look, ...] = (
    ("task.kind", lambda plan: plan.task.kind, tasks.faults_of),
    ("train.optimiser", lambda plan: plan.train.optimiser, _optimiser_faults),
    ("method.name", lambda plan: plan.method.name, methods.faults_of),
)
