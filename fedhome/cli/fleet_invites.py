"""``fedhome fleet invite``: a file by which a device becomes a home."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from fedhome.cli.console import Console, say
from fedhome.cli.fleet_words import CardFile, Folder, needed_card, plan_of
from fedhome.cli.row_blocks import print_rows
from fedhome.counted import counted, was
from fedhome.data.input_schema import HOW_NAMED, NOT_NAMED
from fedhome.errors import PlanError, StateError
from fedhome.fleet.entries import check_name
from fedhome.fleet.invites import ENDING
from fedhome.fleet.owner_folder import PLAN, Fleet
from fedhome.learning.plan_check import check_plan
from fedhome.new_folders import make_folder
from fedhome.plan.overrides import process_faults
from fedhome.plan.protocol import absence_told, check_groups
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.plan.time_steps import DAY_S
from fedhome.printable import hidden_in
from fedhome.store import disk
from fedhome.wire.moments import when


def invite(  # noqa: PLR0917 - typer gives them by name
    homes: Annotated[list[str], typer.Argument(help="Names of new homes.", metavar="HOME...")],
    fleet: Folder = Path(),
    plan: Annotated[
        str | None,
        typer.Option(
            help="The plan that they are asked to take part in; remembered.",
            metavar="PLAN",
            show_default="the last one",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Readings such as homes have, a file or a folder of homes: the plan then names "
            "their columns, kinds, units and words as its inputs.",
            metavar="FILE",
            show_default="as the plan names them",
        ),
    ] = None,
    server: CardFile = None,
    days: Annotated[
        float, typer.Option(help="How long it holds, admission included.", min=0.01, max=366)
    ] = 7,
    out: Annotated[
        Path, typer.Option(help="Folder for the files.", metavar="DIR", show_default="here")
    ] = Path(),
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="For homes of the fleet: to ask for another plan, or tell them another server. "
            "Their keys stay.",
        ),
    ] = False,
) -> None:
    """Make an invite for each home: HOME.invite, for one device, once.

    Whoever has the file can become that home, so it goes to the device by a way that you trust,
    and not through the server. An earlier invite of the same home is no longer valid.
    """
    console = Console()
    homes = list(dict.fromkeys(homes))
    paths = {home: out / f"{home}{ENDING}" for home in homes}
    for home, path in paths.items():
        check_name(home)
        if path.exists():
            raise StateError(
                f"{path} is there already",
                reason="exists",
                hint="remove it if it is not needed any more, or name another folder with --out",
            )
    with Fleet.open(fleet) as owned:
        with disk.errors_of(out):
            make_folder(out)
        resolved = _check_plan(_named(plan_of(fleet, plan), like, console))
        card = needed_card(fleet, server)
        changed = _remember(fleet, resolved)
        others = {*owned.homes, *owned.open_invites} - {*homes}
        now = int(time.time())
        expires = now + round(days * DAY_S)
        for home, path in paths.items():
            made = owned.invite(
                home, card=card, plan=resolved.to_toml(), expires=expires, now=now, again=again
            )
            disk.put(path, made.to_text().encode())
            effect = f"the device of {home} joins again" if again else f"one device becomes {home}"
            say(console, f"{path}: {effect} with it, until {when(expires)}")
    if like is not None:
        say(console, f"\nthe server runs this very plan, with its inputs: {fleet / PLAN}")
    if changed and others:
        say(
            console,
            f"\nthe plan changed: {counted(len(others), 'home')} of this fleet "
            f"{was(len(others))} asked for another one, and will take part in no other; ask again: "
            "`fedhome fleet invite HOME... --again`",
        )
    everybody = len(others | {*homes})
    secure = resolved.aggregation.mode != "plain"
    if secure and (fault := check_groups(resolved, everybody)):
        say(console, f"\nno run begins yet: {fault}")
    elif told := absence_told(resolved, everybody):
        say(console, f"\nwith these {everybody} homes {told}")
    first = next(iter(paths.values()))
    tier = " --tier TIER" if is_sliced(resolved) else ""
    join = f"`fedhome client join {first.name} --data SOURCE{tier}`"
    then = (
        f"stop the agent, {join}, and start it again"
        if again
        else f"{join}; then, here, `fedhome fleet admit --fleet {fleet}`"
    )
    say(
        console,
        f"\nnext: take each file to its device by a way that you trust (a stick, scp), and there "
        f"{then}",
    )


def _named(plan: Plan, examples: Path | None, console: Console) -> Plan:
    """Return the plan with the inputs of example readings, where there are any, and show them."""
    if examples is None:
        return plan
    from fedhome.cli.like import like as read_like  # noqa: PLC0415 - it reads files
    from fedhome.cli.like import schema_table  # noqa: PLC0415

    found = read_like(plan, examples)
    print_rows(console, schema_table(found.schema), prose=("words",))
    for note in found.notes:
        say(console, f"note: {note}")
    console.print()
    return found.plan


def _check_plan(plan: Plan) -> Plan:
    faults = [*process_faults(plan), *hidden_in(plan.model_dump(mode="json"))]
    if plan.data.inputs is None:
        raise PlanError([*faults, NOT_NAMED], hint=HOW_NAMED)
    if plan.aggregation.mode == "ideal":
        faults.append('aggregation.mode: "ideal" sums are for simulations alone')
    if faults:
        raise PlanError(faults)
    return check_plan(plan)


def _remember(folder: Path, plan: Plan) -> bool:
    """Keep a plan for the next invite, and return whether it takes the place of another one."""
    path, text = folder / PLAN, plan.to_toml().encode()
    last = disk.read(path) if path.exists() else text
    disk.put(path, text, mode=0o644)
    return last != text
