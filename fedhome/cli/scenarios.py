"""A plan by what a user calls it: a file, a scenario that comes along, or ``default``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fedhome.simulations
from fedhome.errors import PlanError
from fedhome.learning.plan_check import checked_plan
from fedhome.plan.overrides import locate, merge, parse_set, read_toml
from fedhome.plan.settings import Plan
from fedhome.spelling import did_you_mean

DEFAULT = "default"
"""What the plan without a single setting is called."""

SCENARIOS = Path(fedhome.simulations.__file__).parent / "scenarios"
"""The folder of the scenarios that come along."""


def named_table(name: str | None) -> dict[str, Any]:
    """Return the settings of a plan as nested tables; those that it does not name have defaults.

    Args:
        name: A TOML file or a scenario; ``default`` or None: no setting at all.

    Raises:
        PlanError: There is neither, or the file cannot be read.
    """
    path = Path(name or DEFAULT)
    if name is not None and path.is_file():
        return read_toml(path)
    if name is None or name == DEFAULT:
        return {}
    if (SCENARIOS / f"{name}.toml").is_file():
        return read_toml(SCENARIOS / f"{name}.toml")
    known = sorted([DEFAULT, *(file.stem for file in SCENARIOS.glob("*.toml"))])
    files = [str(file) for file in path.parent.glob("*.toml")]
    raise PlanError(
        [f"there is no such file or scenario{did_you_mean(name, [*known, *files])}"],
        where=name,
        hint=f"the scenarios are: {', '.join(known)}",
    )


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
