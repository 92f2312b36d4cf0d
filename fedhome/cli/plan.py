"""``fedhome plan``: look at a plan, and at every setting with its meaning."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, TypeAdapter
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from fedhome.cli.console import Console
from fedhome.cli.group import Group
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.json_plans import DerivedEntry, NumbersTable, PlanExplained, SettingEntry
from fedhome.cli.plan_options import PlanOrDefaults, SetsOption
from fedhome.cli.row_blocks import print_rows
from fedhome.cli.scenarios import named_plan
from fedhome.errors import PlanError
from fedhome.learning.plan_notes import notes_on
from fedhome.plan.data_settings import SYNTHETIC_HOMES
from fedhome.plan.parts import parts_line
from fedhome.plan.privacy_outlook import privacy_lines
from fedhome.plan.protocol import lines
from fedhome.plan.second_sums import second_sums_line
from fedhome.plan.settings import Plan
from fedhome.plan.told_weights import sums_line

app = typer.Typer(cls=Group, no_args_is_help=True)

_TABLE_WIDTH = 72
"""Columns of a screen below which a table would cut its words to pieces."""
_VALUE = "value, and why"
_COMMENT_WIDTH = 78
_MOST_HOMES = 1_000_000  # chances of larger fleets take more memory than there is


@app.command()
def explain(
    plan: PlanOrDefaults = None,
    sets: SetsOption = None,
    homes: Annotated[
        int | None,
        typer.Option(help="Homes that secure sums are explained for.", min=1, max=_MOST_HOMES),
    ] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show every setting, and what secure aggregation derives from them, with its bounds."""
    resolved, console = named_plan(plan, sets or ()), Console()
    rows = settings(resolved, Plan())
    count = homes or resolved.data.homes or SYNTHETIC_HOMES
    if as_json:
        print_json(_explained(resolved, rows, count))
        return
    if console.width < _TABLE_WIDTH:
        _print_list(console, rows)
    else:
        console.print(_table(rows))
    if resolved.aggregation_mode(count) != "plain":
        console.print()
        print_rows(console, _derived(resolved, count), prose=(_VALUE,))
    for note in notes_on(resolved):
        console.print(f"\nnote: {escape(note)}", highlight=False)


