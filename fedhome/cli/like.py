"""Example readings: a plan's inputs, as files such as homes have them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from fedhome.data.fleet_examples import fleet_examples
from fedhome.data.home_files import read_home
from fedhome.data.homes_folder import read_folder
from fedhome.data.input_schema import InputSchema, schema_of
from fedhome.data.table import HomeTable
from fedhome.data.told_once import told_once
from fedhome.errors import DataError, PlanError
from fedhome.learning.settled_plan import settled, with_batches
from fedhome.plan.settings import Plan


@dataclass(frozen=True, kw_only=True)
class LikeExamples:
    """A plan with the inputs that example readings have.

    Args:
        plan: The plan, which names them.
        schema: The inputs.
        notes: What was noticed on the way, in plain sentences.
    """

    plan: Plan
    schema: InputSchema
    notes: tuple[str, ...]


def like(plan: Plan, source: Path) -> LikeExamples:
    """Name a plan's inputs as example readings have them: what the plan says already stays.

    Units are those of most files; words are those of all files together. Inputs that the plan
    names are found anew, those of ``data.features`` or all that the files share.

    Args:
        plan: The plan.
        source: A file such as homes have, or a folder: of homes, or of one home's files.

    Raises:
        DataError: The readings cannot be used.
        PlanError: They do not fit the plan.
    """
    plan = _open(plan)
    tables, notes = _read(plan, source)
    found = settled(plan, tables)
    plan, targets = found.plan, found.targets
    schema = schema_of(plan, targets, tables)
    if targets == "multi-class" and not schema.target.words:
        raise PlanError(
            [f"the target {plan.data.target!r} of the examples names no classes"],
            hint="name all classes of the fleet in task.classes",
        )
    fleet = fleet_examples(tables, schema, plan.data, targets)
    notes = [*found.notes, *notes, *told_once(fleet.told)]
    notes += [f"no examples can be made of it: {home.reason}" for home in fleet.excluded]
    plan, steps = with_batches(plan, fleet.homes)
    plan, notes = fleet.schema.named_in(plan), [*notes, *steps]
    return LikeExamples(plan=plan, schema=fleet.schema, notes=tuple(notes))


def schema_table(schema: InputSchema) -> Table:
    """Return a plan's inputs as a table for people."""
    table = Table(show_edge=False, header_style="bold")
    for name in ("input", "kind", "unit", "words"):
        table.add_column(name, overflow="fold")
    for spec in (*schema.inputs, schema.target):
        name = f"{spec.name}, predicted" if spec is schema.target else spec.name
        table.add_row(*map(escape, (name, spec.kind, spec.unit, ", ".join(spec.words))))
    return table


def _open(plan: Plan) -> Plan:
    """Return a plan that leaves its inputs open, whatever it named before."""
    table = plan.model_dump()
    table["data"]["inputs"] = None
    return Plan.parse(table)


def _read(plan: Plan, source: Path) -> tuple[Sequence[HomeTable], list[str]]:
    """Return the homes of a source, and notes.

    Raises:
        DataError: There is none that can be used.
    """
    data = plan.data
    if source.is_dir():
        try:
            read = read_folder(source, data, target=data.target, step=data.step)
        except DataError:  # or the files of one home, each with some of its columns
            whole = read_home(source, settings=data, step=data.step)
            if data.target not in whole.table.columns:
                raise
            return [whole.table], list(whole.notes)
        left_out = [f"left out: {home.home}: {home.told}" for home in read.excluded]
        return read.homes, [*left_out, *read.notes]
    one = read_home(source, settings=data, step=data.step)
    return [one.table], list(one.notes)
