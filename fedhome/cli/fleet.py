"""``fedhome fleet``: what the fleet's owner types, and one command for a home's device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedhome.cli import fleet_admit, fleet_invites, fleet_keys
from fedhome.cli.console import Console, say
from fedhome.cli.fleet_words import (
    Folder,
    numbers_of,
    plan_of,
    put_out,
    table_of,
    text_of,
    tier_told,
    who_must_collude,
)
from fedhome.cli.group import Group
from fedhome.cli.json_fleets import FleetShown, InviteEntry, ListedHome
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.passphrases import PassphraseFile, passphrase_of
from fedhome.cli.row_blocks import print_rows
from fedhome.errors import DirectoryError
from fedhome.fleet.admission import INVITER, INVITER_KEY, SERVER
from fedhome.fleet.alike_names import alike_in
from fedhome.fleet.entries import entry_text, fingerprint, home_keys, read_entry
from fedhome.fleet.owner_folder import ANCHOR, PLAN, Fleet
from fedhome.fleet.owner_keys import AUTHORITY, key_name
from fedhome.plan.sliced_plan import check_tier, is_sliced
from fedhome.store import disk
from fedhome.wire.moments import when

app = typer.Typer(cls=Group, no_args_is_help=True)

_Names = Annotated[str, typer.Argument(help="The home's name in the fleet.", metavar="HOME")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a fleet: the owner's key under a passphrase, and a key for the server.

    Keep DIR on a computer of your own, not on the server, and keep a backup of it.
    """
    with Fleet.create(folder, passphrase_of(passphrase_file, new=True)) as fleet:
        number = fleet.anchor.fleet.hex()
    table = table_of(f"fleet {number}", "file", "what it is", "who gets it")
    for row in (
        (AUTHORITY, "the key that says who is in the fleet", "you alone: never the server"),
        (INVITER_KEY, "the everyday key that signs invites", "you alone"),
        (f"{SERVER}/", "the server's key", "the server; the copy here can make it anew"),
        (ANCHOR, "by which a home knows its fleet; public", "every home, from you"),
        ("fleet.fh", "the list of homes; public keys only", "you"),
    ):
        table.add_row(*row)
    console = Console()
    print_rows(console, table, prose=("what it is", "who gets it"))
    say(
        console,
        f"\nnext: `fedhome server init DIR --host NAME --fleet {folder}` for the server, then "
        f"`fedhome fleet invite HOME --fleet {folder}` for each home",
    )


@app.command()
def keys(
    home: _Names,
    out: Annotated[
        Path | None, typer.Option(help="The home's own folder.", metavar="DIR", show_default="HOME")
    ] = None,
) -> None:
    """Make a home's keys, on the home's device, and print the entry for the fleet's owner.

    Run again, it prints the entry of the keys that are there. The entry is public; its
    fingerprint lets owner and home make sure that it arrived unaltered.
    """
    folder = Path(home) if out is None else out
    made, new = home_keys(home, folder)
    line = entry_text(made)
    path = folder / f"{home}.entry"
    disk.put(path, f"{line}\n".encode(), mode=0o644)
    typer.echo(line)
    console = Console(stderr=True)
    action = "made keys" if new else "found the keys that were made before"
    say(console, f"{action} in {folder}: they stay on this device, and in no backup")
    say(console, f"give the owner {path} (the line above)")
    say(console, f"fingerprint: {fingerprint(made.entry())}")


@app.command()
def add(
    homes: Annotated[
        list[str] | None, typer.Argument(help="Names of homes.", metavar="HOME...")
    ] = None,
    entry: Annotated[
        list[Path] | None,
        typer.Option(help="Entry from `fedhome fleet keys`; may be repeated.", metavar="FILE"),
    ] = None,
    fleet: Folder = Path(),
    not_on_committee: Annotated[
        bool, typer.Option("--not-on-committee", help="They never help to open sums.")
    ] = False,
) -> None:
    """Put homes on the list: by the entries that they gave you, or by name, for trials.

    Without --entry, the homes' keys are made here, in DIR/homes/HOME.
    """
    console = Console()
    if not entry and not homes:
        raise DirectoryError(
            "no home is named", reason="unknown-home", hint="name homes, or entries with --entry"
        )
    with Fleet.open(fleet) as owned:
        if not entry:
            folders = owned.add_trial(*homes or (), eligible=not not_on_committee)
            for home, folder in zip(homes or (), folders, strict=True):
                say(console, f"added {home}; its keys were made here, in {folder}: for trials only")
        else:
            entries = [read_entry(text_of(path)) for path in entry]
            if homes and sorted(homes) != sorted(one.home for one in entries):
                named = ", ".join(sorted(one.home for one in entries))
                raise DirectoryError(
                    f"the entries are of {named}, not of {', '.join(sorted(homes))}",
                    reason="entry",
                    hint="leave the names out to take those of the entries",
                )
            owned.add(*entries, eligible=not not_on_committee)
            for one in entries:
                say(console, f"added {one.home}; compare its fingerprint: {fingerprint(one)}")
    say(console, "it counts once you sign the next directory: `fedhome fleet directory`")


