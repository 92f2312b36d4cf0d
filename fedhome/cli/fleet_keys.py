"""``fedhome fleet owner-key | rotate | cosign | collect | new-server | move``: who signs what."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedhome.cli.console import Console, say
from fedhome.cli.fleet_admit import send_last
from fedhome.cli.fleet_words import (
    CardFile,
    Folder,
    card_of,
    few,
    table_of,
    text_of,
)
from fedhome.cli.passphrases import PassphraseFile, passphrase_of
from fedhome.errors import DirectoryError
from fedhome.fleet.admission import SERVER
from fedhome.fleet.cards import Card
from fedhome.fleet.owner_folder import DIRECTORY, Fleet
from fedhome.fleet.owner_keys import (
    OWNER_PUBLIC,
    ROOT_DRAFT,
    Draft,
    co_sign,
    key_name,
    make_owner_key,
    owner_text,
    read_draft,
    read_owner,
)
from fedhome.fleet.server_move import MOVE, ServerMove
from fedhome.keys.roots import SignedRoot
from fedhome.secagg.directory import Directory
from fedhome.store import disk
from fedhome.wire.moments import when

_KeyFolder = Annotated[Path, typer.Option("--key", help="The co-owner's folder.", metavar="DIR")]


def owner_key(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="DIR")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a key for a co-owner, on a machine of its own: nothing is signed by it yet.

    Give the owner DIR/owner.pub, which is public, and keep the rest where it is.
    """
    key = make_owner_key(folder, passphrase_of(passphrase_file, new=True))
    typer.echo(owner_text(key))
    say(Console(stderr=True), f"made {folder}; give the owner {folder / OWNER_PUBLIC}")
    say(Console(stderr=True), f"its name: {key_name(key)}")


