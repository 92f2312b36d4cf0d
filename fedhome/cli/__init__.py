"""The command line: one file a command group, errors as plain sentences."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import fedhome
from fedhome.cli import (
    client,
    data,
    fleet,
    model,
    new,
    plan,
    privacy,
    reasons,
    report,
    server,
    simulate,
    up,
)
from fedhome.cli.group import Group
from fedhome.errors import FedHomeError

app = typer.Typer(
    name="fedhome",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedhome {fedhome.__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Many homes learn one model together, and each gets its own version of it back."""


app.command("simulate")(simulate.simulate)
app.command("up")(up.up)
app.command("report")(report.report)
app.command("new")(new.new)
app.command("reasons")(reasons.reasons)
app.add_typer(plan.app, name="plan", help="Look at a plan and its settings.")
app.add_typer(privacy.app, name="privacy", help="Noise that homes add: which is realistic.")
app.add_typer(fleet.app, name="fleet", help="Who is in the fleet: what its owner types.")
app.add_typer(server.app, name="server", help="The fleet's server: make it, run it, train.")
app.add_typer(client.app, name="client", help="A home on its device: join, start, pause, leave.")
app.add_typer(model.app, name="model", help="The fleet's models: every release, signed.")
app.add_typer(data.app, name="data", help="Named sets of real homes.")


def main() -> None:
    """Run the command line; an expected error ends it with a sentence and status 1."""
    console = Console(stderr=True, soft_wrap=True)
    try:
        app()
    except FedHomeError as error:
        console.print(f"[bold red]error:[/] {escape(error.message)}", highlight=False)
        if error.hint:
            console.print(f"[bold]hint:[/]  {escape(error.hint)}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
