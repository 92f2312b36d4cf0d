"""Tables that a narrow terminal would cut: a paragraph a row there, with all that the row says."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fedhome.cli.console import Console

_PROSE = 16  # letters that a line of words keeps at least; a table lets them have more


def print_rows(console: Console, table: Table, *, prose: Collection[str] = ()) -> None:
    """Print a table where it fits, and else its rows one below the other.

    Args:
        console: Where it goes.
        table: The table; of its cells only text and markup.
        prose: Names of columns of sentences, which may be broken between words; no other is.
    """
    if fits(console, table, prose=prose):
        console.print(table)
        return
    columns = [(str(column.header), [*map(str, column.cells)]) for column in table.columns]
    if table.title:
        console.print(table.title, highlight=False)
    for row in zip(*(cells for _, cells in columns), strict=True):
        head, *rest = zip((name for name, _ in columns), row, strict=True)
        if len(rest) == 1:  # names and what is said of each: as the title says, what they are
            console.print(f"[bold]{head[1]}[/bold]", highlight=False)
            console.print(Padding(rest[0][1], (0, 0, 0, 2)), highlight=False)
            continue
        console.print(f"[bold]{head[0]} {head[1]}[/bold]", highlight=False)
        short = ", ".join(f"{name} {cell}" for name, cell in rest if cell and name not in prose)
        told = [f"{name}: {cell}" for name, cell in rest if cell and name in prose]
        for line in filter(None, [short, *told]):
            console.print(Padding(line, (0, 0, 0, 2)), highlight=False)


def fits(console: Console, table: Table, *, prose: Collection[str] = ()) -> bool:
    """Tell whether a table can be printed without a name or number of it being broken.

    Args:
        console: Where it would go.
        table: The table; where it fits, its columns are kept from being broken, but for prose.
        prose: Names of columns of sentences, which may be broken between words; no other is.
    """
    wide = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    for column in table.columns:
        if (name := str(column.header)) in prose:
            plain = [Text.from_markup(str(cell)).plain for cell in (name, *column.cells)]
            longest = max(len(line) for cell in plain for line in cell.split("\n"))
            word = max((len(word) for cell in plain for word in cell.split()), default=0)
            wide -= max(0, longest - max(_PROSE, word))
    if wide > console.width:
        return False
    for column in table.columns:
        column.no_wrap = str(column.header) not in prose
    return True


def print_facts(console: Console, title: str, facts: Mapping[str, str]) -> None:
    """Print what there is to say of one thing: a table, or a paragraph each where it is too narrow.

    Args:
        console: Where it goes.
        title: What it is of.
        facts: Names, and what is said, as plain text. A hash stays in one piece, to be copied.
    """
    table = Table(show_edge=False, show_header=False, title=escape(title), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    names = max(map(len, facts))
    room = console.width - names - 5  # a line between the columns, and blanks around both
    for name, text in facts.items():
        table.add_row(name, escape(text))
    if max((len(word) for text in facts.values() for word in text.split()), default=0) <= room:
        console.print(table)
        return
    console.print(escape(title), highlight=False)
    for name, text in facts.items():
        console.print(f"[bold]{name}[/bold]", highlight=False)
        for line in text.split("\n"):
            told = Padding(escape(line), (0, 0, 0, 2)) if " " in line else f"  {escape(line)}"
            console.print(told, highlight=False, soft_wrap=" " not in line)
