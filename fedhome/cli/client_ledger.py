"""``fedhome client ledger``: what a home has answered, and helped to open."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console
from fedhome.cli.row_blocks import print_rows
from fedhome.plan.time_steps import DAY_S
from fedhome.secagg.ledger import LedgerEntry
from fedhome.secagg.state import HomeState

_DIGITS = 12  # of a hash, as it is shown

JsonOption = Annotated[
    bool, typer.Option("--json", help="A line of JSON each, as docs/json.md describes it.")
]


def rows_of(state: HomeState) -> list[dict[str, Any]]:
    """Return what a home answered and helped to open, the newest last.

    Args:
        state: The home's.

    Returns:
        ``part`` (``answered`` or ``opened``), ``day``, ``round``, ``what``, ``attempts`` and
        ``subject`` (hexadecimal: what was asked about which model).
    """
    entries = [("answered", entry) for entry in state.answered]
    entries += [("opened", entry) for entry in state.opened]
    return [_row(part, entry) for part, entry in sorted(entries, key=lambda one: one[1].day)]


def _row(part: str, entry: LedgerEntry) -> dict[str, Any]:
    return {
        "part": part,
        "day": f"{datetime.fromtimestamp(entry.day * DAY_S, UTC):%Y-%m-%d}",
        "round": entry.round,
        "what": entry.kind,
        "attempts": entry.attempts,
        "subject": entry.subject.hex(),
    }


def print_ledger(home: str, state: HomeState, *, as_json: bool) -> None:
    """Print a home's ledger.

    Args:
        home: Its name.
        state: Its state.
        as_json: A line of JSON each instead of a table.
    """
    rows = rows_of(state)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    console = Console()
    if not rows:
        console.print(f"{escape(home)} has answered nothing yet")
        return
    print_rows(console, _table(home, rows))
    console.print(
        "answered: this home took part in a sum; opened: it helped, as a member, to open one. Of "
        "what is asked about one model, one sum is opened.",
        style="dim",
    )


def _table(home: str, rows: Iterable[dict[str, Any]]) -> Table:
    table = Table(show_edge=False, title=f"home {escape(home)}", title_justify="left")
    for name in ("day", "part", "what", "round", "attempts", "subject"):
        table.add_column(name, justify="right" if name in ("round", "attempts") else "left")
    for row in rows:
        table.add_row(
            *(row["day"], row["part"], escape(row["what"]), str(row["round"])),
            *(str(row["attempts"]), row["subject"][:_DIGITS]),
        )
    return table


def read_state(folder: Path, home: str) -> HomeState:
    """Return a home's state without locking it: its agent may run.

    Args:
        folder: The home's folder.
        home: Its name.

    Raises:
        StateError: It cannot be read.
    """
    from fedhome.fleet.state_file import peek  # noqa: PLC0415 - not for every command's start

    return peek(folder, home=home)
