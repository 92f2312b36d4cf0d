"""An invite: the one file by which a device becomes a home of a fleet.

The owner's everyday key, the *inviter*, signs a **ticket**: this name, in this fleet, until then,
for whoever has the private half of a one-time key. The invite holds the ticket, that private
half, and what a device needs to reach its fleet and to know it: anchor, server, plan.

The device answers with an **enrolment**: the ticket, its own public keys, and a signature of the
one-time key over both. The server cannot make one up, nor put other keys in it: it has the
inviter's public half alone. Whoever reads the file before it is used can use it instead; the
second device is refused then, and the owner sees a fingerprint that is not the device's.
"""

from __future__ import annotations

import hashlib
import os
import textwrap
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Self

from fedhome.errors import DirectoryError, WireError
from fedhome.fleet.cards import Card, Inviter
from fedhome.fleet.claims import check_clock
from fedhome.fleet.entries import (
    Anchor,
    check_name,
    decode_text,
    encode_text,
    signed_entry,
    verified_entry,
)
from fedhome.keys.signing import Signer, signature_holds
from fedhome.secagg.directory import HomeKeys, Signed
from fedhome.secagg.home_entry import HomeEntry
from fedhome.wire.codec import Digest, Flag, Id, Key, Kind, Message, number, octets
from fedhome.wire.moments import when

MOST = 4096
"""Bytes of an enrolment or a leave notice, at most."""
ENDING = ".invite"
"""Ending of an invite's file, after the home's name."""

_INVITE = "fedhome-invite-1 "
_TICKET, _ENROLMENT = b"fedhome/ticket/1\0", b"fedhome/enrolment/1\0"
_MOST_PLAN = 1 << 16
_WIDTH = 76
_AGAIN = "ask the fleet's owner for another one: `fedhome fleet invite HOME`"


def _plan(value: object) -> object:
    if type(value) is not str or len(value.encode()) > _MOST_PLAN:
        raise WireError(f"a plan is no text of at most {_MOST_PLAN} bytes", reason="size")
    return value


@dataclass(frozen=True, kw_only=True)
class Ticket(Message, label="ticket", most=1024):
    """What the inviter signs.

    Args:
        fleet: The fleet's number, 16 bytes.
        home: The name that the device will have.
        expires: Unix time after which nobody takes it, s.
        once: Public half of the one-time key; it is the ticket's number, too.
        rest: SHA-256 of the rest of the file: anchor, card and plan.
    """

    fleet: Annotated[bytes, octets(16)]
    home: Id
    expires: Annotated[int, number()]
    once: Key
    rest: Digest

    @classmethod
    def verify(cls, signed: Signed, inviter: bytes) -> Self:
        """Return a ticket that an inviter signed.

        Args:
            signed: The ticket with its signature.
            inviter: The inviter's public key.

        Raises:
            WireError: Bytes that are no ticket.
            DirectoryError: ``invite``: another inviter signed it, or it was altered.
        """
        ticket = cls.from_bytes(signed.body)
        if not signature_holds(inviter, signed.signature, _TICKET + signed.body):
            raise DirectoryError(
                f"the invite of {ticket.home!r} was not made by this fleet's owner",
                reason="invite",
                hint=_AGAIN,
            )
        return ticket

    def check_time(self, now: float) -> None:
        """Refuse a ticket that has expired.

        Raises:
            DirectoryError: ``expired``.
        """
        if now > self.expires:
            raise DirectoryError(
                f"the invite of {self.home!r} held until {when(self.expires)}",
                reason="expired",
                hint=f"check this machine's clock ({when(now)}); or {_AGAIN}",
            )


