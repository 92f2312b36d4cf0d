"""How a home asks its server for the newest release, and what it gets: the request is signed.

Models are for the homes of the fleet alone. A request is good for a short time; whoever repeats one
meanwhile gets what the home itself gets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from fedhome.errors import DirectoryError
from fedhome.fleet.claims import check_clock
from fedhome.fleet.freshness import MOST as MOST_FRESHNESS
from fedhome.fleet.server_move import MOST as MOST_MOVE
from fedhome.keys.signing import signature_holds
from fedhome.registry.release import NONE
from fedhome.secagg.directory import Directory, HomeKeys, Signed
from fedhome.wire.codec import Digest, Id, Message, number, octets, several

MOST = 1024
"""Bytes of a request, at most."""
MOST_MISSED = 256
"""Manifests of missed releases in one response, at most: a home asks again for the rest."""
MOST_MANIFEST = 1 << 14
"""Bytes of a signed manifest, at most."""
MOST_RELEASE = (1 << 26) + 64
"""Bytes of a release, at most."""

_SIGNED = b"fedhome/fetch/1\0"


@dataclass(frozen=True, kw_only=True)
class Fetch(Message, label="fetch", most=MOST):
    """A home asks whether there is a newer release than its own.

    Args:
        fleet: The fleet's number, 16 bytes.
        home: Its name.
        have: Hash of the manifest of the release that it has; zeros for none.
        seen: Number of the last release that it knows; 0 for none. It may be after the one that it
            has: after a crash, or where releases were missed.
        time: Unix time, s.
        saves: How often the home's state was saved: an older copy of it shows by this.
    """

    fleet: Annotated[bytes, octets(16)]
    home: Id
    have: Digest
    seen: Annotated[int, number()]
    time: Annotated[int, number()]
    saves: Annotated[int, number()] = 0

    @classmethod
    def of(
        cls, keys: HomeKeys, fleet: bytes, have: bytes | None, seen: int = 0, saves: int = 0
    ) -> Fetch:
        """Return a home's request, as of now.

        Args:
            keys: The home's keys.
            fleet: The fleet's number.
            have: Hash of the manifest of the release that it has; None: it has none.
            seen: Number of the last release that it knows; 0: it knows none.
            saves: How often its state was saved.
        """
        return cls(
            fleet=fleet,
            home=keys.home,
            have=have or NONE,
            seen=seen,
            time=int(time.time()),
            saves=saves,
        )

    def sign(self, keys: HomeKeys) -> bytes:
        """Return the request as the server gets it."""
        body = self.to_bytes()
        return Signed(body=body, signature=keys.sign(_SIGNED + body)).to_bytes()

    @classmethod
    def verify(cls, data: bytes, directory: Directory, now: float | None = None) -> Fetch:
        """Return a request that a home of the directory signed just now.

        Args:
            data: As `sign` wrote it.
            directory: The fleet's directory.
            now: Unix time, s; None: this machine's.

        Raises:
            WireError: Bytes that are no request.
            DirectoryError: ``fleet``, ``not-listed``, ``signature`` or ``clock``.
        """
        signed = Signed.from_bytes(data, most=MOST)
        fetch = cls.from_bytes(signed.body)
        if fetch.fleet != directory.fleet:
            raise DirectoryError("a home of another fleet asks for a model", reason="fleet")
        entry = directory.entries.get(fetch.home)
        if entry is None:
            raise DirectoryError(
                f"{fetch.home!r} is not in the fleet's directory",
                reason="not-listed",
                hint="models are for the homes of the fleet: its owner admits a home",
            )
        if not signature_holds(entry.identity, signed.signature, _SIGNED + signed.body):
            raise DirectoryError(
                f"a request of {fetch.home!r} is not signed with its key",
                reason="signature",
                hint="the owner knows other keys of this home than it has",
            )
        check_clock(fetch.time, time.time() if now is None else now, whose="the home's")
        return fetch


@dataclass(frozen=True, kw_only=True)
class ReleaseResponse(Message, label="release-response", most=1 << 27):
    """What the server has for a home.

    Args:
        freshness: The server's word on what is newest (:mod:`fedhome.fleet.freshness`).
        missed: Signed manifests of the releases after the last one that the home knows, in order;
            the release itself follows once they are all there.
        release: The newest release, as `fedhome.registry.Registry.package` returns it; empty where
            the home has it, or has to ask for more manifests first.
        moved: The owner's word on where the server moves (:mod:`fedhome.fleet.server_move`); empty:
            nowhere.
    """

    freshness: Annotated[bytes, octets(most=MOST_FRESHNESS)]
    missed: Annotated[tuple[bytes, ...], several(octets(most=MOST_MANIFEST), most=MOST_MISSED)]
    release: Annotated[bytes, octets(most=MOST_RELEASE)]
    moved: Annotated[bytes, octets(most=MOST_MOVE)] = b""
