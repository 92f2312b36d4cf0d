"""``fedhome up``: server and homes as real processes on this machine, for trying."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedhome.cli.simulate import resolve
from fedhome.cli.table import print_summary
from fedhome.processes import end_on_sigterm


def up(
    plan: Annotated[
        str | None, typer.Argument(help="A plan (TOML), or the name of a scenario.", metavar="PLAN")
    ] = None,
    homes: Annotated[int, typer.Option(help="Number of homes.", min=2)] = 5,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one setting.", metavar="KEY=VALUE"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", metavar="runs/NAME")
    ] = None,
) -> None:
    """Run a plan with a server and homes that are processes of their own, on this machine.

    Keys, directory, TLS and secure sums are those of a real fleet; the run gives the weights
    that `fedhome simulate` gives. Everything ends with the command.
    """
    resolved = resolve(plan, None, list(sets or []))
    from simulations import processes  # noqa: PLC0415 - after the plan is known to hold

    end_on_sigterm()
    folder = processes.up(resolved, homes=homes, out=out)
    print_summary(Console(), folder)
