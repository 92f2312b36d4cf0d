"""``fedhome fleet admit | directory | send``: who becomes a home, signed, and sent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedhome.cli.console import Console, say
from fedhome.cli.fleet_words import (
    CardFile,
    DirectoryNumbers,
    Folder,
    card_of,
    few,
    needed_card,
    numbers_of,
    plan_of,
    put_out,
    summary,
    table_of,
    tier_told,
)
from fedhome.cli.passphrases import PassphraseFile, passphrase_of
from fedhome.cli.row_blocks import print_rows
from fedhome.errors import DirectoryError, LinkError, ParameterError, SecAggError
from fedhome.fleet import owner_requests
from fedhome.fleet.alike_names import check_apart
from fedhome.fleet.cards import Card
from fedhome.fleet.entries import fingerprint
from fedhome.fleet.invites import Enrolment
from fedhome.fleet.issued_directory import DIRECTORY_DAYS
from fedhome.fleet.leave_notice import Leave
from fedhome.fleet.owner_folder import DIRECTORY, Fleet
from fedhome.fleet.owner_keys import DIRECTORY_DRAFT
from fedhome.plan.protocol import absence_told, check_groups
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.store import disk
from fedhome.wire.moments import when

_MOST_DAYS = 3660  # ten years


@dataclass(frozen=True, kw_only=True)
class _WaitingHomes:
    """Who waits, by what the owner makes of it."""

    new: dict[str, Enrolment]
    leaving: dict[str, Leave]
    notes: tuple[str, ...]  # why others are passed over


def admit(  # noqa: PLR0917 - typer gives them by name
    homes: Annotated[
        list[str] | None,
        typer.Argument(help="Admit these alone.", metavar="HOME...", show_default="all that wait"),
    ] = None,
    fleet: Folder = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing but the passphrase.")] = False,
    not_on_committee: Annotated[
        bool, typer.Option("--not-on-committee", help="They never help to open sums.")
    ] = False,
    server: CardFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Take in homes that answered their invites, let go those that leave, and tell the server.

    It fetches from the server who waits, shows each device's fingerprint, asks, signs the next
    directory and sends it. Nobody becomes a home whom you did not invite.
    """
    console = Console()
    with Fleet.open(fleet) as owned:
        card = needed_card(fleet, server)
        waiting = owner_requests.pending(
            card, owned.inviter, fleet=owned.anchor.fleet, now=time.time()
        )
        waiting_homes = _sort_waiting(owned, waiting)
        for line in waiting_homes.notes:
            say(console, line)
        if homes:
            waiting_homes = _only(waiting_homes, homes)
        if waiting_homes.new and _confirm(console, waiting_homes.new, plan_of(fleet), yes=yes):
            entered = [one.data for one in waiting_homes.new.values()]
            owned.admit(*entered, eligible=not not_on_committee)
            say(console, f"on the list: {', '.join(waiting_homes.new)}")
        for home, notice in waiting_homes.leaving.items():
            question = f"{home} wants to leave, it said on {when(notice.time)}"
            say(console, question)
            if yes or typer.confirm(f"take {home} off the list?"):
                owned.revoke(home)
        if owned.changes():
            plan = plan_of(fleet)
            _publish(
                console,
                owned,
                card,
                plan,
                numbers=numbers_of(plan),
                passphrase_file=passphrase_file,
            )
        elif waiting.epoch < owned.epoch and (fleet / DIRECTORY).exists():
            send_last(console, owned, card)
        elif waiting_homes.new or waiting_homes.leaving:
            say(console, "nothing was changed; who waits goes on waiting")
        else:
            say(console, "nobody waits, and nothing is left to sign")


