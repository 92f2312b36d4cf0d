"""Tables that a narrow terminal would cut: a paragraph a row there, with all that the row says."""

from __future__ import annotations

from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fedhome.cli.console import Console

_PROSE = 24  # letters that a line of words keeps at least; a table lets them have more


def print_rows(console: Console, table: Table, *, prose: str = "") -> None:
    """Print a table where it fits, and else its rows one below the other.

    Args:
        console: Where it goes.
        table: The table; of its cells only text and markup.
        prose: Name of a column of sentences, which may be broken.
    """
    columns = [(str(column.header), [*map(str, column.cells)]) for column in table.columns]
    wide = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    for name, cells in columns:
        longest = max(len(Text.from_markup(cell)) for cell in (name, *cells))
        wide -= max(0, longest - _PROSE) if name == prose else 0
    if wide <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, highlight=False)
    for row in zip(*(cells for _, cells in columns), strict=True):
        head, *rest = zip((name for name, _ in columns), row, strict=True)
        console.print(f"[bold]{head[0]} {head[1]}[/bold]", highlight=False)
        told = ", ".join(f"{name} {cell}" for name, cell in rest if cell)
        console.print(Padding(told, (0, 0, 0, 2)), highlight=False)
