"""``fedhome client``: what is typed on a home's device."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedhome.cli import ages
from fedhome.cli.service import KindOption, OutOption, UserOption, print_written
from fedhome.errors import FedHomeError, StateError
from fedhome.fleet.invites import when
from fedhome.ops.service import LIMITS, REFUSED, Limits, write_service

if TYPE_CHECKING:
    from fedhome.clients.membership.consent import Consent
    from fedhome.clients.membership.home_folder import Place
    from fedhome.clients.membership.join import Joining

app = typer.Typer(no_args_is_help=True)

_DIGITS = 12  # of a hash, as it is shown
_NAMED = 12  # columns that are named
_Home = Annotated[
    Path, typer.Argument(help="The home's folder.", metavar="[DIR]", show_default="here")
]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: for scripts.")]


@app.command()
def join(
    invite: Annotated[
        Path, typer.Argument(help="The file from the fleet's owner.", metavar="INVITE")
    ],
    data: Annotated[
        Path,
        typer.Option(help="CSV or Parquet file of this home's readings, or a folder of them."),
    ],
    home: Annotated[
        Path | None,
        typer.Option(help="The home's own folder.", metavar="DIR", show_default="HOME"),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Agree without being asked: for scripts.")
    ] = False,
) -> None:
    """Make this device a home of a fleet: look at the data, ask for consent, enrol.

    Keys are made on this device. Nothing is written or sent before somebody agrees to what will
    ever leave it. After a lost answer, or with a newer invite, run it again: the keys stay.
    """
    from fedhome.clients.membership import join  # noqa: PLC0415 - found only at run time

    console = Console()
    found = join.read_invite(invite, now=time.time())
    folder = Path(found.home) if home is None else home
    joining = join.prepare(found, source=data, folder=folder)
    console.print(_looked(joining))
    for note in joining.found.notes:
        _say(console, f"note: {note}")
    console.print()
    if joining.agreed is None:
        typer.echo(joining.text)
        if not yes and not typer.confirm(f"Take part as {found.home}?"):
            _say(console, "declined: nothing was written, and nothing was sent")
            raise typer.Exit(1)
    else:
        _say(console, f"agreed to the same on {when(joining.agreed.time)}")
    joined = join.enrol(joining)
    keys = "made keys" if joined.new else "kept the keys that were there"
    _say(console, f"\nenrolled {found.home} at {found.card.server}; {keys}, in {folder}")
    console.print(f"fingerprint: [bold]{joined.fingerprint}[/]", highlight=False)
    if joined.admitted:
        _say(console, "the fleet's owner has admitted this home already")
    else:
        _say(console, "tell the fleet's owner the fingerprint; `fedhome fleet admit` shows it too")
    _say(console, f"\nnext: `fedhome client start {folder}`")
    _say(console, f"or, as a service that outlives a reboot: `fedhome client service {folder}`")


@app.command()
def start(folder: _Home = Path()) -> None:
    """Run the home's agent, until Ctrl-C or SIGTERM: it takes part as the consent says.

    It ends with status 78 where it must not run: without consent, with another plan than the one
    that was agreed to, or after `leave`.
    """
    from fedhome.clients.membership.join import check_start  # noqa: PLC0415

    place = _place(folder)
    try:
        check_start(place)
    except FedHomeError as error:
        if isinstance(error, StateError) and error.reason == "in-use":
            raise
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error:[/] {escape(error.message)}", highlight=False)
        if error.hint:
            console.print(f"[bold]hint:[/]  {escape(error.hint)}", highlight=False)
        raise typer.Exit(REFUSED) from None
    name = place.settings.home
    _say(Console(stderr=True), f"the agent of {name} runs; Ctrl-C ends it, and it can come back")
    # In place of this process: what the command line loaded would stay in memory for months.
    command = [
        sys.executable,
        "-P",  # nothing of the current folder shadows what we import
        "-m",
        "fedhome.ops.processes",
        "0",
        "fedhome.clients.agent.resident",
        str(place.folder),
    ]
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - our own module


@app.command()
def status(folder: _Home = Path()) -> None:
    """Show what the home does; also while it runs."""
    from fedhome.clients.membership.consent import Consent  # noqa: PLC0415

    place = _place(folder)
    settings = place.settings
    title = f"home {escape(settings.home)} of fleet {place.anchor.fleet.hex()}"
    table = Table(show_edge=False, show_header=False, title=title, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    consent = Consent.of(place)
    now_s = ages.now()
    state, agent = _state(place, now_s)
    there = "" if Path(settings.data).exists() else "  [bold red]not there[/]"
    told = place.status
    for name, value in (
        ("state", state),
        ("agent", agent),
        ("server", escape(settings.server)),
        ("data", escape(settings.data) + there),
        ("last answer", _last(place, now_s)),
        ("epoch", str(told.epoch) if told and told.epoch else "no directory yet"),
        ("model", _model(place)),
        ("consent", _consent(place, consent)),
    ):
        table.add_row(name, value)
    Console().print(table)


@app.command()
def consent(folder: _Home = Path()) -> None:
    """Print what was agreed to: all that ever leaves this device."""
    from fedhome.clients.membership.consent import check_consent  # noqa: PLC0415

    agreed = check_consent(_place(folder))
    typer.echo(agreed.text)
    _say(Console(), f"agreed to on {when(agreed.time)}, with fedhome {agreed.release}")


@app.command()
def pause(folder: _Home = Path()) -> None:
    """Take no part for now; the agent goes on running, and waits for `resume`."""
    place = _present(folder)
    place.paused = True
    _say(Console(), f"{place.settings.home} takes no part until `fedhome client resume {folder}`")


@app.command()
def resume(folder: _Home = Path()) -> None:
    """Take part again after `pause`."""
    place = _present(folder)
    was = place.paused
    place.paused = False
    told = "takes part again" if was else "was not paused"
    _say(Console(), f"{place.settings.home} {told}")


@app.command()
def leave(folder: _Home = Path(), yes: _Yes = False) -> None:
    """Leave the fleet for good: the agent ends, and the fleet's owner is told.

    What is in sums and models by then stays in them. Run it again if the server was away.
    """
    from fedhome.clients.membership.leave import leave as leave_fleet  # noqa: PLC0415

    place, console = _place(folder), Console()
    name = place.settings.home
    if not place.left and not yes and not typer.confirm(f"Let {name} leave its fleet for good?"):
        _say(console, f"{name} stays")
        raise typer.Exit(1)
    known = leave_fleet(place)
    heard = "its owner is told" if known else "the server does not know it (any more)"
    _say(console, f"{name} has left its fleet; {heard}")
    _say(console, f"next: `fedhome client forget {folder}` erases its keys")


@app.command()
def forget(folder: _Home = Path(), yes: _Yes = False) -> None:
    """Erase the home's keys, state and settings from this device; never its readings."""
    from fedhome.clients.membership.home_folder import Place  # noqa: PLC0415
    from fedhome.clients.membership.leave import forget as forget_home  # noqa: PLC0415

    place, console = Place(folder), Console()
    if not yes:
        if not place.left:
            _say(
                console, "this home has not left its fleet: `fedhome client leave` tells its owner"
            )
        if not typer.confirm(f"Erase keys, state and settings in {folder}? They cannot come back."):
            _say(console, "nothing was erased")
            raise typer.Exit(1)
    erased = forget_home(place)
    _say(console, f"erased {len(erased)} files: {', '.join(erased)}")
    if place.folder.exists():
        _say(console, f"{folder} stays: it holds files that are not fedhome's")


