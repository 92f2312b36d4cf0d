"""``fedhome fleet``: what the fleet's owner types, and one command for a home's device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedhome.enrolment import entry_text, fingerprint, home_keys, read_entry
from fedhome.errors import DirectoryError, StateError
from fedhome.fleet import ANCHOR, AUTHORITY, DIRECTORY, SERVER, Fleet, Issued
from fedhome.plan import Aggregation
from fedhome.secagg import disk

app = typer.Typer(no_args_is_help=True)

_SHOWN = 8  # homes of a kind that are named
_USUAL = Aggregation()
_Folder = Annotated[
    Path, typer.Option("--fleet", help="The owner's folder.", metavar="DIR", show_default="here")
]
_PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="Read the passphrase from this file, not the keyboard.", metavar="FILE"),
]
_Names = Annotated[str, typer.Argument(help="The home's name in the fleet.", metavar="HOME")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
    passphrase_file: _PassphraseFile = None,
) -> None:
    """Make a fleet: the owner's key under a passphrase, and a key for the server.

    Keep DIR on a computer of your own, not on the server, and keep a backup of it.
    """
    with Fleet.create(folder, _passphrase(passphrase_file, new=True)) as fleet:
        number = fleet.anchor.fleet.hex()
    table = _table(f"fleet {number}", "file", "what it is", "who gets it")
    for row in (
        (AUTHORITY, "the key that says who is in the fleet", "you alone: never the server"),
        (f"{SERVER}/", "the server's key", "the server: copy it there, then remove it here"),
        (ANCHOR, "by which a home knows its fleet; public", "every home, from you"),
        ("fleet.fh", "the list of homes; public keys only", "you"),
    ):
        table.add_row(*row)
    console = Console()
    console.print(table)
    _say(
        console,
        f"\nnext: `fedhome fleet add HOME --fleet {folder}` for each home, then "
        f"`fedhome fleet directory --fleet {folder}`",
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
    told = "made keys" if new else "found the keys that were made before"
    _say(console, f"{told} in {folder}: they stay on this device, and in no backup")
    _say(console, f"give the owner {path} (the line above)")
    _say(console, f"fingerprint: {fingerprint(made.entry())}")


@app.command()
def add(
    homes: Annotated[
        list[str] | None, typer.Argument(help="Names of homes.", metavar="HOME...")
    ] = None,
    entry: Annotated[
        list[Path] | None,
        typer.Option(help="Entry from `fedhome fleet keys`; may be repeated.", metavar="FILE"),
    ] = None,
    fleet: _Folder = Path(),
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
                _say(
                    console, f"added {home}; its keys were made here, in {folder}: for trials only"
                )
        else:
            entries = [read_entry(_text(path)) for path in entry]
            if homes and sorted(homes) != sorted(one.home for one in entries):
                found = ", ".join(sorted(one.home for one in entries))
                raise DirectoryError(
                    f"the entries are of {found}, not of {', '.join(sorted(homes))}",
                    reason="entry",
                    hint="leave the names out to take those of the entries",
                )
            owned.add(*entries, eligible=not not_on_committee)
            for one in entries:
                _say(console, f"added {one.home}; compare its fingerprint: {fingerprint(one)}")
    _say(console, "it counts once you sign the next directory: `fedhome fleet directory`")


@app.command()
def revoke(home: _Names, fleet: _Folder = Path()) -> None:
    """Take a home off the list."""
    with Fleet.open(fleet) as owned:
        owned.revoke(home)
    _say(Console(), f"took {home} off the list; it is out once you sign the next directory")


@app.command()
def show(fleet: _Folder = Path()) -> None:
    """List the homes, and what the next directory will change."""
    with Fleet.open(fleet) as owned:
        last, epoch = owned.last(), owned.epoch
        table = _table(
            f"fleet {owned.anchor.fleet.hex()}, epoch {epoch}",
            "home",
            "may serve on the committee",
            "fingerprint",
            "next directory",
        )
        changes = owned.changes()
        signed = last.entries if last else {}
        for home, one in sorted((signed | owned.homes).items()):
            serves = "yes" if one.eligible else "no"
            table.add_row(escape(home), serves, fingerprint(one), changes.get(home, ""))
    Console().print(table)


@app.command()
def directory(
    fleet: _Folder = Path(),
    corrupt: Annotated[
        float, typer.Option(help="Share of homes that may work for an attacker.")
    ] = _USUAL.corrupt,
    dropped: Annotated[
        float, typer.Option(help="Share of homes that may be absent when a sum is opened.")
    ] = _USUAL.dropped,
    committee: Annotated[
        int | None, typer.Option(help="Homes that open sums.", show_default="as many as needed")
    ] = None,
    passphrase_file: _PassphraseFile = None,
) -> None:
    """Sign the next directory: who is in the fleet from now on, and who opens its sums.

    Give DIR/directory.fh to the server, which hands it on to the homes. Keys that homes made
    ahead for the last directory end with it.
    """
    with Fleet.open(fleet) as owned:
        issued = owned.sign(
            _passphrase(passphrase_file),
            corrupt=corrupt,
            dropped=dropped,
            committee=committee,
        )
    console = Console()
    console.print(_summary(issued))
    _say(console, f"\nsigned {fleet / DIRECTORY}: give it to the server")


def _summary(issued: Issued) -> Table:
    new = issued.directory
    table = _table(f"epoch {new.epoch} of fleet {new.fleet.hex()}", "what", "value")
    table.add_row("homes", f"{len(new.names)}, {new.eligible} of them may serve on the committee")
    everyone = new.committee == new.eligible
    members = "all that may" if everyone else _few(list(new.members))
    table.add_row("committee", f"{new.committee}: {members}")
    table.add_row("may be corrupt", f"{new.corrupt} of the committee")
    table.add_row("answers to open", dict(issued.parameters.lines())["answers to open"])
    kinds: dict[str, list[str]] = {}
    for home, what in issued.changes.items():
        kinds.setdefault(what, []).append(home)
    for what, homes in kinds.items():
        table.add_row(what, f"{len(homes)}: {_few(homes)}")
    if not kinds:
        table.add_row("changed", "no home since the last epoch")
    return table


def _few(homes: list[str]) -> str:
    shown = ", ".join(map(escape, homes[:_SHOWN]))
    return shown if len(homes) <= _SHOWN else f"{shown} and {len(homes) - _SHOWN} more"


def _table(title: str, *columns: str) -> Table:
    table = Table(show_edge=False, header_style="bold", title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _say(console: Console, text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


def _passphrase(file: Path | None, *, new: bool = False) -> str:
    if file is not None:
        return _text(file).rstrip("\r\n")
    said: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=new, err=True)
    return said


def _text(path: Path) -> str:
    try:
        return disk.read(path).decode()
    except UnicodeDecodeError:
        raise StateError(f"{path} is not text", reason="foreign", hint="name a text file") from None
