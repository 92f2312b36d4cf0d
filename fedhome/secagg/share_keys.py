"""Keys that live for hours: what is sealed for a member cannot be opened once they are gone.

A home draws a secret for each period. From it follow the key that others seal their shares for,
where the home is a member, and the keys by which it seals its own. A period later the secret is
erased, so whoever takes all keys of all parties then opens nothing that was recorded before.

A member signs its key of a period with its identity; the server passes these keys on as a ring.
It can hold a key back, which keeps a member from helping, and can invent none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedhome.errors import BundleError
from fedhome.keys.derivation import hkdf
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg.directory import MOST_MEMBERS, Directory, HomeKeys
from fedhome.wire.codec import Digest, Id, Key, Message, Signature, number, several

PERIOD_S = 43_200
"""Length of a period, s. A secret is erased one period after its own has ended, or sooner."""
SECRET_BYTES = 32
_MOST_PERIOD = (1 << 32) - 1
_SHARE, _SEAL, _SIGNED = b"fedhome/share-key/1\0", b"fedhome/seal-key/1\0", b"fedhome/ring/1\0"


def period_of(now: float) -> int:
    """Return the number of the period at a Unix time in s."""
    return min(max(0, int(now // PERIOD_S)), _MOST_PERIOD)


def is_live(period: int, now: float) -> bool:
    """Return whether secrets of a period are kept at a time: its own, and those beside it."""
    return abs(period - period_of(now)) <= 1


def kept(secrets: Mapping[int, bytes], now: float) -> dict[int, bytes]:
    """Return the secrets that are not to be erased yet, by period."""
    return {period: secret for period, secret in secrets.items() if is_live(period, now)}


def with_period(secrets: Mapping[int, bytes], now: float) -> dict[int, bytes]:
    """Return the secrets that are kept, with one of the present period; drawn where it lacks."""
    live = kept(secrets, now)
    live.setdefault(period_of(now), os.urandom(SECRET_BYTES))
    return dict(sorted(live.items()))


def member_key(secret: bytes, directory: bytes) -> X25519PrivateKey:
    """Return the key that others seal shares for, of a member's period.

    Args:
        secret: Of the member's period.
        directory: Hash of the directory.
    """
    return X25519PrivateKey.from_private_bytes(hkdf(secret, directory, _SHARE))


def sealing_key(secret: bytes, directory: bytes, member: str) -> X25519PrivateKey:
    """Return the key by which a home seals what is for one member: for each another one.

    So it can be shown to settle a dispute with this member, and tells nothing of the others.

    Args:
        secret: Of the home's period.
        directory: Hash of the directory.
        member: The member's name.
    """
    return X25519PrivateKey.from_private_bytes(hkdf(secret, directory, _SEAL + member.encode()))


@dataclass(frozen=True, kw_only=True)
class ShareKey(Message, label="share-key", most=1024):
    """A member's key of one period.

    Args:
        directory: Hash of the directory whose committee it serves on.
        member: Its name.
        period: Number of the period.
        key: X25519 public key.
        signature: The member's identity's.
    """

    directory: Digest
    member: Id
    period: Annotated[int, number(_MOST_PERIOD)]
    key: Key
    signature: Signature

    @classmethod
    def of(cls, keys: HomeKeys, directory: bytes, period: int, secret: bytes) -> ShareKey:
        """Return a member's key, signed.

        Args:
            keys: The member's.
            directory: Hash of the directory.
            period: Number of the period.
            secret: The member's of this period.
        """
        bare = cls(
            directory=directory,
            member=keys.home,
            period=period,
            key=member_key(secret, directory).public_key().public_bytes_raw(),
            signature=bytes(64),
        )
        return replace(bare, signature=keys.sign(bare.statement))

    @property
    def statement(self) -> bytes:
        """What the member signs."""
        period = self.period.to_bytes(4, "big")
        return b"".join((_SIGNED, self.directory, period, self.key, self.member.encode()))

    def check(self, directory: Directory, *, verify: Verify = signature_holds) -> None:
        """Refuse a key that is no member's.

        Raises:
            BundleError: ``ring``.
        """
        entry = directory.entries.get(self.member)
        if self.directory != directory.hash or self.member not in directory.members:
            raise BundleError(f"a share key of {self.member} is no member's", reason="ring")
        assert entry is not None, "members are homes"
        if not verify(entry.identity, self.signature, self.statement):
            raise BundleError(f"a share key of {self.member} is not signed by it", reason="ring")
        try:
            _PROBE.exchange(X25519PublicKey.from_public_bytes(self.key))
        except ValueError:
            raise BundleError(
                f"the share key of {self.member} cannot be used", reason="ring"
            ) from None


@dataclass(frozen=True, kw_only=True)
class KeyRing(Message, label="ring", most=1 << 20):
    """The share keys of the members that are there, in the committee's order.

    Args:
        keys: One of each.
    """

    keys: Annotated[tuple[ShareKey, ...], several(ShareKey.kind(), most=MOST_MEMBERS)]

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the ring, 32 bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    @cached_property
    def by_member(self) -> dict[str, ShareKey]:
        """Each member's key."""
        return {key.member: key for key in self.keys}

    def is_live(self, now: float) -> bool:
        """Return whether all its keys are still kept by their members."""
        return all(is_live(period, now) for period in self._periods)

    @cached_property
    def _periods(self) -> frozenset[int]:
        return frozenset(key.period for key in self.keys)

    def check(self, directory: Directory, now: float, *, verify: Verify = signature_holds) -> None:
        """Refuse a ring for which a home would seal in vain, or for too long.

        Raises:
            BundleError: ``ring`` (a key is no member's, or twice, or they are not in order),
                ``ring-size``
                (fewer than open a sum) or ``ring-period``.
        """
        order = {member: place for place, member in enumerate(directory.members)}
        places = [order.get(key.member, -1) for key in self.keys]
        if places != sorted(set(places)) or -1 in places:
            raise BundleError("a ring's keys are not in the committee's order", reason="ring")
        if len({key.key for key in self.keys}) < len(self.keys):
            raise BundleError("a member's key is another's too", reason="ring")
        if len(places) < directory.threshold:
            raise BundleError(
                f"a ring holds keys of {len(places)} members, {directory.threshold} open a sum",
                reason="ring-size",
            )
        if not self.is_live(now):
            raise BundleError(
                "a ring holds a key of another time than this home's clock shows",
                reason="ring-period",
                hint="set the clocks of home, members and server",
            )
        for key in self.keys:
            key.check(directory, verify=verify)


_PROBE = X25519PrivateKey.generate()