@app.command()
def service(
    folder: _Home = Path(),
    *,
    kind: KindOption = "systemd",
    user: UserOption = False,
    memory_mb: Annotated[int, typer.Option(help="Memory that it may use, MiB.", min=256)] = LIMITS[
        "client"
    ].memory_mb,
    cpus: Annotated[float, typer.Option(help="Processors that it may use.", min=0.05)] = LIMITS[
        "client"
    ].cpus,
    out: OutOption = Path(),
) -> None:
    """Write the files with which the home runs as a service: restarted, limited, locked in."""
    place = _place(folder)
    settings = place.settings
    paths = write_service(
        kind,
        "client",
        place.folder,
        ("client", "start", str(place.folder)),
        out,
        name=settings.home,
        reads=[Path(settings.data)],
        limits=Limits(memory_mb=memory_mb, cpus=cpus),
        user=user,
    )
    print_written(Console(), kind, paths, user=user)


def _place(folder: Path) -> Place:
    """Return a home's folder.

    Raises:
        RunError: There is no home in it.
    """
    from fedhome.clients.membership.home_folder import Place  # noqa: PLC0415

    place = Place(folder)
    _ = place.settings
    return place


def _present(folder: Path) -> Place:
    """Return the folder of a home that has not left.

    Raises:
        RunError: It has, or there is none.
    """
    from fedhome.clients.membership.join import check_present  # noqa: PLC0415

    place = _place(folder)
    check_present(place)
    return place