def directory(  # noqa: PLR0917 - typer gives them by name
    fleet: Folder = Path(),
    corrupt: Annotated[
        float | None,
        typer.Option(
            help="Share of homes that may work for an attacker.", show_default="as in the plan"
        ),
    ] = None,
    dropped: Annotated[
        float | None,
        typer.Option(
            help="Share of homes that may be absent when a sum is opened.",
            show_default="as in the plan",
        ),
    ] = None,
    committee: Annotated[
        int | None,
        typer.Option(help="Homes that open sums.", show_default="as in the plan, or as needed"),
    ] = None,
    min_cohort: Annotated[
        int | None, typer.Option(help="Fewest homes in any sum.", show_default="as in the plan")
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(
            help="For how long it holds.",
            min=1,
            max=_MOST_DAYS,
            show_default=f"as the last one, or {DIRECTORY_DAYS}",
        ),
    ] = None,
    after: Annotated[
        int,
        typer.Option(
            help="An epoch that it has to be above: the highest that any home shows, after a theft "
            "of keys or if this folder came from a backup.",
            metavar="EPOCH",
            min=0,
            show_default=False,
        ),
    ] = 0,
    server: CardFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign the next directory: who is in the fleet from now on, and who opens its sums.

    It is sent to the server, if that is known; else give it DIR/directory.fh. The server hands it
    on to the homes. Keys that homes made ahead for the last directory end with it. Sign it anew
    before it has expired, also where nothing changes: homes take part by no other.
    """
    with Fleet.open(fleet) as owned:
        plan = plan_of(fleet)
        numbers = numbers_of(plan)
        if corrupt is not None:
            numbers["corrupt"] = corrupt
        if dropped is not None:
            numbers["dropped"] = dropped
        if committee is not None:
            numbers["committee"] = committee
        if min_cohort is not None:
            numbers["min_cohort"] = min_cohort
        try:
            owned.parameters(**numbers)  # before the passphrase is asked for
        except ParameterError as error:
            out = "" if min_cohort is not None else _out_all_the_same(owned, numbers["min_cohort"])
            hint = f"{error.hint}; {out}" if out else error.hint
            raise ParameterError(error.message, reason=error.reason, hint=hint) from None
        _publish(
            Console(),
            owned,
            card_of(fleet, server),
            plan,
            numbers=numbers,
            passphrase_file=passphrase_file,
            days=days,
            after=after,
        )


def send(fleet: Folder = Path(), server: CardFile = None) -> None:
    """Give the server the directory that was signed last, if it could not be reached before."""
    with Fleet.open(fleet) as owned:
        card = needed_card(fleet, server)
        disk.read(fleet / DIRECTORY)
        send_last(Console(), owned, card)


def _sort_waiting(owned: Fleet, waiting: owner_requests.PendingApplications) -> _WaitingHomes:
    new, notes = dict[str, Enrolment](), list[str]()
    for data in waiting.enrolments:
        try:
            enrolment = owned.check(data)
            check_apart([enrolment.home], new)
        except SecAggError as error:
            if error.reason != "admitted":
                notes.append(f"passed over: {error.with_hint}")
            continue
        new[enrolment.home] = enrolment
    entries = [*owned.homes.values(), *(one.entry for one in new.values())]
    leaving = {}
    for data in waiting.notices:
        try:
            notice = Leave.verify(data, owned.anchor.fleet, *entries)
        except SecAggError:
            continue
        if notice.home in owned.homes:
            leaving[notice.home] = notice
        elif notice.home in new and notice.time >= new[notice.home].time:  # else of before that
            del new[notice.home]
            notes.append(f"passed over: {notice.home!r} was invited, and does not want to any more")
    return _WaitingHomes(
        new=dict(sorted(new.items())), leaving=dict(sorted(leaving.items())), notes=tuple(notes)
    )


def _only(waiting_homes: _WaitingHomes, homes: Sequence[str]) -> _WaitingHomes:
    if unknown := [
        home for home in homes if home not in {*waiting_homes.new, *waiting_homes.leaving}
    ]:
        raise DirectoryError(
            f"{', '.join(unknown)}: no such home waits for you",
            reason="unknown-home",
            hint="leave the names out to see who does",
        )
    return _WaitingHomes(
        new={home: one for home, one in waiting_homes.new.items() if home in homes},
        leaving={home: one for home, one in waiting_homes.leaving.items() if home in homes},
        notes=waiting_homes.notes,
    )


def _confirm(console: Console, new: dict[str, Enrolment], plan: Plan, *, yes: bool) -> bool:
    carries = is_sliced(plan) or any(one.entry.tier for one in new.values())
    more = ["tier"] if carries else []
    table = table_of("answered their invites", "home", "fingerprint", "enrolled", *more)
    for home, one in new.items():
        shown = [escape(tier_told(one.entry.tier, plan))] if carries else []
        table.add_row(escape(home), fingerprint(one.entry), when(one.time), *shown)
    print_rows(console, table)
    say(
        console,
        "\ncompare each fingerprint with what the device shows: a stranger who read the invite "
        "has another one",
    )
    return yes or typer.confirm(f"admit {'it' if len(new) == 1 else f'these {len(new)}'}?")


def _out_all_the_same(owned: Fleet, fewest: int) -> str:
    """Return how homes that are off the list are put out of a fleet that is too small then."""
    out = [home for home, what in owned.changes().items() if what == "left out"]
    left = len(owned.homes)
    if not out or left >= fewest:
        return ""
    return (
        f"until then the server knows {few(out)} by the old keys, and takes no new ones. To put "
        f"them out all the same: {put_out(owned.folder, left, fewest)}"
    )


def _publish(
    console: Console,
    owned: Fleet,
    card: Card | None,
    plan: Plan,
    *,
    numbers: DirectoryNumbers,
    passphrase_file: Path | None,
    days: float | None = None,
    after: int = 0,
) -> None:
    """Sign the next directory if there can be one, send it, and say what comes next."""
    try:
        owned.parameters(**numbers)
    except ParameterError as error:
        say(console, f"nothing is signed yet: {error.with_hint}")
        if out := _out_all_the_same(owned, numbers["min_cohort"]):
            say(console, f"\n{out}")
        return
    passphrase = passphrase_of(passphrase_file)
    issued = owned.sign(passphrase, **numbers, days=days, after=after)
    console.print(summary(issued))
    if not issued.whole:
        path = owned.folder / DIRECTORY_DRAFT
        say(
            console,
            f"\nsigned by this machine's key alone: other keys have to sign {path} too, with "
            f"`fedhome fleet cosign {DIRECTORY_DRAFT} --key DIR` on each co-owner's machine; then "
            f"here `fedhome fleet collect FILE... --fleet {owned.folder}`",
        )
        return
    if card is None:
        say(console, f"\nsigned {owned.folder / DIRECTORY}: give it to the server")
    else:
        _send(owned, card)
        say(console, f"\nthe server at {card.server} has it; homes fetch it from there")
    secure = plan.aggregation.mode != "plain"
    if secure and (fault := check_groups(plan, len(issued.directory.names))):
        say(console, f"a run of {plan.name} has to wait: {fault}")
        return
    if told := absence_told(plan, len(issued.directory.names)):
        say(console, f"\n{told}")
    if card is not None:
        say(console, "next, on the server: `fedhome server run PLAN --server DIR`")


def send_last(console: Console, owned: Fleet, card: Card) -> None:
    """Give the server the directory that was signed last, by enough keys.

    Raises:
        LinkError: It cannot be reached, or refuses.
    """
    _send(owned, card)
    last = owned.last()
    say(console, f"the server has the directory of epoch {last.epoch if last else 0} now")


def _send(owned: Fleet, card: Card) -> None:
    signed = disk.read(owned.folder / DIRECTORY)
    try:
        owner_requests.send(
            card, owned.inviter, fleet=owned.anchor.fleet, directory=signed, now=time.time()
        )
    except LinkError as error:
        raise LinkError(
            f"epoch {owned.epoch} is signed, but the server has not got it: {error.message}",
            reason=error.reason,
            hint=error.hint or f"once it is back: `fedhome fleet send --fleet {owned.folder}`",
        ) from None
