"""A plan by what a user calls it: a file, a scenario that comes along, or ``default``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedhome.learning.plan_check import checked_plan
from fedhome.plan.overrides import locate, merge, parse_set, read_toml
from fedhome.plan.settings import Plan
from fedhome.simulations.scenario_files import plan_file


def named_table(name: str | None) -> dict[str, Any]:
    """Return the settings of a plan as nested tables; those that it does not name have defaults.

    Args:
        name: A TOML file or a scenario; ``default`` or None: no setting at all.

    Raises:
        PlanError: There is neither, or the file cannot be read.
    """
    file = plan_file(name)
    return {} if file is None else read_toml(file)


def named_plan(name: str | None, sets: Sequence[str] = ()) -> Plan:
    """Return a plan by its name, as `named_table` finds it, with single settings changed.

    Args:
        name: As of `named_table`.
        sets: Settings as ``section.key=value``.

    Raises:
        PlanError: There is none of that name, or it does not hold.
    """
    where, table = name or "the plan", named_table(name)
    for setting in sets:
        merge(table, parse_set(setting))
    locate(table, folders_of(name))
    return checked_plan(table, where=where)


def folders_of(name: str | None) -> list[Path]:
    """Return where a plan's own code is looked for: beside its file, then in the current folder.

    Args:
        name: As of `named_table`.
    """
    beside = [Path(name).parent] if name is not None and Path(name).is_file() else []
    return [*beside, Path.cwd()]
