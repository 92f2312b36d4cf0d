"""``fedhome client``: what is typed on a home's device."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli import ages
from fedhome.cli.broker_login import AuthoritiesOption, PasswordOption
from fedhome.cli.client_folder import HomeArgument, home_folder_at
from fedhome.cli.client_inspect import exclude, inspect
from fedhome.cli.client_join import join
from fedhome.cli.client_ledger import JsonOption, print_ledger, read_state
from fedhome.cli.client_presence import forget, leave, pause, resume
from fedhome.cli.client_record import record
from fedhome.cli.client_words import rows_of
from fedhome.cli.console import Console, say
from fedhome.cli.group import Group
from fedhome.cli.json_fleets import ConsentShown
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.narrow import fitting
from fedhome.cli.service import KindOption, OutOption, UserOption, print_written
from fedhome.errors import FedHomeError, StateError
from fedhome.guarded_code import guarded
from fedhome.ops.service import LIMITS, Limits, write_service
from fedhome.reasons import REFUSED
from fedhome.wire.moments import when


class _HomesCommands(Group):
    """Commands on a home's device: they run no code out of the folder that they are typed in."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with guarded():
            return super().invoke(ctx)


app = typer.Typer(cls=_HomesCommands, no_args_is_help=True)
app.command()(join)


@app.command()
def start(folder: HomeArgument = Path()) -> None:
    """Run the home's agent, until Ctrl-C or SIGTERM: it takes part as the consent says.

    It ends with status 78 where it must not run: without consent, with another plan than the one
    that was agreed to, or after `leave`.
    """
    from fedhome.clients.lean_process import LEAN  # noqa: PLC0415
    from fedhome.clients.membership.may_run import check_start  # noqa: PLC0415

    home_folder = home_folder_at(folder)
    try:
        check_start(home_folder)
    except FedHomeError as error:
        if isinstance(error, StateError) and error.reason == "in-use":
            raise
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error:[/] {escape(error.message)}", highlight=False)
        if error.hint:
            console.print(f"[bold]hint:[/]  {escape(error.hint)}", highlight=False)
        raise typer.Exit(REFUSED) from None
    name = home_folder.settings.home
    say(Console(stderr=True), f"the agent of {name} runs; Ctrl-C ends it, and it can come back")
    # In place of this process: what the command line loaded would stay in memory for months.
    command = [
        sys.executable,
        "-P",  # nothing of the current folder shadows what we import
        "-m",
        "fedhome.ops.processes",
        "0",
        LEAN,
        "fedhome.clients.agent.resident",
        str(home_folder.path),
    ]
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - our own module


