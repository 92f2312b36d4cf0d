"""What a plan names, looked at before anything is built; free of torch and Flower."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from fedhome.errors import PlanError, PluginError
from fedhome.learning import methods, tasks
from fedhome.learning.optimisers import OPTIMISERS
from fedhome.plan import short_names
from fedhome.plan.settings import Plan
from fedhome.plugins import check_known, look_up

_HINT = "`fedhome plan explain` lists every setting with its meaning"


def checked_plan(table: Mapping[str, Any], *, where: str = "the plan") -> Plan:
    """Build a plan from nested tables, and look at all that it says and names.

    It is for whoever runs the plan: a home need not have the server's strategy.

    Args:
        table: The settings.
        where: What the plan is called in the error.

    Raises:
        PlanError: All faults at once: of single settings, of what does not fit together, and of
            names behind which there is nothing. Where single settings are wrong, nobody knows yet
            what does not fit together.
    """
    try:
        plan = Plan.model_validate(table)
    except PlanError as error:
        unknown = _unknown(table, _NAMES)
        raise PlanError([*error.faults, *unknown.values()], where=where, hint=error.hint) from None
    if faults := [*plan.check(), *_faults(plan, _NAMES)]:
        raise PlanError(faults, where=where, hint=_HINT)
    return plan


def check_plan(plan: Plan, *, where: str = "the plan") -> Plan:
    """Return a plan whose names of local learning are known, and fit each other.

    What is a user's own (``"module:attribute"``) is looked at when it is built.

    Args:
        plan: The plan.
        where: What it is called in the error.

    Raises:
        PlanError: All faults at once.
    """
    if faults := _faults(plan, _NAMES_AT_HOME):
        raise PlanError(faults, where=where, hint=_HINT)
    return plan


_Setting = tuple[str, str]
_Names = Mapping[_Setting, Callable[[str], object]]


def _faults(plan: Plan, names: _Names) -> list[str]:
    table = plan.model_dump(include={section for section, _ in names})
    unknown = _unknown(table, names)
    faults = list(unknown.values())
    for setting, look in _LOOKS.items():
        if setting not in unknown and ":" not in table[setting[0]][setting[1]]:
            faults += look(plan)
    return faults


def _unknown(table: Mapping[str, Any], names: _Names) -> dict[_Setting, str]:
    """Return the fault of each setting that names nothing, of tables that need not hold."""
    faults = {}
    for (section, key), look in names.items():
        inside = table.get(section)
        name = inside.get(key, "") if isinstance(inside, Mapping) else ""
        if not isinstance(name, str) or not name or ":" in name:
            continue
        try:
            look(name)
        except PluginError as error:
            faults[section, key] = f"{section}.{key}: {error.with_hint}"
    return faults


def _of(known: Iterable[str], kind: str) -> Callable[[str], object]:
    """Return what looks a name up among ours, and among those of installed packages."""
    return partial(check_known, kind=kind, known=known)


def _of_flower(known: Iterable[str], kind: str) -> Callable[[str], object]:
    """Return the same of Flower's names, which count in upper case too."""
    look = _of(known, kind)
    return lambda name: name.lower() in known or look(name)


_NAMES_AT_HOME: _Names = {
    ("task", "kind"): _of(tasks.TASKS, "task"),
    ("model", "name"): _of(short_names.MODELS, "model"),
    ("train", "optimiser"): lambda name: look_up(OPTIMISERS, name, "optimiser"),
    ("method", "name"): lambda name: look_up(methods.METHODS, name, "method"),
    ("personalise", "name"): _of(short_names.PERSONALISERS, "personaliser"),
}
_NAMES: _Names = {
    **_NAMES_AT_HOME,
    ("strategy", "name"): _of_flower(short_names.STRATEGIES, "strategy"),
    ("strategy", "wrap"): _of_flower(short_names.WRAPPERS, "wrapper"),
}
_LOOKS: Mapping[_Setting, Callable[[Plan], list[str]]] = {
    ("task", "kind"): tasks.faults_of,
    ("method", "name"): methods.faults_of,
}