def _looked(joining: Joining) -> Table:
    invite, found = joining.invite, joining.found
    table = Table(show_edge=False, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = f"{found.rows:,} rows"
    if found.begin is not None and found.end is not None and found.days is not None:
        first, last = when(found.begin)[:10], when(found.end)[:10]
        rows += f" over {found.days:.1f} days, {first} to {last}"
    shown = ", ".join(found.columns[:_NAMED])
    more = f" and {len(found.columns) - _NAMED} more" if len(found.columns) > _NAMED else ""
    training, validation, test = found.examples
    for name, value in (
        ("invite", f"{invite.home}, of fleet {invite.anchor.fleet.hex()} at {invite.card.server}"),
        ("", f"it holds until {when(invite.expires)}"),
        ("data", str(joining.source)),
        ("", rows),
        ("columns", f"{len(found.columns)}: {shown}{more}"),
        ("plan", f"{joining.plan.name}: predict {joining.plan.data.target}"),
        (
            "examples",
            f"{training:,} for training, {validation:,} for validation, {test:,} for the test",
        ),
        ("model", f"{found.parameters:,} parameters, {found.inputs} inputs"),
    ):
        table.add_row(name, escape(value))
    return table


def _state(place: Place, now_s: float) -> tuple[str, str]:
    """Return what the home does, and whether its agent runs."""
    from fedhome.clients.membership.join import runs  # noqa: PLC0415

    running, told = runs(place), place.status
    agent = "not running"
    if running:
        agent = f"runs, process {told.process}" if told and told.process else "runs"
    if place.left:
        return "has left its fleet", agent
    if not running:
        return ("paused, and not running" if place.paused else "not running"), agent
    if told is None:
        return "starting", agent
    detail = f": {escape(told.detail)}" if told.detail else ""
    return f"{told.state}{detail}, as of {ages.ago(told.time, now_s)}", agent


def _last(place: Place, now_s: float) -> str:
    told = place.status
    if told is None or not told.last_time:
        return "none yet"
    last = f"{escape(told.last)}, {ages.ago(told.last_time, now_s)}"
    return f"{last}; {told.answered:,} since it was started"


def _model(place: Place) -> str:
    """Return which release of the fleet's model the home has."""
    from fedhome.clients.agent.kept_releases import release_of  # noqa: PLC0415

    try:
        found = release_of(place)
    except FedHomeError as error:
        return f"[bold red]{escape(error.message)}[/]"
    if found is None:
        return "none yet"
    one = found.manifest
    name = f"release {one.number}: round {one.round} of {escape(one.run)}"
    return f"{name}, {one.hash.hex()[:_DIGITS]}"


def _consent(place: Place, consent: Consent | None) -> str:
    from fedhome.clients.membership.consent import check_consent  # noqa: PLC0415

    if consent is None:
        return "[bold red]none[/]"
    try:
        check_consent(place)
    except FedHomeError:
        return "[bold red]to another plan than the one in the folder[/]"
    return f"to plan {consent.plan[:_DIGITS]} on {when(consent.time)}"


def _say(console: Console, text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)
