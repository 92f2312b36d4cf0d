"""What a plan and a home's settings say once its readings lie in a file that fedhome wrote.

Such a file has one home, the plan's names of columns, numbers as they are, and its own zone.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from fedhome.data.input_schema import InputSchema
from fedhome.data.table import HomeTable
from fedhome.plan.settings import Plan

# What does not hold for it. A plan's zone would replace the home's own.
_AS_WRITTEN: Final = {"time_zone": "", "time": (), "pivot": (), "home_column": ""}


def plan_of_files(plan: Plan, schema: InputSchema) -> Plan:
    """Return a simulation's plan as its homes and its server run it, once readings lie in files.

    It names all inputs, and a home that reads a file cannot tell that a simulation made it. The
    server runs the very same plan: homes refuse sums under another one.

    Args:
        plan: The simulation's.
        schema: What its columns are taken for.
    """
    rename = _still_to_rename(plan.data.rename, (*schema.columns, plan.data.target))
    data = plan.data.model_copy(update={"rename": rename})
    history_days = plan.data.simulated().history_days
    plan = plan.model_copy(update={"data": data})
    return schema.named_in(plan.change(data={**_AS_WRITTEN, "history_days": history_days}))


def reading_of_files(table: HomeTable, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a home's settings say of how its files are read, by name.

    Args:
        table: Its readings.
        own: How it reads files where that differs from the plan. Its model reads other files by
            it, as far as it holds for the written one, too.
    """
    reading = {name: how for name, how in own.items() if name not in _AS_WRITTEN}
    if "rename" in reading:
        reading["rename"] = _still_to_rename(reading["rename"], table.columns)
    return {**reading, **({"rules": dict(table.rules)} if table.rules else {})}


def _still_to_rename(rename: Mapping[str, str], columns: Container[str]) -> dict[str, str]:
    """Return what is renamed in other files than the written ones, which have these columns."""
    return {old: new for old, new in rename.items() if old not in columns}
