"""A home leaves its fleet: the notice that it signs, for the fleet's owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fedhome.errors import DirectoryError, WireError
from fedhome.fleet.claims import check_clock
from fedhome.keys.signing import signature_holds
from fedhome.secagg.directory import HomeKeys, Signed
from fedhome.secagg.home_entry import HomeEntry
from fedhome.wire.codec import Id, Message, number, octets

_MOST = 4096
_LEAVE = b"fedhome/leave/1\0"
_NOT_KNOWN = "nothing is left to do: the fleet does not know this home under its key"


@dataclass(frozen=True, kw_only=True)
class Leave(Message, label="leave", most=1024):
    """A home's notice that it wants to leave its fleet.

    Args:
        fleet: The fleet's number, 16 bytes.
        home: Its name.
        time: Unix time, s.
    """

    fleet: Annotated[bytes, octets(16)]
    home: Id
    time: Annotated[int, number()]

    @classmethod
    def verify(cls, data: bytes, fleet: bytes, *entries: HomeEntry) -> Self:
        """Return a notice that one of the homes signed.

        Args:
            data: As `leave_notice` wrote it.
            fleet: The fleet's number.
            entries: Homes that may leave.

        Raises:
            WireError: Bytes that are no notice.
            DirectoryError: ``fleet``, ``not-listed`` or ``signature``.
        """
        if len(data) > _MOST:
            raise WireError("a leave notice is too long", reason="size")
        signed = Signed.from_bytes(data)
        notice = cls.from_bytes(signed.body)
        if notice.fleet != fleet:
            raise DirectoryError("a home of another fleet wants to leave", reason="fleet")
        named = [entry for entry in entries if entry.home == notice.home]
        if not named:
            raise DirectoryError(
                f"{notice.home!r} is not in this fleet", reason="not-listed", hint=_NOT_KNOWN
            )
        message = _LEAVE + signed.body
        if not any(signature_holds(one.identity, signed.signature, message) for one in named):
            raise DirectoryError(
                f"a notice of {notice.home!r} is not signed with its key",
                reason="signature",
                hint=_NOT_KNOWN,
            )
        return notice

    def check_time(self, now: float) -> None:
        """Refuse an old notice, or one from a clock that is off.

        Raises:
            DirectoryError: ``clock``.
        """
        check_clock(self.time, now, whose="the home's")


def leave_notice(fleet: bytes, keys: HomeKeys, now: float) -> bytes:
    """Return what a home posts to the server to leave its fleet.

    Args:
        fleet: The fleet's number, 16 bytes.
        keys: The home's keys.
        now: Unix time, s.
    """
    body = Leave(fleet=fleet, home=keys.home, time=int(now)).to_bytes()
    return Signed(body=body, signature=keys.sign(_LEAVE + body)).to_bytes()
