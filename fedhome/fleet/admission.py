"""How the owner's folder turns devices into homes: the everyday key, and single-use invites."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

from fedhome.errors import DirectoryError
from fedhome.fleet.alike_names import check_apart
from fedhome.fleet.cards import Card, Inviter
from fedhome.fleet.entries import Anchor
from fedhome.fleet.invites import Enrolment, Invite
from fedhome.fleet.issued_directory import keys_of
from fedhome.fleet.tickets import Tickets
from fedhome.secagg.home_entry import HomeEntry
from fedhome.store import disk

SERVER, INVITER_KEY, INVITER, TICKETS = "server", "inviter.key", "inviter.pub", "tickets.fh"
_PUBLIC = 0o644


class Admission(ABC):
    """The inviting part of an owner's folder; `fedhome.fleet.owner_folder.Fleet` is the whole.

    Args:
        folder: Its path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tickets = Tickets(folder / TICKETS)

    @property
    @abstractmethod
    def anchor(self) -> Anchor:
        """What homes know this fleet by."""

    @property
    @abstractmethod
    def homes(self) -> dict[str, HomeEntry]:
        """The homes that will be in the next directory, by name."""

    @abstractmethod
    def add(self, *entries: HomeEntry, eligible: bool = True) -> None:
        """Put homes on the list."""

    @abstractmethod
    def _relist(self, homes: dict[str, HomeEntry]) -> None:
        """Write the list of homes."""

    def set_tier(self, home: str, tier: str) -> None:
        """Let the next directory say another tier of a home.

        Args:
            home: Its name.
            tier: Which slice of the model its device carries, by the name of the plan's tier.

        Raises:
            DirectoryError: ``unknown-home``: it is not on the list.
        """
        homes = self.homes
        if home not in homes:
            raise DirectoryError(
                f"there is no home {home!r} on the list",
                reason="unknown-home",
                hint="`fedhome fleet show` lists them; one that is invited says its own as it "
                "joins: `fedhome client join INVITE --tier TIER`",
            )
        self._relist(homes | {home: replace(homes[home], tier=tier)})

    @property
    def open_invites(self) -> dict[str, int]:
        """Homes with an unused invite, and until when it is valid, Unix time in s."""
        return {
            ticket.home: ticket.expires for ticket in self._tickets.read().values() if ticket.open
        }

    @property
    def inviter(self) -> Inviter:
        """The everyday key.

        Raises:
            StateError: It is missing, or others may read it.
        """
        return Inviter.from_bytes(disk.read_key(self.folder / INVITER_KEY))

    def renew_inviter(self) -> None:
        """Make a new everyday key: invites signed with the last one end.

        Its public half lies in ``server/`` then, and the server needs it as ``fleet/inviter.pub``.

        Raises:
            StateError: The folder cannot be written.
        """
        inviter = Inviter.create()
        with disk.errors_of(self.folder / SERVER):
            (self.folder / SERVER).mkdir(mode=0o700, exist_ok=True)
        disk.put(self.folder / INVITER_KEY, inviter.to_bytes())
        text = f"{inviter.public_text()}\n".encode()
        disk.put(self.folder / SERVER / INVITER, text, mode=_PUBLIC)

    def invite(
        self,
        home: str,
        *,
        card: Card,
        plan: str,
        expires: int,
        now: float | None = None,
        again: bool = False,
    ) -> Invite:
        """Return an invite for one device; an earlier one of the same home is no longer valid.

        Args:
            home: The name that the device will have.
            card: Of the fleet's server.
            plan: What it is asked to take part in, TOML.
            expires: Unix time after which nobody is admitted by it, s.
            now: Unix time, s; None for this machine's.
            again: The home is on the list: its device takes card and plan from it and keeps its
                keys, and nobody is admitted by it.

        Raises:
            DirectoryError: ``name``; ``home-twice``: it is on the list; ``name-alike``;
                ``unknown-home``: with ``again`` it is not; ``full``.
            WireError: ``size``: plan or card are too long.
            StateError: A file is missing or damaged.
        """
        if home in self.homes and not again:
            raise home_twice_error(home)
        if home not in self.homes and again:
            raise DirectoryError(
                f"{home!r} is not on the list yet",
                reason="unknown-home",
                hint="a new home is invited without --again",
            )
        if not again:
            check_apart([home], [*self.homes, *(one for one in self.open_invites if one != home)])
        invite = Invite.create(
            self.inviter, anchor=self.anchor, home=home, card=card, plan=plan, expires=expires
        )
        now = time.time() if now is None else now
        self._tickets.give(invite.ticket, now, usable=not again)
        return invite

    def check(self, data: bytes, *, now: float | None = None) -> Enrolment:
        """Return an enrolment that could be admitted now.

        Args:
            data: As the device posted it.
            now: Unix time, s; None for this machine's.

        Raises:
            WireError: Bytes that are no enrolment.
            DirectoryError: A reason of `Enrolment.verify`; ``admitted``: it is on the list with
                these keys; ``used``, or ``invite``: you gave no such ticket out; ``name-alike``.
        """
        now = time.time() if now is None else now
        enrolment = Enrolment.verify(data, self.inviter.public, self.anchor.fleet, now)
        listed = self.homes.get(enrolment.home)
        if listed is not None and keys_of(listed) == keys_of(enrolment.entry):
            raise DirectoryError(
                f"{enrolment.home!r} is on the list already",
                reason="admitted",
                hint="it counts once you sign the next directory: `fedhome fleet directory`",
            )
        self._tickets.check(enrolment)
        if listed is None:  # others may have been listed since it was invited
            check_apart([enrolment.home], self.homes)
        return enrolment

    def admit(
        self, *enrolments: bytes, eligible: bool = True, now: float | None = None
    ) -> tuple[HomeEntry, ...]:
        """Put the homes that answered their invites on the list, all of them or none.

        Args:
            enrolments: As the devices posted them.
            eligible: Whether they may serve on the committee.
            now: Unix time, s; None for this machine's.

        Raises:
            WireError: As `check`.
            DirectoryError: As `check` and `add`.
        """
        now = time.time() if now is None else now
        entries = tuple(self.check(data, now=now).entry for data in enrolments)
        self.add(*entries, eligible=eligible)
        # Last: a crash in between leaves tickets open whose homes are listed, until `revoke`.
        self._tickets.close(*(entry.home for entry in entries), now=now)
        return entries


def home_twice_error(home: str) -> DirectoryError:
    """Return the error for a home that is on the list already."""
    return DirectoryError(
        f"there is a home {home!r} already",
        reason="home-twice",
        hint=f"to give it new keys, `fedhome fleet revoke {home}` first; to tell it another plan "
        "or server, `fedhome fleet invite --again`",
    )
