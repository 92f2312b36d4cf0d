"""Tasks: how many outputs a model has, which loss it learns by, and how it is scored.

One file a kind, and one row of the table here. A kind of your own is named in the plan: a
:class:`TaskKind`, or a class or function that gives one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedhome.errors import PlanError, PluginError
from fedhome.learning.tasks import binary, multi_class, regression
from fedhome.learning.tasks.segments import Segments
from fedhome.learning.tasks.task import Task, TaskKind, at_horizon
from fedhome.own_code import call, kind_told
from fedhome.plugins import load
from fedhome.run.compared_models import AT
from fedhome.spelling import did_you_mean

if TYPE_CHECKING:  # who only states what a model says has no plan
    from fedhome.plan.data_settings import DataSettings
    from fedhome.plan.settings import Plan

__all__ = ["TASKS", "Segments", "Task", "TaskKind", "at_horizon", "kind_of", "task_of"]

TASKS: dict[str, TaskKind] = {
    kind.name: kind for kind in (regression.KIND, binary.KIND, multi_class.KIND)
}
"""Every kind of task by its name."""


def kind_of(name: str) -> TaskKind:
    """Return a kind of task: one of ours, or a user's own.

    Args:
        name: Its name; empty, where neither plan nor data have said: a regression.

    Raises:
        PluginError: There is none behind the name, or own code fails; with its file and line.
    """
    name = name or regression.KIND.name
    if name in TASKS:
        return TASKS[name]
    found = load(name, "task", TASKS)
    if callable(found) and not isinstance(found, TaskKind):
        found = call(f"task {name!r}", found)
    if not isinstance(found, TaskKind):
        raise PluginError(
            f"task {name!r} is {kind_told(found)}, not a TaskKind",
            hint="fedhome/learning/tasks/regression.py shows one",
        )
    return found


def faults_of(plan: Plan) -> list[str]:
    """Return what of a plan's task does not fit together; the data's classes are not seen.

    Raises:
        PluginError: There is no such kind of task.
    """
    if plan.task.kind:
        return _faults(plan, kind_of(plan.task.kind))
    wanted = plan.task.score  # which kind it is, the data will tell
    known = [name for kind in TASKS.values() for name in _metrics(kind, plan.data)]
    if wanted and wanted not in known:
        return [f"task.score {wanted!r} is no metric{did_you_mean(wanted, known)}"]
    return []


def _faults(plan: Plan, kind: TaskKind) -> list[str]:
    wanted = plan.task.score
    metrics = _metrics(kind, plan.data)
    faults = []
    if plan.data.several and kind is not regression.KIND:
        faults.append(
            f"data.horizon names {len(plan.data.several)} horizons, and several are predicted of a "
            f"number alone: task.kind is {kind.name}. Name one horizon"
        )
    if wanted and wanted not in metrics:
        fault = f"task.score {wanted!r} is none of {', '.join(metrics)} of a {kind.name} task"
        faults.append(fault + did_you_mean(wanted, metrics))
    elif wanted.partition(AT)[0] in kind.errors:
        faults.append(f"task.score {wanted!r} is an error: a score is higher if better")
    if plan.data.split_by == "class" and kind.targets == "continuous":
        faults.append(f'data.split_by = "class" needs classes, but task.kind is "{kind.name}"')
    return faults


def _metrics(kind: TaskKind, data: DataSettings) -> tuple[str, ...]:
    """Return the metrics of a kind; of several horizons their means, then those of each."""
    means = kind.metrics_of(series=data.series)
    return (*means, *(at_horizon(name, one) for one in data.several for name in means))


def task_of(plan: Plan, classes: tuple[str, ...] = ()) -> Task:
    """Return the plan's task.

    Args:
        plan: The plan.
        classes: Class names found in the data, where the plan names none.

    Raises:
        PlanError: Too few classes for the kind, or a score that the kind does not have.
        PluginError: There is no such kind of task.
    """
    kind, classes = kind_of(plan.task.kind), plan.task.classes or classes
    if kind.targets == "multi-class" and len(classes) < 2:  # noqa: PLR2004
        raise PlanError(
            [f"task.kind is {kind.name}, but the target {plan.data.target!r} names no classes"],
            hint="give task.classes, or use a text column as the target",
        )
    if faults := _faults(plan, kind):
        raise PlanError(faults)
    series, horizons = plan.data.series, plan.data.several
    outputs = len(horizons) or kind.outputs
    return Task(
        kind=kind,
        outputs=len(classes) if kind.targets == "multi-class" else outputs,
        loss=(kind.series_loss if series else "") or kind.loss,
        score=plan.task.score or kind.score_of(series=series),
        metrics=_metrics(kind, plan.data),
        series=series,
        classes=classes,
        horizons=horizons,
        ahead=plan.data.furthest,
    )