@app.command()
def revoke(home: _Names, fleet: Folder = Path()) -> None:
    """Take a home off the list, and cancel its invite if it has an open one."""
    console = Console()
    with Fleet.open(fleet) as owned:
        listed = home in owned.homes
        owned.revoke(home)
        left, fewest = len(owned.homes), numbers_of(plan_of(fleet))["min_cohort"]
    if not listed:
        say(console, f"the invite of {home} is no longer valid")
        return
    say(console, f"took {home} off the list; it is out once you sign the next directory:")
    say(console, put_out(fleet, left, fewest))


@app.command()
def tier(
    home: _Names,
    name: Annotated[str, typer.Argument(help="The plan's name of the tier.", metavar="TIER")],
    fleet: Folder = Path(),
) -> None:
    """Change which slice of the model a home's device carries, where the plan has slices.

    A device takes no more than its own settings say (`fedhome client tier`).
    """
    check_tier(plan_of(fleet), name)
    with Fleet.open(fleet) as owned:
        owned.set_tier(home, name)
    word = f" --fleet {fleet}" if fleet != Path() else ""
    say(
        Console(),
        f"{home} carries what {name} has, once you sign the next directory: "
        f"`fedhome fleet directory{word}`",
    )


@app.command()
def new_inviter(fleet: Folder = Path()) -> None:
    """Make a new everyday key, because somebody may have read the last one: open invites end."""
    with Fleet.open(fleet) as owned:
        owned.renew_inviter()
    say(
        Console(),
        f"made {fleet / INVITER_KEY}; copy {fleet / SERVER / INVITER} to the server, as "
        f"DIR/fleet/{INVITER}, and invite again whoever is not admitted yet",
    )


@app.command()
def show(fleet: Folder = Path(), *, as_json: JsonFlag = False) -> None:
    """List the homes, and what the next directory will change."""
    with Fleet.open(fleet) as owned:
        if as_json:
            print_json(_shown(owned))
            return
        last, epoch = owned.last(), owned.epoch
        until = f", holds until {when(last.expires)}" if last else ""
        changes = owned.changes()
        plan = plan_of(fleet) if (fleet / PLAN).exists() else None
        signed = last.entries if last else {}
        listed = sorted((signed | owned.homes).items())
        carries = (plan and is_sliced(plan)) or any(one.tier for _, one in listed)
        table = table_of(
            f"fleet {owned.anchor.fleet.hex()}, epoch {epoch}{until}",
            "home",
            "may serve on the committee",
            *(["tier"] if carries else []),
            "fingerprint",
            "next directory",
        )
        for home, one in listed:
            serves = "yes" if one.eligible else "no"
            tier = [escape(tier_told(one.tier, plan))] if carries else []
            table.add_row(escape(home), serves, *tier, fingerprint(one), changes.get(home, ""))
        for home, expires in sorted(owned.open_invites.items()):
            none = [""] if carries else []
            table.add_row(escape(home), "", *none, "", f"invited until {when(expires)}")
        root = owned.root
    console = Console()
    print_rows(console, table)
    for first, other in alike_in(name for name, _ in listed):
        say(console, f"\n{first!a} and {other!a} look the same: take care which one you revoke")
    names = ", ".join(key_name(key) for key in root.keys)
    say(console, f"\nowner's keys: {root.threshold} of {len(root.keys)} must sign: {names}")
    if last and plan:
        say(console, f"who must collude {who_must_collude(last, plan)}")


def _shown(owned: Fleet) -> FleetShown:
    last, changes = owned.last(), owned.changes()
    listed = (last.entries if last else {}) | owned.homes
    return FleetShown(
        fleet=owned.anchor.fleet.hex(),
        epoch=owned.epoch,
        expires=last.expires if last else None,
        committee=last.committee if last else None,
        corrupt=last.corrupt if last else None,
        answers=last.threshold if last else None,
        homes=[
            ListedHome(
                home=home,
                eligible=one.eligible,
                tier=one.tier,
                fingerprint=fingerprint(one),
                change=changes.get(home, ""),
            )
            for home, one in sorted(listed.items())
        ],
        invites=[
            InviteEntry(home=home, expires=expires)
            for home, expires in sorted(owned.open_invites.items())
        ],
        threshold=owned.root.threshold,
        keys=[key_name(key) for key in owned.root.keys],
    )


app.command()(fleet_invites.invite)
app.command()(fleet_admit.admit)
app.command()(fleet_admit.directory)
app.command()(fleet_admit.send)
app.command()(fleet_keys.owner_key)
app.command()(fleet_keys.rotate)
app.command()(fleet_keys.cosign)
app.command()(fleet_keys.collect)
app.command()(fleet_keys.new_server)
app.command()(fleet_keys.move)