@app.command()
def show(
    plan: PlanOrDefaults = None,
    sets: SetsOption = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Readings such as homes have, a file or a folder of homes: name their columns as "
            "the plan's inputs.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Print the whole plan as TOML, to start one of your own; with `--json`, as an object."""
    _refuse_own_end(plan)
    resolved = named_plan(plan, sets or ())
    if like is not None:
        from fedhome.cli.like import like as read_like  # noqa: PLC0415 - it reads files

        found = read_like(resolved, like)
        resolved = found.plan
        for note in found.notes:
            Console(stderr=True).print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    if as_json:
        print_json(resolved.model_dump(mode="json"))
        return
    unset = [name for name, value, _, _ in settings(resolved, resolved) if value is None]
    typer.echo(_comment(unset) + resolved.to_toml(), nl=False)


def _refuse_own_end(plan: str | None) -> None:
    """Refuse to print a plan into its own file, which the shell may have emptied beforehand."""
    try:
        out = os.fstat(sys.stdout.fileno())
        same = plan is not None and os.path.samestat(out, Path(plan).stat())
    except OSError:
        return  # there is no such file, or the output is none
    if same:
        what = (
            "the plan would stand there twice"
            if out.st_size
            else "the shell has emptied it already"
        )
        raise PlanError(
            [f"it is the file that this command prints into: {what}"],
            where=str(plan),
            hint="print into another file, and rename that",
        )


@app.command()
def numbers(
    plan: PlanOrDefaults = None,
    sets: SetsOption = None,
    homes: Annotated[
        int | None, typer.Option(help="Homes in the fleet.", min=1, max=_MOST_HOMES)
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As docs/numbers.md has them.")
    ] = False,
    *,
    as_json: JsonFlag = False,
) -> None:
    """List every number that ever leaves a home: in sums, and in the clear."""
    from fedhome.clients.outgoing import tables  # noqa: PLC0415 - it loads Flower

    resolved, console = named_plan(plan, sets or ()), Console()
    count = homes or resolved.data.homes or SYNTHETIC_HOMES
    told = list(tables.tables_of(resolved, count))
    if markdown:
        typer.echo(tables.markdown(told), nl=False)
        return
    if as_json:
        print_json(
            [
                NumbersTable(
                    title=one.title.strip("`"),
                    text=one.text,
                    header=list(one.header),
                    rows=[[cell.strip("`") for cell in row] for row in one.rows],
                )
                for one in told
            ]
        )
        return
    for table in told:
        console.print(f"\n[bold]{escape(table.title.strip('`'))}[/]", highlight=False)
        console.print(escape(table.text), highlight=False)
        if table.header:
            shown = Table(show_edge=False, header_style="bold")
            for name in table.header:
                shown.add_column(name, overflow="fold")
            for row in table.rows:
                shown.add_row(*(escape(cell.strip("`")) for cell in row))
            print_rows(console, shown, prose=table.header)


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


def _comment(unset: list[str]) -> str:
    """Return what TOML has no word for, as its comment."""
    if not unset:
        return ""
    told = (
        f"Unset, and so not below: {', '.join(unset)}. `fedhome plan explain` tells what follows."
    )
    width = min(Console().width, _COMMENT_WIDTH) - 2
    wrapped = textwrap.wrap(told, width, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in wrapped)


def _table(rows: list[tuple[str, Any, Any, str]]) -> Table:
    table = Table(show_edge=False, header_style="bold")
    for name in ("setting", "value", "meaning"):
        table.add_column(name, overflow="fold", no_wrap=name == "setting")
    for name, value, default, meaning in rows:
        table.add_row(name, _shown(value, default), escape(meaning))
    return table


def _explained(plan: Plan, rows: list[tuple[str, Any, Any, str]], homes: int) -> PlanExplained:
    mode = plan.aggregation_mode(homes)
    return PlanExplained(
        name=plan.name,
        homes=homes,
        mode=mode,
        settings=[
            SettingEntry(name=name, value=_value(value), default=_value(usual), meaning=meaning)
            for name, value, usual, meaning in rows
        ],
        derived=[
            DerivedEntry(name=name, meaning=meaning)
            for name, meaning in (_derived_rows(plan, homes) if mode != "plain" else ())
        ],
        notes=list(notes_on(plan)),
    )


def _value(value: Any) -> Any:
    """Return a setting's value as JSON has it."""
    return TypeAdapter(Any).dump_python(value, mode="json")


def _derived_rows(plan: Plan, homes: int) -> list[tuple[str, str]]:
    sums = [sums_line(plan), *second_sums_line(plan, homes), parts_line(plan, homes)]
    return [*lines(plan, homes), *sums, *privacy_lines(plan, homes)]


def _derived(plan: Plan, homes: int) -> Table:
    table = Table(
        show_edge=False,
        header_style="bold",
        title=f"secure sums over {homes} homes ({plan.aggregation_mode(homes)} in a simulation)",
        title_justify="left",
    )
    for name in ("parameter", _VALUE):
        table.add_column(name, overflow="fold")
    for name, meaning in _derived_rows(plan, homes):
        table.add_row(name, escape(meaning))
    return table


def _print_list(console: Console, rows: list[tuple[str, Any, Any, str]]) -> None:
    for name, value, default, meaning in rows:
        console.print(f"[bold]{name}[/] = {_shown(value, default)}", highlight=False)
        console.print(Padding(escape(meaning), (0, 0, 0, 4)), highlight=False)


def _shown(value: Any, default: Any) -> str:
    shown = escape(_text(value))
    if value == default:
        return shown
    return f"[bold]{shown}[/] [dim](default {escape(_text(default))})[/]"


def _text(value: Any) -> str:
    """Return a value as ``--set`` and TOML take it."""
    match value:
        case None:
            return "unset"
        case bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case tuple() | list():
            return f"[{', '.join(map(_text, value))}]"
        case BaseModel():
            return _text(value.model_dump())
        case Mapping():
            return f"{{{', '.join(f'{name} = {_text(item)}' for name, item in value.items())}}}"
        case _:
            return str(value)