@dataclass(frozen=True, kw_only=True)
class Invite(Message, label="invite", most=1 << 18):
    """What a device gets from the fleet's owner, over a channel that the server does not control.

    Args:
        anchor: What the device knows its fleet by.
        card: How it reaches the server.
        plan: The plan that it is asked to take part in, TOML.
        secret: The one-time key, 32 bytes; **whoever has it can enrol in the device's place**.
        inviter: The inviter's public key.
        signed: The ticket, with the inviter's signature.
    """

    anchor: Annotated[Anchor, Anchor.kind()]
    card: Annotated[Card, Card.kind()]
    plan: Annotated[str, Kind(_plan)]
    secret: Annotated[bytes, octets(32)] = field(repr=False)
    inviter: Key
    signed: Annotated[Signed, Signed.kind()] = field(repr=False)

    @classmethod
    def create(
        cls, inviter: Inviter, *, anchor: Anchor, home: str, card: Card, plan: str, expires: int
    ) -> Self:
        """Return a new invite.

        Args:
            inviter: Signs it.
            anchor: Of the fleet.
            home: The name that the device will have.
            card: Of the fleet's server.
            plan: TOML.
            expires: Unix time after which it does not hold, s.

        Raises:
            DirectoryError: ``name``.
            WireError: ``size``: plan or card are too long.
        """
        check_name(home)
        once = Signer(os.urandom(32))
        ticket = Ticket(
            fleet=anchor.fleet,
            home=home,
            expires=expires,
            once=once.public,
            rest=_rest(anchor, card, plan),
        ).to_bytes()
        invite = cls(
            anchor=anchor,
            card=card,
            plan=plan,
            secret=once.to_bytes(),
            inviter=inviter.public,
            signed=Signed(body=ticket, signature=inviter.sign(_TICKET + ticket)),
        )
        return cls.from_bytes(invite.to_bytes())

    @cached_property
    def ticket(self) -> Ticket:
        """What the inviter signed."""
        return Ticket.from_bytes(self.signed.body)

    @property
    def home(self) -> str:
        """The name that the device will have in its fleet."""
        return self.ticket.home

    @property
    def expires(self) -> int:
        """Unix time after which it does not hold, s."""
        return self.ticket.expires

    def to_text(self) -> str:
        """Return the file's text: a few lines for people, then what `from_text` reads."""
        lines = textwrap.wrap(encode_text(self.to_bytes(), ""), _WIDTH)
        return "\n".join(
            (
                f"# An invite for one device: it becomes the home {self.home}",
                f"# of the fleet {self.anchor.fleet.hex()} at {self.card.server}.",
                f"# It holds until {when(self.expires)}. Keep it secret until it is used.",
                f"# On the device: fedhome client join {self.home}{ENDING} --data SOURCE",
                _INVITE.strip(),
                *lines,
                "",
            )
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the invite that a file's text holds; lines that begin with ``#`` do not count.

        A damaged file is refused, and so is one that somebody without the inviter's key altered.
        Only the channel over which the file comes can show that it was replaced as a whole.

        Raises:
            DirectoryError: ``invite``, or ``name``: no home can be called so.
        """
        lines = (line.strip() for line in text.splitlines())
        body = [line for line in lines if line and not line.startswith("#")]
        try:
            invite = cls.from_bytes(decode_text(f"{body[0]} {''.join(body[1:])}", _INVITE))
            ticket = Ticket.verify(invite.signed, invite.inviter)
            whole = (
                ticket.fleet == invite.anchor.fleet
                and ticket.once == Signer(invite.secret).public
                and ticket.rest == _rest(invite.anchor, invite.card, invite.plan)
            )
        except (WireError, DirectoryError, IndexError):
            whole = False
        if not whole:
            raise DirectoryError(
                "this invite is damaged, or is none",
                reason="invite",
                hint=f"copy the owner's file whole and as it is; or {_AGAIN}",
            )
        check_name(ticket.home)
        return invite

    def check(self, now: float) -> None:
        """Refuse an invite that has expired.

        Args:
            now: Unix time, s.

        Raises:
            DirectoryError: ``expired``.
        """
        self.ticket.check_time(now)

    def enrolment(self, keys: HomeKeys, now: float, *, tier: str = "") -> bytes:
        """Return what the device posts to the server to become a home.

        Args:
            keys: The device's own, with the name that the invite gives it.
            now: Unix time, s.
            tier: Which slice of the model it carries, by the name of the plan's tier; empty: none.

        Raises:
            DirectoryError: ``expired``, or ``name``: keys of another home.
        """
        self.check(now)
        if keys.home != self.home:
            raise _another_name(keys.home, self.home)
        entry = signed_entry(keys, tier=tier)
        body = EnrolmentBody(ticket=self.signed, entry=entry, time=int(now)).to_bytes()
        signature = Signer(self.secret).sign(_ENROLMENT + body)
        return Signed(body=body, signature=signature).to_bytes()


@dataclass(frozen=True, kw_only=True)
class EnrolmentBody(Message, label="enrolment", most=MOST):
    """What a device posts to become a home, as it signs it.

    Args:
        ticket: The ticket that the owner gave it, with the inviter's signature.
        entry: Its name and public keys, with its own signature.
        time: Unix time, s.
    """

    ticket: Annotated[Signed, Signed.kind()]
    entry: Annotated[Signed, Signed.kind()]
    time: Annotated[int, number()]


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """A device's answer to an invite, verified.

    Args:
        entry: Its name and public keys.
        ticket: The ticket's number, 32 bytes.
        expires: Until when it may be admitted, Unix time in s.
        time: When the device made it, by its own clock, Unix time in s.
        data: As it came.
    """

    entry: HomeEntry
    ticket: bytes
    expires: int
    time: int
    data: bytes = field(repr=False)

    @property
    def home(self) -> str:
        """The home's name."""
        return self.entry.home

    @classmethod
    def verify(cls, data: bytes, inviter: bytes, fleet: bytes, now: float) -> Self:
        """Return an enrolment of whom the owner invited.

        Args:
            data: As `Invite.enrolment` wrote it.
            inviter: The inviter's public key.
            fleet: The fleet's number.
            now: Unix time, s.

        Raises:
            WireError: Bytes that are no enrolment.
            DirectoryError: ``fleet``; ``invite``: not of this fleet's inviter; ``signature``: not
                of whoever has the invite; ``entry``: keys that cannot be used; ``name``: not the
                one that the owner gave; ``expired``.
        """
        if len(data) > MOST:
            raise WireError("an enrolment is too long", reason="size")
        signed = Signed.from_bytes(data)
        body = EnrolmentBody.from_bytes(signed.body)
        if Ticket.from_bytes(body.ticket.body).fleet != fleet:
            raise DirectoryError(
                "this invite is one of another fleet",
                reason="fleet",
                hint="give each device the invite of the fleet whose server it names",
            )
        ticket = Ticket.verify(body.ticket, inviter)
        if not signature_holds(ticket.once, signed.signature, _ENROLMENT + signed.body):
            raise DirectoryError(
                f"an enrolment of {ticket.home!r} does not come from whoever was invited",
                reason="signature",
                hint=_AGAIN,
            )
        entry = verified_entry(body.entry)
        if entry.home != ticket.home:
            raise _another_name(entry.home, ticket.home)
        check_name(entry.home)
        ticket.check_time(now)
        return cls(
            entry=entry,
            ticket=ticket.once,
            expires=ticket.expires,
            time=body.time,
            data=data,
        )

    def check_time(self, now: float) -> None:
        """Refuse what was posted long ago, or comes from a clock that is off.

        Raises:
            DirectoryError: ``clock``.
        """
        check_clock(self.time, now, whose="the device's")


@dataclass(frozen=True, kw_only=True)
class EnrolmentResponse(Message, label="enrolled", most=128):
    """The server's response to an enrolment.

    Args:
        admitted: Whether the home is in the directory already; else it waits for the owner.
    """

    admitted: Flag


def _rest(anchor: Anchor, card: Card, plan: str) -> bytes:
    parts = (anchor.to_bytes(), card.to_bytes(), plan.encode())
    data = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hashlib.sha256(data).digest()


def _another_name(home: str, invited: str) -> DirectoryError:
    return DirectoryError(
        f"{home!r} has the invite of {invited!r}",
        reason="name",
        hint="a device takes the name that its invite gives it",
    )