@app.command()
def status(folder: HomeArgument = Path(), *, as_json: JsonFlag = False) -> None:
    """Show what the home does; also while it runs."""
    home_folder = home_folder_at(folder)
    if as_json:
        from fedhome.cli.client_json import home_shown  # noqa: PLC0415

        print_json(home_shown(home_folder))
        return
    settings = home_folder.settings
    title = f"home {escape(settings.home)} of fleet {home_folder.anchor.fleet.hex()}"
    table = Table(show_edge=False, show_header=False, title=title, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows_of(home_folder, ages.now()):
        table.add_row(name, value)
    Console().print(table)


@app.command()
def consent(
    folder: HomeArgument = Path(),
    *,
    every_point: Annotated[
        bool, typer.Option("--all", help="Print all that ever leaves this device, point by point.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print what was agreed to: what leaves this device, who reads it, and how to say no.

    In short; --all prints every point of the text that was agreed to, and --json has it too.
    """
    from fedhome.clients.membership.consent_record import check_consent  # noqa: PLC0415
    from fedhome.clients.membership.consent_summary import short_of  # noqa: PLC0415

    agreed = check_consent(home_folder_at(folder))
    if as_json:
        told = ConsentShown(
            text=agreed.text, plan=agreed.plan, time=agreed.time, release=agreed.release
        )
        print_json(told)
        return
    console = Console()
    shown = agreed.text if every_point else short_of(agreed.text)
    typer.echo(fitting(console, shown))
    say(console, f"agreed to on {when(agreed.time)}, with fedhome {agreed.release}")
    if shown != agreed.text:
        say(console, "every point of it: `fedhome client consent --all`")


@app.command()
def ledger(folder: HomeArgument = Path(), as_json: JsonOption = False) -> None:
    """List what the home has answered, and helped to open; also while it runs."""
    home_folder = home_folder_at(folder)
    home = home_folder.settings.home
    print_ledger(home, read_state(home_folder.path, home), as_json=as_json)


@app.command()
def privacy(
    folder: HomeArgument = Path(),
    ceiling: Annotated[
        float | None,
        typer.Option(
            help="Greatest epsilon that all runs together may cost; 0: the plan's own.", min=0.0
        ),
    ] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show what sums have cost this home in privacy, and set its ceiling; also while it runs."""
    from fedhome.clients.privacy_budget import set_ceiling, statement_of  # noqa: PLC0415

    home_folder, console = home_folder_at(folder), Console()
    if ceiling is not None:
        set_ceiling(home_folder, ceiling)
    if as_json:
        from fedhome.cli.client_json import privacy_spent  # noqa: PLC0415

        print_json(privacy_spent(home_folder))
        return
    for line in statement_of(home_folder):
        say(console, line)


@app.command()
def predict(
    folder: HomeArgument = Path(),
    at: Annotated[
        str | None,
        typer.Option(
            help="A moment, such as 2026-03-01T18:00 (in the home's zone, if none is named).",
            metavar="TIME",
            show_default="the newest",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Readings in place of the home's own.", metavar="FILE"),
    ] = None,
    horizon: Annotated[
        str | None,
        typer.Option(
            help="One of the plan's horizons, such as 6h.", metavar="LENGTH", show_default="all"
        ),
    ] = None,
    *,
    follow: Annotated[
        bool,
        typer.Option("--watch", help="Go on: a line for each new prediction, until Ctrl-C."),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(
            help="With --watch: how often to predict at most, such as 30s, 15m or 1h.",
            metavar="LENGTH",
            show_default="1m",
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            help="With --watch: tell a broker each prediction, too, such as mqtt://broker.local; "
            "Home Assistant finds it there. Whoever may read there sees what this home expects, "
            "such as when somebody is in.",
            metavar="BROKER",
            show_default="none",
        ),
    ] = None,
    password_file: PasswordOption = None,
    authorities: AuthoritiesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict with the home's own model: no server, no network; also while the agent runs."""
    from fedhome.cli.client_predict import predicted, print_prediction  # noqa: PLC0415
    from fedhome.cli.client_predict_horizons import print_horizons  # noqa: PLC0415

    if follow and at is not None:
        raise typer.BadParameter("--watch follows the newest readings: leave --at out")
    if every is not None and not follow:
        raise typer.BadParameter("--every says how often --watch looks: add --watch")
    if mqtt is not None and not follow:
        raise typer.BadParameter("--mqtt tells a broker what --watch predicts: add --watch")
    if mqtt is None and (password_file or authorities):
        raise typer.BadParameter("--password-file and --ca are for a broker: add --mqtt")
    if follow:
        from fedhome.cli.client_predict_watch import (  # noqa: PLC0415
            PredictionBroker,
            every_seconds,
            watch,
        )

        watch(
            home_folder_at(folder),
            source=source,
            horizon=horizon,
            every_s=every_seconds(every or "1m"),
            as_json=as_json,
            broker=PredictionBroker(
                address=mqtt, password_file=password_file, authorities=authorities
            )
            if mqtt is not None
            else None,
        )
    home_folder = home_folder_at(folder)
    found = predicted(home_folder, at=at, source=source, now_s=ages.now(), horizon=horizon)
    if len(found) > 1 and not as_json:
        print_horizons(found)
        return
    for one in found:
        print_prediction(one, as_json=as_json)


@app.command()
def tier(
    folder: Annotated[Path, typer.Argument(help="The home's folder.", metavar="DIR")],
    name: Annotated[str, typer.Argument(help="What it carries, by the plan.", metavar="TIER")],
) -> None:
    """Change which slice of the model this device carries; also while the agent runs.

    It carries less at once, and more once the fleet's owner has signed that. The home's own model
    stays in use until its next run has made one of the new slice. `status` says what it carries.
    """
    from fedhome.clients.membership.carried_tier import carried_tier, set_tier  # noqa: PLC0415
    from fedhome.plan.settings import Plan  # noqa: PLC0415

    home_folder = home_folder_at(folder)
    plan, home = Plan.load(home_folder.plan_path), home_folder.settings.home
    set_tier(home_folder, plan, name)
    carried = carried_tier(home_folder, plan)
    say(Console(), f"{home} carries what tier {carried.in_use} has")
    if carried.told:
        say(Console(), f"{carried.told}: tell the owner `fedhome fleet tier {home} {name}`")


app.command()(record)
app.command()(inspect)
app.command()(exclude)


@app.command()
def rollback(folder: HomeArgument = Path()) -> None:
    """Go back to the home's own model before the one in use; a second time undoes it."""
    from fedhome.clients.kept_model import own_model  # noqa: PLC0415
    from fedhome.clients.membership.own_models import OwnModels  # noqa: PLC0415

    home_folder = home_folder_at(folder)
    name = home_folder.settings.home
    OwnModels(home_folder.path, name).roll_back()
    say(Console(), f"{name} predicts by the model of {own_model(home_folder).run} now")


app.command()(pause)
app.command()(resume)
app.command()(leave)
app.command()(forget)


@app.command()
def service(
    folder: HomeArgument = Path(),
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
    home_folder = home_folder_at(folder)
    settings = home_folder.settings
    reads = [Path(settings.data)] if settings.data else []
    paths = write_service(
        kind,
        "client",
        home_folder.path,
        ("client", "start", str(home_folder.path)),
        out,
        name=settings.home,
        reads=reads,
        limits=Limits(memory_mb=memory_mb, cpus=cpus),
        user=user,
    )
    print_written(Console(), kind, paths, uses=[home_folder.path, *reads], user=user)
