"""How a home binds its node to itself: a claim that its identity key signs.

Flower knows nodes by keys of their own. A claim says "this node's key is mine"; the server
registers the node only if the claim is signed by a home of the directory, and remembers it, so
that a message for a home goes to that home's node and to no other. A claim is good for a short
time; within it, to repeat one changes nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Annotated

from fedhome.errors import DirectoryError, WireError
from fedhome.installed_build import installed_build, without_build
from fedhome.keys.signing import signature_holds
from fedhome.reasons import NOTHING
from fedhome.secagg.directory import Directory, HomeKeys, Signed
from fedhome.wire.codec import Id, Message, number, octets
from fedhome.wire.moments import length, when

MOST = 2048
"""Bytes of a claim, at most."""
SKEW_S = 120
"""How far apart the clocks of server and home may be."""
AHEAD_S = 4
"""How far the clock of a home that joins may be ahead: Flower's own check takes less than 5 s,
by the time that a request needs (and up to 305 s behind)."""
_FAR_S = 7200
RETIRED = "retired"
"""Reason of a refusal: the home needs another key for its node."""

_SIGNED = b"fedhome/node/1\0"
_SAME_RELEASE = "update the older one: both must run the same release"


def installed_app() -> tuple[str, str]:
    """Return name and version of the app that comes with this release, as Flower names them."""
    return "fedhome/fedhome", version("fedhome")


@dataclass(frozen=True, kw_only=True)
class Claim(Message, label="claim", most=MOST):
    """What a home says about its node.

    Args:
        fleet: The fleet's number, 16 bytes.
        home: Its name.
        node_key: Public key of its node, PEM.
        time: Unix time, s.
        release: Its release of fedhome, and which build of it.
        refused: Why it did not connect the last time: a word of :data:`fedhome.reasons.CLAIMED`,
            or ``none``.
        saves: How often the home's state was saved: an older copy of it shows by this.
    """

    fleet: Annotated[bytes, octets(16)]
    home: Id
    node_key: Annotated[bytes, octets(most=1024)]
    time: Annotated[int, number()]
    release: Id
    refused: Id = NOTHING
    saves: Annotated[int, number()] = 0

    def sign(self, keys: HomeKeys) -> bytes:
        """Return the claim as the server gets it."""
        body = self.to_bytes()
        return Signed(body=body, signature=keys.sign(_SIGNED + body)).to_bytes()

    @classmethod
    def verify(cls, data: bytes, directory: Directory) -> Claim:
        """Return a claim that a home of the directory signed.

        Raises:
            WireError: Bytes that are no claim.
            DirectoryError: ``version``: a claim of a release whose claims say more, or less;
                ``fleet``, ``not-listed`` or ``signature``.
        """
        signed = Signed.from_bytes(data)
        try:
            claim = cls.from_bytes(signed.body)
        except WireError as error:
            if error.reason != "fields":
                raise
            _, said = cls.beginning(signed.body, 0)
            which = "an earlier" if said < len(fields(cls)) else "a later"
            raise DirectoryError(
                f"the home runs {which} release than the server's, {installed_build()}",
                reason="version",
                hint=_SAME_RELEASE,
            ) from None
        if claim.fleet != directory.fleet:
            raise DirectoryError("a home of another fleet wants to join", reason="fleet")
        entry = directory.entries.get(claim.home)
        if entry is None:
            raise DirectoryError(
                f"{claim.home!r} is not in the fleet's directory",
                reason="not-listed",
                hint="its owner admits it with `fedhome fleet admit`; if it was taken off the "
                "list, it needs a new invite",
            )
        if not signature_holds(entry.identity, signed.signature, _SIGNED + signed.body):
            raise DirectoryError(
                f"a claim of {claim.home!r} is not signed with its key",
                reason="signature",
                hint="the owner knows other keys of this home than it has",
            )
        return claim

    @classmethod
    def signer(cls, data: bytes, directory: Directory) -> str:
        """Return which home signed a claim of another release; empty for none of the directory.

        Raises:
            WireError: Bytes that are no claim of any release.
        """
        signed = Signed.from_bytes(data)
        (fleet, home), _ = cls.beginning(signed.body, 2)
        entry = directory.entries.get(home)
        if fleet != directory.fleet or entry is None:
            return ""
        held = signature_holds(entry.identity, signed.signature, _SIGNED + signed.body)
        return str(home) if held else ""

    def check_release(self, installed: str) -> None:
        """Refuse a home that runs another release than the server: it could not answer.

        Another build of the same release may.

        Args:
            installed: The server's release.

        Raises:
            DirectoryError: ``version``.
        """
        if without_build(self.release) != without_build(installed):
            raise DirectoryError(
                f"the home runs fedhome {self.release}, the server {installed}",
                reason="version",
                hint=_SAME_RELEASE,
            )

    def check_time(self, now: float | None = None) -> None:
        """Refuse an old claim, or one from a clock with which Flower would refuse the node.

        Raises:
            DirectoryError: ``clock``.
        """
        now = time.time() if now is None else now
        check_clock(self.time, now, whose="the home's", most_ahead_s=AHEAD_S)


@dataclass(frozen=True, kw_only=True)
class Welcome(Message, label="welcome", most=1 << 26):
    """The server's response to a claim.

    Args:
        node: The node's number.
        directory: The fleet's directory, signed by its owner.
        freshness: The server's word on what is newest (:mod:`fedhome.fleet.freshness`).
    """

    node: Annotated[int, number((1 << 64) - 1)]
    directory: Annotated[bytes, octets(most=1 << 26)]
    freshness: Annotated[bytes, octets(most=1024)]


def check_clock(then: float, now: float, *, whose: str, most_ahead_s: float = SKEW_S) -> None:
    """Refuse what was signed too long ago, or by a clock that is off.

    Args:
        then: When it was signed, Unix time in s.
        now: This machine's time, Unix time in s.
        whose: Whose clock ``then`` was read from.
        most_ahead_s: How far that clock may be ahead, s.

    Raises:
        DirectoryError: ``clock``.
    """
    ahead = then - now
    if not -SKEW_S <= ahead <= most_ahead_s:
        which = "ahead of" if ahead > 0 else "behind"
        apart, shown = f"{abs(ahead):.0f} s", ""
        if abs(ahead) >= _FAR_S:  # people see by the two times which of them is wrong
            apart, shown = length(abs(ahead)), f": {when(then)}, and there it is {when(now)}"
        raise DirectoryError(
            f"{whose} clock is {apart} {which} the server's{shown}",
            reason="clock",
            hint="set both clocks by the network (NTP)",
        )
