"""``fedhome client join``: a device becomes a home of a fleet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedhome.cli.console import Console, say
from fedhome.cli.narrow import fitting
from fedhome.cli.row_blocks import print_rows
from fedhome.wire.moments import when

if TYPE_CHECKING:
    from fedhome.clients.membership.join import JoinRequest


def join(  # noqa: PLR0917 - typer gives them by name
    invite: Annotated[
        Path, typer.Argument(help="The file from the fleet's owner.", metavar="INVITE")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="File of this home's readings (CSV, Parquet, JSON), or a folder of them.",
            show_default="it will record them",
        ),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(help="The home's own folder.", metavar="DIR", show_default="HOME"),
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option(
            help="Which slice of the model this device carries, where the plan's devices carry "
            "slices; the fleet's owner sees it and signs it.",
            metavar="TIER",
            show_default=False,
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="How these files are read, such as decimal=, or "
            '\'rename={"Verbrauch (kWh)"="load_kwh"}\'; kept in home.toml.',
            metavar="SETTING=VALUE",
            show_default=False,
        ),
    ] = None,
    own_code: Annotated[
        bool,
        typer.Option(
            "--own-code",
            help="Let code run that the plan names and that is not fedhome's: only if you know it.",
        ),
    ] = False,
    every_point: Annotated[
        bool,
        typer.Option("--all", help="Show all that will ever leave the device, not the short text."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Agree without being asked: for scripts.")
    ] = False,
) -> None:
    """Make this device a home of a fleet: look at the data, ask for consent, enrol.

    Columns are found by the names of the plan's inputs, whatever their order in the file. Without
    --data the home gets an empty store, and takes part once `fedhome client record` fills it.

    Keys are made on this device. Nothing is written or sent before somebody agrees to what will
    ever leave it, which is told in short, and point by point with --all. After a lost answer, or
    with a newer invite, run it again: the keys stay.
    """
    from fedhome.cli.data_words import print_alike  # noqa: PLC0415 - arrow, only where needed
    from fedhome.cli.join_words import findings_table, inputs_table  # noqa: PLC0415
    from fedhome.clients.membership import join  # noqa: PLC0415 - found only at run time
    from fedhome.clients.membership.carried_tier import carried_tier  # noqa: PLC0415
    from fedhome.clients.membership.consent_summary import short_of  # noqa: PLC0415
    from fedhome.plan.own_reading import parse_reading  # noqa: PLC0415

    console = Console()
    opened_invite = join.read_invite(invite, now=time.time())
    folder = Path(opened_invite.home) if home is None else home
    reading = parse_reading(sets or [])
    request = join.prepare(
        opened_invite, source=data, folder=folder, reading=reading, own_code=own_code, tier=tier
    )
    console.print(findings_table(request))
    if request.findings.report is not None:
        print_alike(console, [request.findings.report])
    console.print()
    if request.findings.matches:
        print_rows(console, inputs_table(request), prose=("unit",))
    for note in request.findings.notes:
        say(console, f"note: {note}")
    console.print()
    if request.consent is None:
        typer.echo(fitting(console, request.text if every_point else short_of(request.text)))
        if not yes and not _agrees(console, request, shown=every_point):
            say(console, "declined: nothing was written, and nothing was sent")
            raise typer.Exit(1)
    else:
        say(console, f"agreed to the same on {when(request.consent.time)}")
    joined = join.enrol(request)
    keys = "made keys" if joined.new else "kept the keys that were there"
    say(
        console,
        f"\nenrolled {opened_invite.home} at {opened_invite.card.server}; {keys}, in {folder}",
    )
    console.print(f"fingerprint: [bold]{joined.fingerprint}[/]", highlight=False)
    if joined.admitted:
        say(console, "the fleet's owner has admitted this home already")
        if told := carried_tier(request.home_folder, request.plan).told:
            name = opened_invite.home
            say(console, f"{told}: tell the owner `fedhome fleet tier {name} {request.tier}`")
    else:
        say(console, "tell the fleet's owner the fingerprint; `fedhome fleet admit` shows it too")
    if not request.findings.rows:
        say(console, f"\nrecord readings: `SENSORS | fedhome client record {folder} -`, or a file")
    say(console, f"\nnext: `fedhome client start {folder}`")
    say(console, f"or, as a service that outlives a reboot: `fedhome client service {folder}`")


def _agrees(console: Console, request: JoinRequest, *, shown: bool) -> bool:
    """Ask until somebody says yes or no; show every point to whoever asks for them.

    Args:
        console: Where to.
        request: What is asked for.
        shown: Whether every point stands there already.
    """
    choice = "y/N" if shown else "y/N, or all: every point"
    while True:
        said = typer.prompt(
            f"Take part as {request.invite.home}? [{choice}]", default="n", show_default=False
        )
        answer = said.strip().lower()
        if answer in {"y", "yes"}:
            return True
        if answer in {"n", "no"}:
            return False
        if answer == "all":
            typer.echo(fitting(console, request.text))
        else:
            say(console, "answer y, n or all")
