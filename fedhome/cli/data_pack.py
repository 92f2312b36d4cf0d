"""``fedhome data pack``: a store of homes from which a simulation reads those that it asks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from fedhome.cli.console import Console, say
from fedhome.cli.data_check import table_of
from fedhome.cli.plan_options import PlanOption, SetsOption
from fedhome.counted import counted
from fedhome.data.table import HomeTable
from fedhome.plan.own_reading import own_of, reading_of
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.plan.settings import Plan


def pack(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of homes, a named set, or synthetic.", metavar="FOLDER|SET|synthetic"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The store's folder; else beside FOLDER.", metavar="STORE")
    ] = None,
    plan: PlanOption = None,
    sets: SetsOption = None,
) -> None:
    """Write homes into one store, from which a run reads those that it asks.

    For fleets that fill no memory: set data.source to the store. What the files mean is settled
    now, as `fedhome data check` shows it; a store is read without guessing.
    """
    from fedhome.data.pack_homes import pack as write  # noqa: PLC0415 - arrow, only where needed

    table = table_of(source, plan, sets)
    # How updates would be added up, and over how many homes, is nothing to a store.
    table.setdefault("aggregation", {}).setdefault("mode", "plain")
    resolved = Plan.parse(table, where=plan or "the settings")
    tables, columns, reading, notes = _homes(resolved)
    console = Console()
    for note in notes:
        say(console, f"note: {note}", wrapped=True)
    given = Path(source)
    packed = write(
        tables,
        out or given.with_name(f"{given.stem or given.name}.homes"),
        columns=columns,
        reading=reading,
    )
    say(
        console,
        f"{counted(packed.homes, 'home')}, {counted(packed.rows, 'row')}, "
        f"{packed.bytes / 2**20:,.1f} MB in {packed.path}",
        wrapped=True,
    )
    say(console, f"train: fedhome simulate --set data.source={packed.path}", wrapped=True)


def _homes(
    plan: Plan,
) -> tuple[Iterable[HomeTable], list[str], dict[str, dict[str, Any]], list[str]]:
    """Return the homes of a plan's source, all of their columns, how each was read, and notes."""
    from fedhome.simulations.gather import read_source  # noqa: PLC0415 - loads torch
    from fedhome.simulations.homes import generate  # noqa: PLC0415

    data = plan.data
    if data.source == "synthetic":
        from fedhome.plan.data_settings import SYNTHETIC_HOMES  # noqa: PLC0415

        homes = data.homes or SYNTHETIC_HOMES
        return generate(homes=homes, days=data.days, seed=plan.seed), [], {}, []
    read = read_source(plan)
    notes = [*read.notes, *(f"left out: {one.home}: {one.told}" for one in read.excluded)]
    columns = sorted({name for home in read.homes for name in home.columns})
    # A plan that later names the store need not say again what this one does.
    reading = {
        home.home: own_of(
            reading_of(data, read.own.get(home.home, {})).model_dump(), ReadingSettings()
        )
        for home in read.homes
    }
    return read.homes, columns, reading, notes
