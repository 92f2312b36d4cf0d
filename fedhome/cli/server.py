"""``fedhome server``: what is typed on the fleet's server."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console, say
from fedhome.cli.group import Group
from fedhome.cli.plan_options import PlanArgument, SetsOption
from fedhome.cli.server_schedule import schedule
from fedhome.cli.server_state import status
from fedhome.cli.server_words import tell_taken
from fedhome.cli.service import KindOption, OutOption, UserOption, print_written
from fedhome.errors import PlanError, RunError
from fedhome.ops.service import LIMITS, Limits, write_service

if TYPE_CHECKING:
    from fedhome.run.events import Event
    from fedhome.server.daemon.server_folder import ServerFolder

app = typer.Typer(cls=Group, no_args_is_help=True)

_SHOWN = 10  # lines of what has happened before
_Folder = Annotated[
    Path, typer.Argument(help="The server's folder.", metavar="DIR", show_default="here")
]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
    *,
    host: Annotated[
        list[str],
        typer.Option(
            help="Name or address by which homes reach this server; may be repeated.",
            metavar="NAME",
        ),
    ],
    fleet: Annotated[
        Path | None,
        typer.Option(
            help="The fleet owner's folder, or a copy of its part server/.", metavar="OWNER"
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port for the homes.", min=1, max=65_535)] = 8443,
    listen: Annotated[
        str, typer.Option(help="Address of this machine to listen on.", metavar="ADDRESS")
    ] = "0.0.0.0",  # noqa: S104 - homes come from everywhere
    page: Annotated[
        str | None,
        typer.Option(
            help="Where the page for operators is served; '' for nowhere.",
            metavar="ADDRESS:PORT",
            show_default="127.0.0.1, at the port after the homes'",
        ),
    ] = None,
) -> None:
    """Make a server: its certificate, and its part of the fleet.

    The key with which the owner signs directories is not needed here, and never copied.
    """
    from fedhome.server.daemon.initialise import is_owners, make_server  # noqa: PLC0415 - found only at run time
    from fedhome.server.page.page_address import beside, page_address  # noqa: PLC0415

    if fleet is None:
        raise RunError(
            "a server belongs to a fleet: name the folder of its owner with --fleet",
            hint="make one with `fedhome fleet init OWNER`, best on another computer, and copy "
            "its folder OWNER/server here",
        )
    page = beside(port) if page is None else page
    server_folder = make_server(
        folder, hosts=host, port=port, listen=listen, fleet=fleet, page=page
    )
    from fedhome.fleet.owner_folder import DIRECTORY  # noqa: PLC0415

    has_directory = (server_folder.fleet / DIRECTORY).exists()
    table = Table(show_edge=False, show_header=False, title_justify="left")
    table.title = f"server of fleet {server_folder.anchor.fleet.hex()}"
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("address", server_folder.card.server)
    table.add_row("certificate", f"for {', '.join(map(escape, host))}")
    served = page_address(page)
    other = "nothing else" if served is None or served.is_loopback else "nothing but the page"
    table.add_row("listens on", f"{listen}, port {port}; {other} is reachable from outside")
    table.add_row("page", served.url(host[0]) if served else "none: --page")
    table.add_row("directory", "signed" if has_directory else "none yet: homes can enrol")
    console = Console()
    console.print(table)
    at, steps = _word(folder), []
    if is_owners(fleet):
        say(console, f"\nwrote {server_folder.card_path}, and put a copy into {fleet}")
        owner = _word(fleet)
    else:
        say(console, f"\nwrote {server_folder.card_path}: it tells homes where the server is")
        steps.append(("give the owner this file", str(server_folder.card_path)))
        owner = "OWNER"
    steps += [
        ("start it", f"fedhome server start {at}"),
        ("or as a service", f"fedhome server service {at}"),
        ("the owner invites", f"fedhome fleet invite HOME --fleet {owner}"),
        ("and lets homes in", f"fedhome fleet admit --fleet {owner}"),
        ("then train", f"fedhome server run PLAN --server {at}"),
    ]
    say(console, "\nnext:")
    for number, (what, command) in enumerate(steps, 1):
        say(console, f"  {number}. {what + ':':<26}{command}")


@app.command()
def start(folder: _Folder = Path()) -> None:
    """Run the server, until Ctrl-C or SIGTERM.

    Whatever ends it, started again it goes on: a run from its last checkpoint.
    """
    server_folder = _server_folder(folder)
    tell_taken(server_folder)
    # In place of this process: what the command line loaded would stay in memory for months.
    command = [
        sys.executable,
        "-P",  # nothing of the current folder shadows what we import
        "-m",
        "fedhome.ops.processes",
        "0",
        "fedhome.server.daemon.supervisor",
        str(server_folder.path),
    ]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - our own module


@app.command()
def run(
    plan: PlanArgument = None,
    *,
    folder: Annotated[
        Path,
        typer.Option("--server", help="The server's folder.", metavar="DIR", show_default="here"),
    ] = Path(),
    sets: SetsOption = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run's folder.", show_default="the plan's name-1")
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Begin with a new model, not with the release in use."),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with a run that failed or was cancelled.", metavar="NAME"),
    ] = None,
) -> None:
    """Hand a run to the server and watch it; without PLAN, watch the run in progress.

    It begins with the release in use, and its result takes that one's place at the end if the
    homes' validation says that it is not worse.

    The server does the work: Ctrl-C ends the watching alone.
    """
    if plan is not None and resume is not None:
        raise PlanError(["--resume takes the plan of the run"], where="the command")
    if plan is None and (sets or name is not None or fresh):
        raise PlanError(
            ["--set, --name and --fresh are for a new run: name its plan"], where="the command"
        )
    from fedhome.cli.simulate import resolve  # noqa: PLC0415 - loads the plan's settings

    resolved = None if plan is None else resolve(plan, None, list(sets or []))
    from fedhome.server.daemon.current_run import RUNNING, Runs  # noqa: PLC0415
    from fedhome.server.daemon.supervisor import is_running  # noqa: PLC0415 - after the plan is known to hold

    server_folder = _server_folder(folder)
    runs, at = Runs(server_folder), _word(folder)
    if not is_running(server_folder):
        raise RunError(f"no server runs in {folder}", hint=f"start it: `fedhome server start {at}`")
    if resolved is not None:
        run_state = runs.begin(resolved, name, fresh=fresh)
    elif resume is not None:
        run_state = runs.resume(resume)
    else:
        current = runs.current
        if current is None or current.state != RUNNING:
            raise RunError(
                "no run is in progress",
                hint=f"begin one: `fedhome server run PLAN --server {at}`; "
                f"how the last one ended: `fedhome server status {at}`",
            )
        run_state = current
    action = "watching" if plan is None and resume is None else "handed over"
    console = Console()
    say(console, f"{action} {run_state.run}; Ctrl-C ends the watching, not the run")
    try:
        _watch(console, server_folder, run_state.run, at)
    except KeyboardInterrupt:
        say(
            console,
            f"\n{run_state.run} goes on; watch it again: `fedhome server run --server {at}`",
        )
        raise typer.Exit(130) from None


@app.command()
def cancel(folder: _Folder = Path()) -> None:
    """End the run in progress; its folder stays."""
    from fedhome.server.daemon.current_run import CANCELLED, Runs  # noqa: PLC0415

    runs = Runs(_server_folder(folder))
    now = runs.current
    if now is None or not now.is_open or runs.end(now.run, CANCELLED) is None:
        raise RunError(
            "no run is in progress",
            hint=f"how the last one ended: `fedhome server status {_word(folder)}`",
        )
    console = Console()
    say(console, f"cancelled {now.run}; what it has made stays in {runs.folder(now.run).path}")
    again = f"fedhome server run --resume {now.run} --server {_word(folder)}"
    say(console, f"to go on with it after all: `{again}`")


app.command()(status)
app.command()(schedule)


@app.command()
def readmit(
    homes: Annotated[list[str], typer.Argument(help="Names of homes.", metavar="HOME...")],
    *,
    folder: Annotated[
        Path,
        typer.Option("--server", help="The server's folder.", metavar="DIR", show_default="here"),
    ] = Path(),
) -> None:
    """Ask homes again that runs have left out, since they spoiled sums.

    `fedhome server status` lists them, and why. A home that spoils sums again is left out again.
    """
    from fedhome.server.rounds.left_out import take_off  # noqa: PLC0415

    taken = take_off(_server_folder(folder).left_out, homes)
    if missing := sorted(set(homes) - set(taken)):
        raise RunError(
            f"not left out: {', '.join(missing)}",
            hint="`fedhome server status` lists those that are",
        )
    say(Console(), f"asked again, from the next run on: {', '.join(taken)}")


@app.command()
def renew(
    folder: _Folder = Path(),
    *,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or address by which homes reach this server; may be repeated.",
            metavar="NAME",
            show_default="as before",
        ),
    ] = None,
) -> None:
    """Renew the server's certificate; homes notice nothing.

    A server that runs takes it by itself; and renews it by itself when 30 days are left. This is
    for other names, for another key, or for a server that was down for long.
    """
    from fedhome.server.daemon.initialise import host_of, renew_server  # noqa: PLC0415
    from fedhome.server.daemon.supervisor import is_running  # noqa: PLC0415

    server_folder = _server_folder(folder)
    known = host_of(server_folder)
    terms, changed = renew_server(server_folder, host or [])
    console = Console()
    say(console, f"renewed: for {', '.join(terms.names)}, until {terms.ends.date()}")
    if known not in terms.names:
        console.print(
            f"[bold yellow]warning:[/] homes that have joined know this server as "
            f"{escape(known)}, and will refuse it: name that with --host too",
            highlight=False,
            soft_wrap=True,
        )
    if changed:
        say(
            console, f"{server_folder.card_path} is new: give it to the owner, for the next invites"
        )
    if is_running(server_folder):
        say(console, "the server takes it within seconds")


@app.command()
def service(
    folder: _Folder = Path(),
    *,
    kind: KindOption = "systemd",
    user: UserOption = False,
    memory_mb: Annotated[int, typer.Option(help="Memory that it may use, MiB.", min=512)] = LIMITS[
        "server"
    ].memory_mb,
    cpus: Annotated[float, typer.Option(help="Processors that it may use.", min=0.1)] = LIMITS[
        "server"
    ].cpus,
    out: OutOption = Path(),
) -> None:
    """Write the files with which the server runs as a service: restarted, limited, locked in."""
    server_folder = _server_folder(folder)
    paths = write_service(
        kind,
        "server",
        server_folder.path,
        ("server", "start", str(server_folder.path)),
        out,
        ports=[server_folder.settings.port],
        limits=Limits(memory_mb=memory_mb, cpus=cpus, tasks=LIMITS["server"].tasks),
        user=user,
    )
    print_written(Console(), kind, paths, uses=[server_folder.path], user=user)


def _watch(console: Console, server_folder: ServerFolder, run: str, at: str) -> None:
    """Print a run's progress until it has ended, and what it gave.

    Raises:
        RunError: It failed, or was cancelled; or no round of it changed the model.
    """
    from fedhome.run.progress import ProgressLines  # noqa: PLC0415
    from fedhome.run.summary import check_learnt, print_summary  # noqa: PLC0415
    from fedhome.server.daemon.current_run import CANCELLED, FAILED, Runs  # noqa: PLC0415
    from fedhome.server.daemon.follow import follow  # noqa: PLC0415

    lines = ProgressLines(console)
    caught_up = False

    def show(events: Sequence[Event]) -> None:
        nonlocal caught_up
        texts = [line for event in events if (line := lines.line(event))]
        if not caught_up and len(texts) > _SHOWN:
            console.print(f"[dim]({len(texts) - _SHOWN} lines before)[/]", highlight=False)
            texts = texts[-_SHOWN:]
        caught_up = True
        for line in texts:
            console.print(line, highlight=False, soft_wrap=True)

    ended = follow(server_folder, run, show, lambda text: say(console, text))
    again = f"go on with it: `fedhome server run --resume {run} --server {at}`"
    if ended.state == CANCELLED:
        raise RunError(f"{run} was cancelled", hint=again)
    if ended.state == FAILED:
        if ended.again:
            again = f"the server tries it again by itself, until `fedhome server cancel {at}`"
        hint = f"{ended.hint}; then {again}" if ended.hint else again
        raise RunError(f"{run} failed: {ended.reason}", hint=hint)
    folder = Runs(server_folder).folder(run)
    print_summary(console, folder)
    check_learnt(folder)


def _server_folder(folder: Path) -> ServerFolder:
    """Return a server's folder.

    Raises:
        RunError: There is no server in it.
    """
    from fedhome.server.daemon.server_folder import ServerFolder  # noqa: PLC0415

    server_folder = ServerFolder(folder)
    _ = server_folder.settings
    return server_folder


def _word(path: Path) -> str:
    """Return a path as it is typed in a shell."""
    return shlex.quote(str(path))
