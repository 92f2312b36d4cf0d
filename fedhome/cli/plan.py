"""``fedhome plan``: look at a plan, and at every setting with its meaning."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedhome.learning.check import check_plan
from fedhome.plan.protocol import lines
from fedhome.plan.settings import SYNTHETIC_HOMES, Plan

app = typer.Typer(no_args_is_help=True)


@app.command()
def explain(
    plan: Annotated[
        str | None, typer.Argument(help="A plan (TOML) or a scenario.", metavar="PLAN")
    ] = None,
    homes: Annotated[
        int | None, typer.Option(help="Homes that secure sums are explained for.")
    ] = None,
) -> None:
    """Show every setting, and what secure aggregation derives from them, with its bounds."""
    from fedhome.cli.simulate import find_plan  # noqa: PLC0415 - avoids a circle

    resolved = check_plan(Plan.load(find_plan(plan)), where=plan) if plan else Plan()
    table = Table(show_edge=False, header_style="bold")
    for name in ("setting", "value", "meaning"):
        table.add_column(name, overflow="fold")
    for name, value, default, meaning in settings(resolved, Plan()):
        shown = escape(_text(value))
        changed = f"[bold]{shown}[/] [dim](default {escape(_text(default))})[/]"
        table.add_row(name, shown if value == default else changed, escape(meaning))
    console = Console()
    console.print(table)
    count = homes or resolved.data.homes or SYNTHETIC_HOMES
    mode = resolved.aggregation_mode(count)
    if mode == "plain":
        return
    derived = Table(
        show_edge=False,
        header_style="bold",
        title=f"secure sums over {count} homes ({mode} in a simulation)",
        title_justify="left",
    )
    for name in ("parameter", "value, and why"):
        derived.add_column(name, overflow="fold")
    for name, meaning in lines(resolved, count):
        derived.add_row(name, escape(meaning))
    console.print()
    console.print(derived)


@app.command()
def show(
    plan: Annotated[
        str | None, typer.Argument(help="A plan (TOML) or a scenario.", metavar="PLAN")
    ] = None,
) -> None:
    """Print the whole plan as TOML, to begin one of your own from."""
    from fedhome.cli.simulate import find_plan  # noqa: PLC0415 - avoids a circle

    resolved = check_plan(Plan.load(find_plan(plan)), where=plan) if plan else Plan()
    typer.echo(resolved.to_toml(), nl=False)


def settings(
    section: BaseModel, default: BaseModel, prefix: str = ""
) -> list[tuple[str, Any, Any, str]]:
    """Return name, value, default and meaning of every setting, section by section."""
    rows: list[tuple[str, Any, Any, str]] = []
    for name, field in type(section).model_fields.items():
        value, usual = getattr(section, name), getattr(default, name)
        if isinstance(value, BaseModel):
            rows += settings(value, usual, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value, usual, field.description or ""))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return "unset" if value is None else str(value)
