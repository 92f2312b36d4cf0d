"""What is newest, in the server's signed words: homes take part by nothing that is not fresh.

The fleet's owner signs a directory rarely, from a key that is offline. So the server says, each day
and whenever something changes: of this directory and this release I know none that is newer. A home
insists on such a statement, and on one of the last seven days. It does not make the server honest:
one that cheats can hold a new directory back until the last one expires. But it can do so only in
words that it has signed, nobody else can (with an old copy, or the key of its certificate alone),
and homes remember what they were told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fedhome.errors import DirectoryError, WireError
from fedhome.fleet.claims import SKEW_S
from fedhome.keys.signing import ServerKeys, signature_holds
from fedhome.registry.release import NONE
from fedhome.secagg.directory import Directory, Signed
from fedhome.wire.codec import Digest, Message, number, octets
from fedhome.wire.moments import when

FRESH_S = 7 * 86_400
"""For how long a home relies on a statement, s."""
MOST = 1024
"""Bytes of a statement, at most."""

_SIGNED = b"fedhome/freshness/1\0"


@dataclass(frozen=True, kw_only=True)
class Freshness(Message, label="freshness", most=MOST):
    """What the server has that is newest.

    Args:
        fleet: The fleet's number, 16 bytes.
        time: Unix time, s, at which the server said so.
        epoch: Epoch of its directory.
        directory: Hash of that.
        number: Number of its newest release; 0 before the first.
        release: Hash of that release's manifest; zeros before the first.
    """

    fleet: Annotated[bytes, octets(16)]
    time: Annotated[int, number()]
    epoch: Annotated[int, number()]
    directory: Digest
    number: Annotated[int, number()]
    release: Digest

    @classmethod
    def of(
        cls, directory: Directory, *, now: float, number: int = 0, release: bytes = NONE
    ) -> Self:
        """Return what is said of a directory and a release.

        Args:
            directory: The newest directory.
            now: Unix time, s.
            number: Number of the newest release; 0: there is none yet.
            release: Hash of its manifest.
        """
        return cls(
            fleet=directory.fleet,
            time=int(now),
            epoch=directory.epoch,
            directory=directory.hash,
            number=number,
            release=release,
        )

    def sign(self, keys: ServerKeys) -> bytes:
        """Return the statement as homes get it."""
        body = self.to_bytes()
        return Signed(body=body, signature=keys.sign(_SIGNED + body)).to_bytes()

    @classmethod
    def verify(
        cls, data: bytes, directory: Directory, *, now: float, clock: float | None = None
    ) -> Self:
        """Return a statement of the last days, about a home's own directory.

        Args:
            data: As `sign` wrote it.
            directory: The directory that the home has.
            now: Unix time, s; never before what the server has said already.
            clock: What the home's own clock shows, so that no server leads its time ahead step by
                step; None: the same.

        Raises:
            DirectoryError: ``freshness``: no statement; ``signature``: not of the server that the
                directory names; ``other-directory``: about another one; ``stale``; ``clock``:
                it is from the future.
        """
        try:
            signed = Signed.from_bytes(data, most=MOST)
            said = cls.from_bytes(signed.body)
        except WireError:
            raise DirectoryError(
                "the server does not say which directory and release are the newest",
                reason="freshness",
                hint="home and server must run the same release of fedhome",
            ) from None
        if not signature_holds(directory.server, signed.signature, _SIGNED + signed.body):
            raise DirectoryError(
                "what is said to be the newest is not signed by the server that the fleet's "
                "directory names",
                reason="signature",
                hint="a new directory may be on its way; else ask whoever runs the server",
            )
        if (said.fleet, said.epoch, said.directory) != (
            directory.fleet,
            directory.epoch,
            directory.hash,
        ):
            raise DirectoryError(
                f"the server's newest directory is of epoch {said.epoch}, and not the one of "
                f"epoch {directory.epoch} that this home has",
                reason="other-directory",
                hint="the home fetches it by itself when it connects again",
            )
        check_fresh(said.time, now)
        here = now if clock is None else clock
        if said.time > here + SKEW_S:
            raise DirectoryError(
                f"the server said on {when(said.time)} what is newest, and it is {when(here)} here",
                reason="clock",
                hint="set the clocks of home and server by the network (NTP)",
            )
        return said


def check_fresh(said: float, now: float) -> None:
    """Refuse to rely on what was said too long ago.

    Args:
        said: When the server signed it, Unix time in s; 0: never.
        now: Unix time, s.

    Raises:
        DirectoryError: ``stale``.
    """
    if now - said > FRESH_S:
        what = "which directory and release are the newest"
        raise DirectoryError(
            f"the server said {what} on {when(said)}, and that holds for {FRESH_S // 86_400} days"
            if said
            else f"the server has never said {what}",
            reason="stale",
            hint="it says so again when the home connects; set both clocks by the network (NTP)",
        )
