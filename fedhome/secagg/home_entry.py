"""What a fleet's directory says of one home: its public keys, and what its device carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Self

from fedhome.errors import WireError
from fedhome.wire.codec import Flag, Id, Key, Kind, Message, text

_MOST_TIER = 32  # bytes of a tier's name
_FIELDS_WITHOUT_TIER = 6  # label, version, home, identity, share, eligible


def _tier(value: object) -> object:
    return value if value == "" else text(_MOST_TIER).check(value)


@dataclass(frozen=True, kw_only=True)
class HomeEntry(Message, label="home", most=512):
    """A home of the directory.

    Args:
        home: Its name.
        identity: Ed25519 public key: what the home says is signed with it.
        share: X25519 public key: what is sealed for the home is sealed with it.
        eligible: Whether it may serve on the committee.
        tier: Which part of a sliced model its device carries, by the name of the plan's tier;
            empty: it has none, and carries what the smallest tier does.
    """

    home: Id
    identity: Key
    share: Key
    eligible: Flag
    tier: Annotated[str, Kind(_tier)] = ""

    def _plain(self) -> list[Any]:
        plain = super()._plain()
        return plain if self.tier else plain[:-1]  # as it was before devices had tiers

    @classmethod
    def _read(cls, plain: object) -> Self:
        if type(plain) is list and len(plain) == _FIELDS_WITHOUT_TIER:
            plain = [*plain, ""]
        elif type(plain) is list and plain[-1:] == [""]:
            raise WireError("an entry is not in its one form", reason="canonical")
        return super()._read(plain)
