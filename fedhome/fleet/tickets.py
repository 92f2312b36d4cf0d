"""The tickets that a fleet's owner gave out: each is good for one device, once, until it expires.

They are listed in the owner's folder. A ticket that is not listed admits nobody: neither one that a
thief of the inviter's key made, nor, after the home was taken off the list, one used before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fedhome.errors import DirectoryError
from fedhome.fleet.invites import Enrolment, Ticket
from fedhome.secagg.directory import MOST_HOMES
from fedhome.store import checksummed
from fedhome.wire.codec import Flag, Id, Key, Message, number, several


@dataclass(frozen=True, kw_only=True)
class IssuedTicket(Message, label="given", most=512):
    """A ticket that was given out.

    Args:
        ticket: Its number.
        home: The home that it makes of a device.
        expires: Unix time, s.
        open: Whether it can still be used.
    """

    ticket: Key
    home: Id
    expires: Annotated[int, number()]
    open: Flag


@dataclass(frozen=True, kw_only=True)
class _List(Message, label="tickets", most=1 << 25):
    given: Annotated[tuple[IssuedTicket, ...], several(IssuedTicket.kind(), most=MOST_HOMES)]


class Tickets:
    """The owner's list of tickets.

    Args:
        path: Its file; no file: no ticket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[bytes, IssuedTicket]:
        """Return the tickets by number.

        Raises:
            StateError: ``altered``, or the file cannot be read.
        """
        if not self._path.exists():
            return {}
        return {one.ticket: one for one in checksummed.read(self._path, _List).given}

    def give(self, ticket: Ticket, now: float, *, usable: bool = True) -> None:
        """Record a new ticket; earlier ones of the same home are cancelled.

        Args:
            ticket: The ticket.
            now: Unix time, s.
            usable: Whether somebody can be admitted by it.

        Raises:
            DirectoryError: ``full``: too many at once.
        """
        tickets = _without(self.read(), ticket.home)
        tickets[ticket.once] = IssuedTicket(
            ticket=ticket.once, home=ticket.home, expires=ticket.expires, open=usable
        )
        self._keep(tickets, now)

    def check(self, enrolment: Enrolment) -> None:
        """Refuse an enrolment whose ticket cannot be used, or not any more.

        Raises:
            DirectoryError: ``invite``: it was never given out; ``used``: or cancelled.
        """
        ticket = self.read().get(enrolment.ticket)
        if ticket is None or ticket.home != enrolment.home:
            raise DirectoryError(
                f"{enrolment.home!r} shows an invite that you never gave out",
                reason="invite",
                hint="do not admit it. Whoever made it has inviter.key: see docs/security.md",
            )
        if not ticket.open:
            raise DirectoryError(
                f"the invite of {enrolment.home!r} was used before, or cancelled",
                reason="used",
                hint=f"invite it again: `fedhome fleet invite {enrolment.home}`",
            )

    def close(self, *homes: str, now: float) -> None:
        """Cancel the open tickets of homes: they were used, or nobody shall use them."""
        self._keep(_without(self.read(), *homes), now)

    def _keep(self, tickets: Mapping[bytes, IssuedTicket], now: float) -> None:
        valid = tuple(one for one in tickets.values() if one.expires >= now)  # others admit nobody
        if len(valid) > MOST_HOMES:
            raise DirectoryError(
                f"{len(valid)} invites are open or were used lately",
                reason="full",
                hint="wait until some have expired",
            )
        checksummed.put(self._path, _List(given=valid))


def _without(tickets: Mapping[bytes, IssuedTicket], *homes: str) -> dict[bytes, IssuedTicket]:
    return {
        number: replace(one, open=False) if one.home in homes else one
        for number, one in tickets.items()
    }
