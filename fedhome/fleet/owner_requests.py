"""A fleet owner's requests to the server, signed by the inviter's key.

The server tells nobody else who enrolled or wants to leave, and takes a directory from nobody
else; that the directory is the authority's is checked besides.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Annotated, Self

from fedhome.errors import DirectoryError, WireError
from fedhome.fleet.cards import Card, Inviter
from fedhome.fleet.claims import check_clock
from fedhome.fleet.front_requests import OWNER, ask
from fedhome.fleet.invites import MOST
from fedhome.keys.signing import signature_holds
from fedhome.secagg.directory import Signed
from fedhome.wire.codec import Id, Message, number, octets, several

PENDING, TAKE = "pending", "directory"
MOST_REQUEST = 40 << 20
"""Bytes of a request, at most: a directory of all homes that there may be has 20 MB."""
MOST_PENDING = 10_000
"""Enrolments that wait for the owner, at most, and as many leave notices."""

PERMIT = "fedhome-permit"
"""The header in which a request of the owner says what comes, so that nobody else's is read."""

_OWNER, _PERMIT = b"fedhome/owner/1\0", b"fedhome/owner-permit/1\0"


@dataclass(frozen=True, kw_only=True)
class OwnerRequest(Message, label="owner-request", most=MOST_REQUEST):
    """A request of the owner.

    Args:
        fleet: The fleet's number, 16 bytes.
        what: ``pending`` (who waits?) or ``directory`` (take this one).
        time: Unix time, s.
        body: The signed directory; else empty.
    """

    fleet: Annotated[bytes, octets(16)]
    what: Id
    time: Annotated[int, number()]
    body: Annotated[bytes, octets(most=MOST_REQUEST)]

    def sign(self, inviter: Inviter) -> bytes:
        """Return the request as the server gets it."""
        body = self.to_bytes()
        return Signed(body=body, signature=inviter.sign(_OWNER + body)).to_bytes()

    @classmethod
    def verify(cls, data: bytes, inviter: bytes, fleet: bytes, now: float) -> Self:
        """Return a request of the fleet's owner.

        Args:
            data: As `sign` wrote it.
            inviter: The inviter's public key.
            fleet: The fleet's number.
            now: Unix time, s.

        Raises:
            WireError: Bytes that are no request.
            DirectoryError: ``signature``, ``fleet`` or ``clock``.
        """
        request = cls.from_bytes(_signed_body(data, inviter, _OWNER))
        _check_address(request.fleet, request.time, fleet, now)
        return request


@dataclass(frozen=True, kw_only=True)
class OwnerPermit(Message, label="owner-permit", most=256):
    """What goes ahead of a request of the owner, in a header: the server reads no other's body.

    Args:
        fleet: The fleet's number, 16 bytes.
        time: Unix time, s.
        size: Bytes of the request.
    """

    fleet: Annotated[bytes, octets(16)]
    time: Annotated[int, number()]
    size: Annotated[int, number(MOST_REQUEST)]

    def sign(self, inviter: Inviter) -> str:
        """Return the header's value."""
        body = self.to_bytes()
        signed = Signed(body=body, signature=inviter.sign(_PERMIT + body))
        return b64encode(signed.to_bytes()).decode("ascii")

    @classmethod
    def verify(cls, text: bytes, inviter: bytes, fleet: bytes, now: float) -> Self:
        """Return a permit of the fleet's owner.

        Args:
            text: The header's value.
            inviter: The inviter's public key.
            fleet: The fleet's number.
            now: Unix time, s.

        Raises:
            WireError: No permit.
            DirectoryError: ``signature``, ``fleet`` or ``clock``.
        """
        try:
            data = b64decode(text, validate=True)
        except ValueError:
            raise WireError("a permit is no base64", reason="malformed") from None
        permit = cls.from_bytes(_signed_body(data, inviter, _PERMIT))
        _check_address(permit.fleet, permit.time, fleet, now)
        return permit


def _signed_body(data: bytes, inviter: bytes, label: bytes) -> bytes:
    """Return what the fleet's owner has signed.

    Raises:
        WireError: Bytes that are nothing signed.
        DirectoryError: ``signature``.
    """
    signed = Signed.from_bytes(data)
    if not signature_holds(inviter, signed.signature, label + signed.body):
        raise DirectoryError(
            "a request is not signed by this fleet's owner",
            reason="signature",
            hint="copy the owner's server/inviter.pub to the server, as fleet/inviter.pub",
        )
    return signed.body


def _check_address(found: bytes, time: int, fleet: bytes, now: float) -> None:
    """Refuse what is meant for another fleet, or another time.

    Raises:
        DirectoryError: ``fleet`` or ``clock``.
    """
    if found != fleet:
        raise DirectoryError("a request is for another fleet's server", reason="fleet")
    check_clock(time, now, whose="the owner's")


@dataclass(frozen=True, kw_only=True)
class PendingApplications(Message, label="pending", most=1 << 27):
    """Who waits for the owner.

    Args:
        epoch: Epoch of the directory that the server has; 0 for none.
        enrolments: As homes posted them.
        notices: Of homes that want to leave, as they posted them.
    """

    epoch: Annotated[int, number()]
    enrolments: Annotated[tuple[bytes, ...], several(octets(most=MOST), most=MOST_PENDING)]
    notices: Annotated[tuple[bytes, ...], several(octets(most=MOST), most=MOST_PENDING)]


def pending(card: Card, inviter: Inviter, *, fleet: bytes, now: float) -> PendingApplications:
    """Ask the server who waits.

    Args:
        card: How the server is reached.
        inviter: The owner's everyday key.
        fleet: The fleet's number.
        now: Unix time, s.

    Raises:
        LinkError: The server cannot be reached, or refuses.
        WireError: Its response makes no sense.
    """
    request = OwnerRequest(fleet=fleet, what=PENDING, time=int(now), body=b"")
    return PendingApplications.from_bytes(_ask(card, inviter, request))


def send(card: Card, inviter: Inviter, *, fleet: bytes, directory: bytes, now: float) -> None:
    """Give the server a signed directory.

    Args:
        card: How the server is reached.
        inviter: The owner's everyday key.
        fleet: The fleet's number.
        directory: As the authority signed it.
        now: Unix time, s.

    Raises:
        LinkError: The server cannot be reached, or refuses.
    """
    _ask(card, inviter, OwnerRequest(fleet=fleet, what=TAKE, time=int(now), body=directory))


def _ask(card: Card, inviter: Inviter, request: OwnerRequest) -> bytes:
    body = request.sign(inviter)
    permit = OwnerPermit(fleet=request.fleet, time=request.time, size=len(body))
    return ask(card.server, card.authorities, OWNER, body, {PERMIT: permit.sign(inviter)})
