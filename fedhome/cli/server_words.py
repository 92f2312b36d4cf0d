"""What ``fedhome server status`` says, as rows of a table; and what ``start`` says first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console
from fedhome.counted import counted
from fedhome.errors import StateError
from fedhome.ops.listening import FREE_S, why_taken
from fedhome.reasons import ANSWER
from fedhome.store import disk

if TYPE_CHECKING:
    from fedhome.server.daemon.server_folder import ServerFolder
    from fedhome.server.daemon.server_status import RefusingHome, ServerStatus

_NAMED = 12  # homes that are named
_DIGITS = 12  # of a hash, as it is shown


def print_status(console: Console, server_status: ServerStatus) -> None:
    """Print a server's status, with what is wrong below it."""
    console.print(status_table(server_status))
    for fault in server_status.faults:
        console.print(warning_of(fault), highlight=False, soft_wrap=True)


def warning_of(fault: str) -> str:
    """Return what is wrong as a line, in rich's markup."""
    return f"[bold yellow]warning:[/] {escape(fault)}"


def status_table(server_status: ServerStatus) -> Table:
    """Return a server's status as a table, without what is wrong."""
    table = Table(show_edge=False, show_header=False, title_justify="left")
    table.title = f"server of fleet {server_status.fleet}"
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows_of(server_status):
        table.add_row(name, value)
    return table


def rows_of(server_status: ServerStatus) -> list[tuple[str, str]]:
    """Return what a server's status says as rows of a table: names, and values in rich's markup."""
    down = "[bold red]down[/]"
    up = ", ".join(
        f"{name} {'up' if is_up else 'starting' if server_status.starting else down}"
        for name, is_up in (("front", server_status.front), ("SuperLink", server_status.link))
    )
    left = counted(server_status.certificate_days, "day")
    rows = [
        ("state", f"running, {up}" if server_status.running else down),
        ("fedhome", escape(server_status.version)),
        ("address", escape(server_status.address)),
        (
            "certificate",
            f"until {server_status.certificate_ends}, {left}",
        ),
    ]
    if server_status.epoch:
        until = (
            f"until {server_status.directory_ends}, {counted(server_status.directory_days, 'day')}"
        )
        rows.append(
            (
                "directory",
                f"epoch {server_status.epoch}, {counted(server_status.homes, 'home')}; {until}",
            )
        )
        connected = server_status.connected
        if connected is None:
            yet = " yet" if server_status.starting else ""
            rows.append(("connected", f"nobody can be asked{yet}"))
        else:
            named = f": {_few(connected)}" if connected else ""
            rows.append(("connected", f"{len(connected)} of {server_status.homes}{named}"))
    else:
        rows.append(("directory", "none yet: homes can enrol, and none can join"))
    for build in sorted({*server_status.other_builds.values()}):
        homes = [home for home, one in server_status.other_builds.items() if one == build]
        rows.append(("another build", f"{escape(build)}: {_few(homes)}"))
    if server_status.pending:
        rows.append(("enrolments", f"{server_status.pending} wait for the fleet's owner"))
    rows += _run_rows(server_status) or [("run", "none yet")]
    if (timetable := server_status.timetable) is not None:
        due = timetable.following.replace("T", " ").removesuffix(":00+00:00")
        text = f"{timetable.plan} {timetable.text}; the next one {due} UTC"
        rows.append(("by itself", escape(text)))
    if server_status.release is not None:
        one = server_status.release
        name = f"{one.number}: round {one.round} of {escape(one.run)}, {one.hash[:_DIGITS]}"
        rows.append(("release", name))
    if server_status.page:
        rows.append(("page", escape(server_status.page)))
    refusing = [*server_status.refusing, *(server_status.run.refusing if server_status.run else ())]
    for (question, word), refusals in _by_reason(refusing).items():
        what = _NO_QUESTIONS.get(question, f"refuse {question}")
        remedy = f"; {refusals[0].remedy}" if refusals[0].remedy else ""
        names = _few([one.home for one in refusals])
        rows.append((what, f"{names}: {escape(refusals[0].why)} ({word}){escape(remedy)}"))
    for reason in dict.fromkeys(one.reason for one in server_status.left_out):
        homes = [one.home for one in server_status.left_out if one.reason == reason]
        rows.append(("left out", f"{_few(homes)}: {escape(reason)}"))
    return rows


_NO_QUESTIONS = {"": "do not connect", ANSWER: "cannot send"}


def _by_reason(refusing: list[RefusingHome]) -> dict[tuple[str, str], list[RefusingHome]]:
    """Return the homes that refuse, by question and word."""
    homes: dict[tuple[str, str], list[RefusingHome]] = {}
    for one in refusing:
        homes.setdefault((one.question, one.reason), []).append(one)
    return homes


def _run_rows(server_status: ServerStatus) -> list[tuple[str, str]]:
    if (run := server_status.run) is None:
        return []
    stands = run.state == "running" and not server_status.running
    summary = f"{escape(run.name)}, {'goes on when the server starts' if stands else run.state}"
    if run.rounds:
        summary += f", round {run.round} of {run.rounds}"
    rows = [("run", summary)]
    if run.reason:
        again = "; the server tries it again by itself" if run.again else ""
        rows.append(("", f"{escape(run.reason)}{again}"))
    if run.waits and not stands:
        rows.append(("", escape(run.waits)))
    if run.event:
        time = run.time.replace("T", " ").removesuffix("+00:00")
        rows.append(("last event", f"{escape(run.event)}, {time} UTC"))
    return rows


def _few(homes: list[str]) -> str:
    shown = ", ".join(map(escape, homes[:_NAMED]))
    return shown if len(homes) <= _NAMED else f"{shown} and {len(homes) - _NAMED} more"


def tell_taken(server_folder: ServerFolder) -> None:
    """Say at once that the server's address is taken, before anything slow; the server waits."""
    settings = server_folder.settings
    why = why_taken(settings.host, settings.port)
    if not why:
        return
    try:
        os.close(disk.lock(server_folder.path))
    except StateError:
        return  # by this server itself, most likely: it says so
    typer.echo(
        f"the server cannot listen at {settings.host}:{settings.port} yet: {why}; it tries again "
        f"for up to {FREE_S:.0f} s"
    )
