"""Where a fleet's server will be found: the owner's signed word, which the server hands to homes.

Homes know their server by the address on the card of their invite. Whoever moves it lets the owner
sign the new address while the server is still at the old one; homes keep it beside the first, and
try both. The certificate's authority stays: a server that moves takes its folder along. A server
alone can lead no home away, since the word needs the keys that sign directories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fedhome.errors import DirectoryError, WireError
from fedhome.keys.roots import MOST_KEYS, CoSignature, Root
from fedhome.keys.signing import Signer
from fedhome.wire.codec import Id, Message, number, octets, several

MOVE = "move.fh"
"""Its file, in the owner's folder, in ``fleet/`` of the server's and in a home's."""
MOST = 8192
"""Bytes of a signed move, at most."""

_SIGNED = b"fedhome/server-move/1\0"


@dataclass(frozen=True, kw_only=True)
class ServerMove(Message, label="server-move", most=1024):
    """Where the server will be.

    Args:
        fleet: The fleet's number, 16 bytes.
        time: When it was signed, Unix time in s: of two, the later one counts.
        server: ``host:port`` of its front.
    """

    fleet: Annotated[bytes, octets(16)]
    time: Annotated[int, number()]
    server: Id

    def sign(self, authority: Signer, root: Root) -> bytes:
        """Return the word as homes get it.

        Args:
            authority: The owner's key of this machine.
            root: The owner's keys.

        Raises:
            DirectoryError: ``threshold``: it takes more keys than this one.
        """
        if root.threshold > 1:
            raise DirectoryError(
                f"it takes {root.threshold} of the owner's keys, and a move is signed by one",
                reason="threshold",
                hint="ask the homes anew, with the new card: `fedhome fleet invite HOME --again "
                "--server CARD`",
            )
        body = self.to_bytes()
        signatures = (CoSignature.of(authority, _SIGNED + body),)
        return _SignedMove(body=body, signatures=signatures).to_bytes()

    @classmethod
    def verify(cls, data: bytes, root: Root) -> Self:
        """Return a move that enough of the owner's keys signed.

        Args:
            data: As `sign` wrote it.
            root: The owner's newest keys that a home knows.

        Raises:
            DirectoryError: ``format``: no move; ``fleet``; or ``signature``.
        """
        try:
            signed = _SignedMove.from_bytes(data)
            move = cls.from_bytes(signed.body)
        except WireError:
            raise DirectoryError(
                "what should say where the server moves cannot be read", reason="format"
            ) from None
        if move.fleet != root.fleet:
            raise DirectoryError("another fleet's server moves", reason="fleet")
        if not root.holds(_SIGNED + signed.body, signed.signatures):
            raise DirectoryError(
                "the word that the server moves is not signed by the fleet's owner",
                reason="signature",
                hint="the owner signs it anew: `fedhome fleet move`",
            )
        return move


@dataclass(frozen=True, kw_only=True)
class _SignedMove(Message, label="signed-server-move", most=MOST):
    """A move with signatures."""

    body: Annotated[bytes, octets(most=1024)]
    signatures: Annotated[tuple[CoSignature, ...], several(CoSignature.kind(), most=MOST_KEYS)]