def rotate(
    fleet: Folder = Path(),
    add: Annotated[
        list[Path] | None,
        typer.Option(help="A co-owner's owner.pub; may be repeated.", metavar="FILE"),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="A key's name, as `fleet show` says it; may be repeated.", metavar="NAME"
        ),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(help="How many keys must sign.", min=1, show_default="as before")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Change the keys that sign directories: without options, this machine's key for a new one.

    Enough keys of the old list sign the change, and of the new one. If it takes others than this
    machine's, it is a draft that goes to them: `fedhome fleet cosign`, then `fleet collect`. Homes
    follow it with the next directory.
    """
    console = Console()
    with Fleet.open(fleet) as owned:
        named = {key_name(key): key for key in owned.root.keys}
        if unknown := [name for name in drop or () if name not in named]:
            raise DirectoryError(
                f"no key of the owner is called {unknown[0]}",
                reason="owner-key",
                hint=f"they are {', '.join(named)}",
            )
        signed, counts = owned.change_keys(
            passphrase_of(passphrase_file),
            add=[read_owner(text_of(path)) for path in add or ()],
            drop=[named[name] for name in drop or ()],
            threshold=threshold,
            renew=not (add or drop or threshold),
        )
    console.print(_described(signed))
    if counts:
        _say_changed(console, fleet)
    else:
        say(
            console,
            f"\nother keys have to sign too: on each co-owner's machine `fedhome fleet cosign "
            f"{ROOT_DRAFT} --key DIR`, then here `fedhome fleet collect FILE... --fleet {fleet}`",
        )


def cosign(
    draft: Annotated[Path, typer.Argument(help="A draft from the owner.", metavar="FILE")],
    key: _KeyFolder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: for scripts.")] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a draft as a co-owner: it shows what it says, asks, and writes the signature into it.

    It must come from the owner: compare what is shown with what the owner tells you.
    """
    console, opened = Console(), read_draft(disk.read(draft))
    console.print(_described(opened))
    if not yes and not typer.confirm("sign this?"):
        say(console, "nothing was signed")
        raise typer.Exit(1)
    signed = co_sign(opened, key, passphrase_of(passphrase_file))
    disk.put(draft, signed.to_bytes(), mode=0o644)
    say(console, f"signed {draft}: give it back to the owner, for `fedhome fleet collect`")


def collect(
    drafts: Annotated[
        list[Path], typer.Argument(help="What co-owners have signed.", metavar="FILE...")
    ],
    fleet: Folder = Path(),
    server: CardFile = None,
) -> None:
    """Take back a draft that co-owners have signed: once enough have, it counts, and is sent."""
    console = Console()
    with Fleet.open(fleet) as owned:
        done = owned.collect(*(read_draft(disk.read(path)) for path in drafts))
        if isinstance(done, SignedRoot):
            console.print(_described(done))
            _say_changed(console, fleet)
            return
        card = card_of(fleet, server)
        if card is None:
            say(console, f"signed {fleet / DIRECTORY}: give it to the server")
        else:
            send_last(console, owned, card)


def new_server(fleet: Folder = Path()) -> None:
    """Make a new key for the server, because somebody may have the last one.

    Its releases begin anew, and homes take none of the last key any more, once they have the next
    directory.
    """
    with Fleet.open(fleet) as owned:
        owned.renew_server()
    say(
        Console(),
        f"made a new key in {fleet / SERVER}; stop the server, copy that folder to it as fleet/, "
        f"start it, then `fedhome fleet directory --fleet {fleet}`",
    )


def move(
    card_path: Annotated[
        Path, typer.Argument(help="The server's new server.card.", metavar="CARD")
    ],
    fleet: Folder = Path(),
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign where the server will be found, before it moves there: homes then know both addresses.

    The server's folder moves whole, so that homes know it by its authority; on the new card is its
    new address (`fedhome server renew --host NEW --host OLD`). Run this, let the server that homes
    reach now hand the word to them for ten minutes, then move it.
    """
    console = Console()
    with Fleet.open(fleet) as owned:
        known, card = card_of(fleet, None), Card.from_text(text_of(card_path))
        if known is not None and known.authorities != card.authorities:
            raise DirectoryError(
                "the new card is of another authority, and homes would not believe that server",
                reason="card",
                hint="copy the server's folder whole; or ask the homes anew: `fedhome fleet invite "
                "HOME --again`",
            )
        authority = owned.own_key(passphrase_of(passphrase_file))
        word = ServerMove(fleet=owned.anchor.fleet, time=int(time.time()), server=card.server)
        disk.put(fleet / MOVE, word.sign(authority, owned.root), mode=0o644)
    say(console, f"signed that the server will be at {card.server}: {fleet / MOVE}")
    say(
        console,
        "\nnext: copy that file to the server where it is now, into fleet/ of its folder; homes "
        "take it within ten minutes (`fedhome client status` shows both addresses); then move the "
        f"server. From then on: `fedhome fleet send --fleet {fleet} --server {card_path}`",
    )


def _say_changed(console: Console, fleet: Path) -> None:
    say(
        console,
        f"\nthe owner's keys are changed; homes follow with the next directory: `fedhome fleet "
        f"directory --fleet {fleet}`. Back up {fleet} anew",
    )


def _described(draft: Draft) -> Table:
    """Return what a draft says, for whoever is asked to sign it."""
    if isinstance(draft, SignedRoot):
        root = draft.root
        table = table_of(f"keys number {root.number} of fleet {root.fleet.hex()}", "what", "value")
        table.add_row("must sign", f"{root.threshold} of {len(root.keys)}")
        signed = {one.key for one in draft.signatures}
        for key in root.keys:
            table.add_row("key", f"{key_name(key)}{', has signed' if key in signed else ''}")
        return table
    directory = Directory.from_bytes(draft.body)
    table = table_of(f"epoch {directory.epoch} of fleet {directory.fleet.hex()}", "what", "value")
    table.add_row("holds until", when(directory.expires))
    table.add_row("server", key_name(directory.server))
    table.add_row("committee", f"{directory.committee}, {directory.corrupt} may be corrupt")
    table.add_row("homes", f"{len(directory.names)}: {few(list(directory.names))}")
    table.add_row("hash", directory.hash.hex())
    return table
