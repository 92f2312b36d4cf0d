"""How a fleet's owner, its server and its devices know each other: two lines of public text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from fedhome.errors import DirectoryError, WireError
from fedhome.fleet.entries import decode_text, encode_text
from fedhome.keys.sealing import KEY_BYTES
from fedhome.keys.signing import Signer
from fedhome.wire.codec import Id, Message, octets

_CARD, _INVITER = "fedhome-server-1 ", "fedhome-inviter-1:"


class Inviter(Signer):
    """The owner's everyday key: it signs invites, and the owner's requests to the server.

    It lies unsealed in the owner's folder. It cannot sign directories: a thief of it could make
    tickets, but the owner admits none that is not in the owner's own list.
    """

    def public_text(self) -> str:
        """Return the public half as a line of text, as in ``inviter.pub``."""
        return encode_text(self.public, _INVITER)

    @staticmethod
    def read_public(text: str) -> bytes:
        """Return the public half that a line of text holds, 32 bytes.

        Raises:
            DirectoryError: ``inviter``.
        """
        try:
            public = decode_text(text, _INVITER)
        except WireError:
            public = b""
        if len(public) != KEY_BYTES:
            raise DirectoryError(
                "this is no inviter's public key",
                reason="inviter",
                hint="hand over the owner's file server/inviter.pub as it is",
            )
        return public


@dataclass(frozen=True, kw_only=True)
class Card(Message, label="server-card", most=1 << 17):
    """How a server is reached, and known; public.

    Args:
        server: ``host:port`` of its front.
        authorities: Certificates that the server's is checked against, PEM.
    """

    server: Id
    authorities: Annotated[bytes, octets(most=1 << 16)]

    def to_text(self) -> str:
        """Return a line of text, as in ``server.card``."""
        return encode_text(self.to_bytes(), _CARD)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the card that a line of text holds.

        Raises:
            DirectoryError: ``card``.
        """
        try:
            return cls.from_bytes(decode_text(text, _CARD))
        except WireError as error:
            raise DirectoryError(
                f"this is no card of a server: {error.message}",
                reason="card",
                hint="hand over the server's file server.card as it is",
            ) from None
