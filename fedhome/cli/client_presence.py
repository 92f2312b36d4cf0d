"""``fedhome client pause | resume | leave | forget``: whether a home takes part, and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedhome.cli.client_folder import HomeArgument, home_folder_at, present_home_folder
from fedhome.cli.console import Console, say
from fedhome.counted import counted
from fedhome.privacy.privacy_ledger import FILE as LEDGER

_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: for scripts.")]


def pause(folder: HomeArgument = Path()) -> None:
    """Take no part for now; the agent goes on running, and waits for `resume`."""
    home_folder = present_home_folder(folder)
    home_folder.paused = True
    say(
        Console(),
        f"{home_folder.settings.home} takes no part until `fedhome client resume {folder}`",
    )


def resume(folder: HomeArgument = Path()) -> None:
    """Take part again after `pause`."""
    home_folder = present_home_folder(folder)
    was_paused = home_folder.paused
    home_folder.paused = False
    outcome = "takes part again" if was_paused else "was not paused"
    say(Console(), f"{home_folder.settings.home} {outcome}")


def leave(folder: HomeArgument = Path(), yes: _Yes = False) -> None:
    """Leave the fleet for good: the agent ends, and the fleet's owner is told.

    What is in sums and models by then stays in them. Run it again if the server was away.
    """
    from fedhome.clients.membership.leave import leave as leave_fleet  # noqa: PLC0415

    home_folder, console = home_folder_at(folder), Console()
    name = home_folder.settings.home
    if (
        not home_folder.left
        and not yes
        and not typer.confirm(f"Let {name} leave its fleet for good?")
    ):
        say(console, f"{name} stays")
        raise typer.Exit(1)
    known = leave_fleet(home_folder)
    heard = "its owner is told" if known else "the server does not know it (any more)"
    say(console, f"{name} has left its fleet; {heard}")
    say(console, f"next: `fedhome client forget {folder}` erases its keys")


def forget(
    folder: HomeArgument = Path(),
    yes: _Yes = False,
    readings: Annotated[
        bool,
        typer.Option("--readings", help="Erase its store of readings too, where it has one."),
    ] = False,
) -> None:
    """Erase the home's keys, state and settings from this device; never its files of readings.

    A store of readings (`fedhome client record`) opens by these keys alone: without --readings a
    home that has one is not forgotten.
    """
    from fedhome.clients.membership.home_folder import HomeFolder  # noqa: PLC0415
    from fedhome.clients.membership.leave import check_there  # noqa: PLC0415
    from fedhome.clients.membership.leave import forget as forget_home  # noqa: PLC0415

    home_folder, console = HomeFolder(folder), Console()
    check_there(home_folder)  # before it is asked about
    if not yes:
        if not home_folder.left:
            say(console, "this home has not left its fleet: `fedhome client leave` tells its owner")
        if not typer.confirm(f"Erase keys, state and settings in {folder}? They cannot come back."):
            say(console, "nothing was erased")
            raise typer.Exit(1)
    erased = forget_home(home_folder, readings=readings)
    say(console, f"erased {counted(len(erased), 'file')}: {', '.join(erased)}")
    if (home_folder.path / LEDGER).exists():
        say(console, f"{folder}/{LEDGER} stays: what this home has spent of its privacy is spent")
    elif home_folder.path.exists():
        say(console, f"{folder} stays: it holds files that are not fedhome's")
