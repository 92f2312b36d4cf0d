"""``fedhome simulate``: from a plan to a finished run, with live progress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fedhome.cli.console import Console
from fedhome.cli.plan_options import DataOption, PlanArgument, SetsOption
from fedhome.cli.scenarios import folders_of, named_table
from fedhome.errors import PlanError
from fedhome.learning.plan_check import checked_plan
from fedhome.plan.overrides import locate, merge, parse_set
from fedhome.plan.settings import Plan
from fedhome.run.progress import progress_on
from fedhome.run.summary import check_learnt, print_seeds, print_summary

EngineName = Literal["vector", "sequential", "ray"]


def simulate(  # noqa: PLR0917 - typer gives them by name
    plan: PlanArgument = None,
    sets: SetsOption = None,
    data: DataOption = None,
    engine: Annotated[EngineName | None, typer.Option(help="What computes it.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster, with --engine ray.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Run it with this many seeds, from --seed on.", min=1),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", metavar="runs/NAME")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Begin with the model of another run.", metavar="RUN")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with an interrupted run.", metavar="RUN")
    ] = None,
) -> None:
    """Train a federated model over many homes and show what each home gained.

    Without arguments: 100 synthetic homes learn to predict the next hour's load.
    """
    console = Console()
    resolved = Plan()
    if resume is not None:
        given = (plan, sets, data, engine, ray_address, seed, seeds, out, start)
        if any(value is not None for value in given):
            raise PlanError(
                ["--resume takes the plan of the run and nothing else"],
                where="the command",
                hint="to change the plan, begin a new run",
            )
    else:
        settings: list[str] = list(sets or [])
        settings += [] if seed is None else [f"seed={seed}"]
        settings += [] if engine is None else [f'engine.name="{engine}"']
        settings += [] if ray_address is None else [f'engine.ray_address="{ray_address}"']
        resolved = resolve(plan, data, settings)
    # Loads torch: after the plan is known to hold, so that a typing error is told at once.
    from fedhome.simulations import simulate as world  # noqa: PLC0415

    if resume is not None:
        with progress_on(console) as watch:
            result = world.resume(resume, on_event=watch)
        print_summary(console, result.folder)
        check_learnt(result.folder)
        return
    folders = []
    said: set[str] = set()
    for number in range(seeds or 1):
        one = resolved if number == 0 else resolved.change(seed=resolved.seed + number)
        where = out if seeds is None or out is None else out / f"seed-{one.seed}"
        if seeds is not None:
            console.print(f"seed {one.seed}, {number + 1} of {seeds}", style="bold")
        with progress_on(console, said=said) as watch:
            result = world.simulate(one, out=where, start=start, on_event=watch)
        print_summary(console, result.folder)
        folders.append(result.folder)
    print_seeds(console, folders)
    for folder in folders:
        check_learnt(folder)


def resolve(plan: str | None, data: str | None, sets: list[str]) -> Plan:
    """Lay the layers of a plan over each other: data set, plan file, ``--set``.

    Raises:
        PlanError: All faults at once.
    """
    from fedhome.simulations.datasets import CATALOGUE  # noqa: PLC0415 - found only at run time

    table: dict[str, Any] = {}
    if data is not None:
        name = data if data in CATALOGUE else Path(data).resolve().name
        table = {"name": _as_name(name), "data": {"source": data}}
        for setting in CATALOGUE[data].train if data in CATALOGUE else ():
            merge(table, parse_set(setting))
    merge(table, named_table(plan))
    if data is not None:
        merge(table, {"data": {"source": data}})
    for setting in sets:
        merge(table, parse_set(setting))
    locate(table, folders_of(plan))
    where = plan or "the plan"
    return checked_plan(table, where=where)


def _as_name(text: str) -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)
    return name.lstrip("._-") or "run"
