"""Who is in the fleet: the directory that the fleet's owner signs, and the keys of each party.

The authority's key is kept by the fleet's owner and never by the server: a server that could
sign directories could put homes of its own invention around a real one.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedhome.errors import DirectoryError
from fedhome.keys.signing import Signer, Verify, signature_holds
from fedhome.secagg.graph import committee
from fedhome.wire.codec import Digest, Flag, Id, Key, Message, Signature, number, octets, several

MOST_HOMES = 100_000
MOST_MEMBERS = 4096


class Authority(Signer):
    """The key of the fleet's owner: it signs directories. It does not belong on the server."""

    def issue(self, directory: Directory) -> bytes:
        """Return the directory as homes and server accept it: with this key's signature.

        Raises:
            DirectoryError: A reason of `Directory.check`, or ``share-key``: of a home with which
                every other would share one known secret.
        """
        directory.check()
        probe = X25519PrivateKey.generate()
        for entry in directory.homes:
            try:
                probe.exchange(X25519PublicKey.from_public_bytes(entry.share))
            except ValueError:
                raise DirectoryError(
                    f"the share key of {entry.home} cannot be used", reason="share-key"
                ) from None
        body = directory.to_bytes()
        return Signed(body=body, signature=self.sign(body)).to_bytes()


class HomeKeys:
    """A home's two long-lived keys: one signs, one opens what other homes sealed for it.

    Args:
        home: The home's name in the fleet.
        identity: Ed25519 private key, 32 bytes.
        share: X25519 private key, 32 bytes.
    """

    def __init__(self, home: str, identity: bytes, share: bytes) -> None:
        self.home = home
        self._identity = Signer(identity)
        self.share_key = X25519PrivateKey.from_private_bytes(share)

    def __repr__(self) -> str:
        return f"HomeKeys({self.home!r})"

    @classmethod
    def create(cls, home: str) -> HomeKeys:
        """Return new keys from the operating system's randomness."""
        return cls(home, os.urandom(32), os.urandom(32))

    def entry(self, *, eligible: bool = True) -> HomeEntry:
        """Return what the directory says of this home: public keys only."""
        return HomeEntry(
            home=self.home,
            identity=self._identity.public,
            share=self.share_key.public_key().public_bytes_raw(),
            eligible=eligible,
        )

    def sign(self, message: bytes) -> bytes:
        """Return a signature of the home, 64 bytes."""
        return self._identity.sign(message)

    def to_bytes(self) -> bytes:
        """Return both private keys; **store them encrypted**."""
        return _StoredKeys(
            home=self.home,
            identity=self._identity.to_bytes(),
            share=self.share_key.private_bytes_raw(),
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> HomeKeys:
        """Return the keys that `to_bytes` wrote.

        Raises:
            WireError: Any other bytes.
        """
        stored = _StoredKeys.from_bytes(data)
        return cls(stored.home, stored.identity, stored.share)


@dataclass(frozen=True, kw_only=True, repr=False)
class _StoredKeys(Message, label="keys", most=512):
    home: Id
    identity: Key
    share: Key


@dataclass(frozen=True, kw_only=True)
class Signed(Message, label="signed", most=1 << 26):
    """Bytes of a message with a signature of them."""

    body: Annotated[bytes, octets(most=1 << 26)]
    signature: Signature


@dataclass(frozen=True, kw_only=True)
class HomeEntry(Message, label="home", most=512):
    """A home of the directory.

    Args:
        home: Its name.
        identity: Ed25519 public key: what the home says is signed with it.
        share: X25519 public key: what is sealed for the home is sealed with it.
        eligible: Whether it may serve on the committee.
    """

    home: Id
    identity: Key
    share: Key
    eligible: Flag


@dataclass(frozen=True, kw_only=True)
class Directory(Message, label="directory", most=1 << 25):
    """The homes of an epoch, and the committee that opens its sums.

    Args:
        fleet: The fleet's number, 16 bytes.
        epoch: Number of this directory; homes accept no lower one than they have seen.
        seed: 32 random bytes, drawn after the homes' names were known: from them follow the
            committee, the groups and the masking graph.
        server: The server's Ed25519 public key.
        committee: How many eligible homes serve.
        corrupt: How many of them may work for an attacker without any promise breaking.
        threshold: How many must answer; homes make one-time keys for this number.
        homes: All homes, sorted by name.
    """

    fleet: Annotated[bytes, octets(16)]
    epoch: Annotated[int, number()]
    seed: Digest
    server: Key
    committee: Annotated[int, number(MOST_MEMBERS, least=1)]
    corrupt: Annotated[int, number(MOST_MEMBERS)]
    threshold: Annotated[int, number(MOST_MEMBERS, least=1)]
    homes: Annotated[tuple[HomeEntry, ...], several(HomeEntry.kind(), most=MOST_HOMES)]

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the directory, 32 bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all homes, sorted."""
        return tuple(entry.home for entry in self.homes)

    @cached_property
    def entries(self) -> dict[str, HomeEntry]:
        """Each home's entry by name."""
        return {entry.home: entry for entry in self.homes}

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The committee, in the order of their share numbers."""
        return committee(self.seed, self._eligible, self.committee)

    @cached_property
    def eligible(self) -> int:
        """How many homes may serve on the committee."""
        return len(self._eligible)

    @property
    def _eligible(self) -> list[str]:
        return [entry.home for entry in self.homes if entry.eligible]

    @classmethod
    def verify(
        cls,
        data: bytes,
        authority: bytes,
        *,
        last: tuple[int, bytes] | None = None,
        verify: Verify = signature_holds,
    ) -> Directory:
        """Return a directory that the authority signed.

        Args:
            data: As `Authority.issue` wrote it.
            authority: The authority's public key, which a home got when it enrolled.
            last: Epoch and hash of the last directory that was accepted.
            verify: How signatures are checked.

        Raises:
            WireError: Bytes that are no directory.
            DirectoryError: ``signature``, ``older`` or ``fork`` (a second directory of one
                epoch); ``homes`` or ``committee`` if what was signed makes no sense.
        """
        signed = Signed.from_bytes(data)
        if not verify(authority, signed.signature, signed.body):
            raise DirectoryError(
                "the directory is not signed by the fleet's authority",
                reason="signature",
                hint="compare the authority's key with the one that this home was enrolled with",
            )
        directory = cls.from_bytes(signed.body)
        directory.check()
        if last is not None:
            epoch, digest = last
            if directory.epoch < epoch:
                raise DirectoryError(
                    f"a directory of epoch {directory.epoch} came after one of {epoch}",
                    reason="older",
                )
            if directory.epoch == epoch and directory.hash != digest:
                raise DirectoryError(
                    f"two different directories of epoch {epoch} are signed", reason="fork"
                )
        return directory

    def check(self) -> None:
        """Refuse a directory whose parts do not fit together, whoever signed it.

        Raises:
            DirectoryError: ``homes``: unsorted, or a name or key twice; ``committee``: one that
                two halves of the fleet could make contradict itself (twice the threshold must
                exceed committee and corrupt members together).
        """
        if any(a >= b for a, b in pairwise(self.names)):
            raise DirectoryError("the homes of a directory are not sorted", reason="homes")
        keys = [key for entry in self.homes for key in (entry.identity, entry.share)]
        if len({*keys, self.server}) != len(keys) + 1:
            raise DirectoryError("a key is twice in the directory", reason="homes")
        if not (
            self.threshold <= self.committee <= self.eligible
            and 2 * self.threshold > self.committee + self.corrupt
        ):
            raise DirectoryError(
                f"a committee of {self.committee} with {self.corrupt} corrupt and threshold "
                f"{self.threshold} does not hold for {self.eligible} eligible homes",
                reason="committee",
            )
