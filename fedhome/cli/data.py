"""``fedhome data``: how files are read, and the named sets of real homes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli import data_check, data_pack
from fedhome.cli.console import Console
from fedhome.cli.group import Group
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.json_plans import SetDescription, SetEntry
from fedhome.cli.row_blocks import print_rows
from fedhome.counted import counted

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
)
app.command("check")(data_check.check)
app.command("convert")(data_check.convert)
app.command("pack")(data_pack.pack)

_Name = Annotated[str, typer.Argument(help="Name of the set, as in `fedhome data list`.")]


@app.command("list")
def list_(*, as_json: JsonFlag = False) -> None:
    """List the named sets."""
    from fedhome.simulations.datasets import CATALOGUE, is_cached  # noqa: PLC0415  (only in the app)

    if as_json:
        print_json(
            [
                SetEntry(
                    name=one.name,
                    title=one.title,
                    homes=one.homes,
                    licence=one.licence,
                    cached=is_cached(one.name),
                )
                for one in CATALOGUE.values()
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "homes", "what", "licence", "cached"):
        table.add_column(title, justify="right" if title == "homes" else "left")
    for dataset in CATALOGUE.values():
        cached = "yes" if is_cached(dataset.name) else "no"
        table.add_row(
            dataset.name, str(dataset.homes), escape(dataset.title), dataset.licence, cached
        )
    print_rows(Console(), table, prose=("what",))


@app.command()
def get(
    name: _Name,
    file: Annotated[
        Path | None,
        typer.Option("--from", help="read this downloaded file or folder; nothing is fetched"),
    ] = None,
) -> None:
    """Fetch a set into the cache, or read it from a file that was downloaded by hand."""
    from fedhome.simulations.datasets import get as get_set  # noqa: PLC0415  (only in the app)
    from fedhome.simulations.datasets import named  # noqa: PLC0415

    dataset = named(name)
    folder = get_set(name, file=file)
    typer.echo(
        f"{name}: {counted(dataset.homes, 'home')}, {counted(dataset.rows, 'row')} in {folder}"
    )
    if dataset.unpinned:
        files = ", ".join(dataset.unpinned)
        typer.echo(
            f"no checksum is known for {files}: columns, homes and rows were checked instead"
        )


@app.command()
def describe(name: _Name, *, as_json: JsonFlag = False) -> None:
    """Say what a set is: columns, citation, licence, address, and how to train on it."""
    from fedhome.simulations.datasets import named  # noqa: PLC0415  (only in the app)

    dataset = named(name)
    if as_json:
        print_json(
            SetDescription(
                name=dataset.name,
                title=dataset.title,
                about=dataset.about,
                homes=dataset.homes,
                rows=dataset.rows,
                columns=dict(dataset.columns),
                train=list(dataset.train),
                licence=dataset.licence,
                citation=dataset.citation,
                page=dataset.page,
                unpinned=list(dataset.unpinned),
                manual=dataset.manual,
            )
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{dataset.name}[/bold]: {escape(dataset.title)}")
    console.print(
        f"{counted(dataset.homes, 'home')}, "
        f"{counted(dataset.rows, 'row')}\n\n{escape(dataset.about)}\n"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("column")
    table.add_column("meaning")
    for column, meaning in dataset.columns.items():
        table.add_row(escape(column), escape(meaning))
    console.print(table)
    settings = " ".join(f"--set {_quoted(setting)}" for setting in dataset.train)
    source = f"--set data.source={dataset.name}"
    console.print(f"\n[bold]train[/bold]     fedhome simulate {escape(f'{source} {settings}')}")
    console.print(f"[bold]licence[/bold]   {dataset.licence}")
    console.print(f"[bold]cite[/bold]      {escape(dataset.citation)}")
    console.print(f"[bold]page[/bold]      {dataset.page}")
    console.print(f"[bold]checksum[/bold]  {_checksum(dataset.unpinned)}")
    console.print(f"[bold]by hand[/bold]   {escape(dataset.manual)}")


def _quoted(setting: str) -> str:
    # Brackets mean something to a shell.
    return f"'{setting}'" if "[" in setting else setting


def _checksum(unpinned: tuple[str, ...]) -> str:
    if not unpinned:
        return "pinned for every file"
    return f"not known for {', '.join(unpinned)}; columns, homes and rows are checked instead"
