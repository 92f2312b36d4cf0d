"""``fedhome server schedule``: runs that a server begins by itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedhome.cli import completion
from fedhome.cli.console import Console
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.errors import PlanError


def schedule(
    plan: Annotated[
        str | None,
        typer.Argument(
            help="The plan of the runs (TOML).", metavar="PLAN", autocompletion=completion.plans
        ),
    ] = None,
    *,
    folder: Annotated[
        Path,
        typer.Option("--server", help="The server's folder.", metavar="DIR", show_default="here"),
    ] = Path(),
    every: Annotated[
        str | None,
        typer.Option(
            help="From one run to the next: 8h at least.", metavar="TIME", show_default="1d"
        ),
    ] = None,
    at: Annotated[
        str, typer.Option(help="Time of the day, where it is a number of days.", metavar="HH:MM")
    ] = "",
    time_zone: Annotated[
        str | None,
        typer.Option(
            help="Zone of --at, such as Europe/Berlin.", metavar="ZONE", show_default="UTC"
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End the timetable.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a plan by a timetable, for as long as the server does; without PLAN, say when.

    Each run begins with the release in use. A moment that passed while the server was down is made
    up for once; one that comes while a run is in progress is left out.
    """
    from fedhome.cli.json_fleets import ScheduleShown  # noqa: PLC0415
    from fedhome.cli.simulate import resolve  # noqa: PLC0415 - loads the plan's settings
    from fedhome.plan.time_steps import step_seconds  # noqa: PLC0415
    from fedhome.server.daemon.current_run import check  # noqa: PLC0415
    from fedhome.server.daemon.run_schedule import (  # noqa: PLC0415
        RunSchedule,
        read_schedule,
        write_schedule,
    )
    from fedhome.server.daemon.server_folder import ServerFolder  # noqa: PLC0415
    from fedhome.server.daemon.status import timetable_of  # noqa: PLC0415
    from fedhome.server.daemon.supervisor import is_running  # noqa: PLC0415
    from fedhome.wire.moments import when  # noqa: PLC0415

    server_folder = ServerFolder(folder)
    _ = server_folder.settings
    if plan is not None and off:
        raise PlanError(["--off ends the timetable, and PLAN begins one"], where="the command")
    if plan is None and (every is not None or at or time_zone is not None):
        raise PlanError(
            ["--every, --at and --time-zone are of a new timetable: name its plan"],
            where="the command",
        )
    if time_zone is not None and not at:
        raise PlanError(["--time-zone is that of --at, which is missing"], where="the command")
    now = time.time()
    if off:
        write_schedule(server_folder.path, None)
    elif plan is not None:
        made = RunSchedule(
            every_s=step_seconds(every or "1d", "--every"),
            at=at,
            time_zone=time_zone or "UTC",
            since_s=int(now),
            plan=resolve(plan, None, []),
        )
        check(made.plan, len(server_folder.directory().names))
        write_schedule(server_folder.path, made)
    kept = read_schedule(server_folder.path)
    if as_json:
        at_now = None if kept is None else timetable_of(kept, datetime.fromtimestamp(now, UTC))
        print_json(ScheduleShown(running=is_running(server_folder), timetable=at_now))
        return
    if kept is None:
        text = "no run begins by itself"
    else:
        following = when(kept.following(now))
        text = f"runs of {kept.plan.name} begin {kept.text}; the next one {following}"
        if not is_running(server_folder):
            text += f"\nno server runs in {folder}, so none begins: `fedhome server start {folder}`"
    Console().print(escape(text), highlight=False, soft_wrap=True)
