"""``fedhome server status``: how the server is, once, or for as long as somebody looks."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from fedhome.cli.console import Console
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.server_words import print_status, rows_of, status_table, warning_of

if TYPE_CHECKING:
    from fedhome.server.daemon.server_status import ServerStatus

_EVERY_S = 2.0

Look = Callable[[], "ServerStatus"]


def status(
    folder: Annotated[
        Path, typer.Argument(help="The server's folder.", metavar="DIR", show_default="here")
    ] = Path(),
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every 2 s, until Ctrl-C.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show how the server is; also while it is down.

    With --watch, what is no terminal gets a line for each change; with --json too, an object.
    """
    if watch:
        try:
            watched(lambda: status_at(folder), Console(), as_json=as_json)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        return
    server_status = status_at(folder)
    if as_json:
        print_json(server_status.as_json())
        return
    console = Console()
    print_status(console, server_status)
    if after := _next(server_status, folder):
        console.print(f"\n{escape(after)}", highlight=False, soft_wrap=True)


def status_at(folder: Path) -> ServerStatus:
    """Return how a server is: what it tells itself, or else what its folder says.

    Args:
        folder: The server's folder.

    Raises:
        RunError: There is no server in it.
    """
    from fedhome.server.daemon.told_status import told_status  # noqa: PLC0415

    told = told_status(folder)
    if told is not None:
        return told
    from fedhome.server.daemon.server_folder import ServerFolder  # noqa: PLC0415 - takes seconds
    from fedhome.server.daemon.status import status_of  # noqa: PLC0415

    server_folder = ServerFolder(folder)
    _ = server_folder.settings
    return status_of(server_folder)


def watched(
    look: Look,
    console: Console,
    *,
    as_json: bool = False,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Show a server's status anew, until this is interrupted.

    Args:
        look: Returns the status.
        console: Where. A terminal is drawn anew; anything else gets a line for each change.
        as_json: A line of JSON for each change, wherever that goes.
        pause: Waits, seconds.
    """
    if as_json:
        before = ""
        for server_status in _looks(look, pause):
            line = json.dumps(server_status.as_json())
            if line != before:
                typer.echo(line)
            before = line
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for server_status in _looks(look, pause):
                live.update(_drawn(server_status), refresh=True)
    else:
        shown: dict[str, str] = {}
        for server_status in _looks(look, pause):
            now = _lines_of(server_status)
            for text in changes(shown, now):
                typer.echo(f"{_utc()} {text}")
            shown = now


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what is different in a status, a line each.

    >>> changes({"state": "down", "warning 1": "the disk is full"}, {"state": "running"})
    ['state: running', 'warning 1: over']

    Args:
        before: What each row said.
        now: What it says.
    """
    lines = [f"{name}: {value}" for name, value in now.items() if before.get(name) != value]
    return lines + [f"{name}: over" for name in before if name not in now]


def _looks(look: Look, pause: Callable[[float], object]) -> Iterator[ServerStatus]:
    while True:
        yield look()
        pause(_EVERY_S)


def _drawn(server_status: ServerStatus) -> Group:
    return Group(
        status_table(server_status),
        *(Text.from_markup(warning_of(fault)) for fault in server_status.faults),
        Text(f"\n{_utc()} UTC; Ctrl-C ends the watching", style="dim"),
    )


def _lines_of(server_status: ServerStatus) -> dict[str, str]:
    """Return what a status says, by the rows' names; a row that goes on has the name above it."""
    lines: dict[str, str] = {}
    last = ""
    for name, value in rows_of(server_status):
        text = Text.from_markup(value).plain
        if name and name not in lines:
            lines[name] = text
        else:
            lines[name or last] += f"; {text}"
        last = name or last
    lines |= {f"warning {number}": one for number, one in enumerate(server_status.faults, 1)}
    return lines


def _next(server_status: ServerStatus, folder: Path) -> str:
    if not server_status.running:
        return f"start it: `fedhome server start {shlex.quote(str(folder))}`"
    if server_status.pending:
        return "next, on the owner's computer: `fedhome fleet admit`"
    return ""


def _utc() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
