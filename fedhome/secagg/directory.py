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
from typing import Annotated, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedhome.errors import DirectoryError, WireError
from fedhome.keys.roots import MOST_KEYS, MOST_ROOTS, MOST_SIGNED, CoSignature, Root, walk
from fedhome.keys.signing import Signer, Verify, signature_holds
from fedhome.secagg.graph import committee
from fedhome.secagg.home_entry import HomeEntry
from fedhome.wire.codec import Digest, Id, Key, Message, Signature, number, octets, several
from fedhome.wire.moments import when

MOST_HOMES = 100_000
MOST_MEMBERS = 4096
MOST_SKIPPED = 1000
"""How far ahead of the last directory that a home has the next one may be, in epochs."""
MOST_FIRST = 1_000_000
"""Highest epoch of the first directory that a home accepts."""
NO_DIRECTORY = bytes(32)
"""The hash before the first directory."""


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
    def create(cls, home: str) -> Self:
        """Return new keys from the operating system's randomness."""
        return cls(home, os.urandom(32), os.urandom(32))

    def entry(self, *, eligible: bool = True, tier: str = "") -> HomeEntry:
        """Return what the directory says of this home: public keys, and its tier."""
        return HomeEntry(
            home=self.home,
            identity=self._identity.public,
            share=self.share_key.public_key().public_bytes_raw(),
            eligible=eligible,
            tier=tier,
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
class CoSigned(Message, label="co-signed", most=1 << 26):
    """Bytes of a directory with signatures of several keys, and how homes come to trust those.

    Args:
        roots: Signed roots after the first, in order (:mod:`fedhome.keys.roots`).
        body: What is signed.
        signatures: Of keys of the last root.
    """

    roots: Annotated[tuple[bytes, ...], several(octets(most=MOST_SIGNED), most=MOST_ROOTS)]
    body: Annotated[bytes, octets(most=1 << 25)]
    signatures: Annotated[tuple[CoSignature, ...], several(CoSignature.kind(), most=MOST_KEYS)]

    def with_signature(self, signer: Signer) -> CoSigned:
        """Return it with one more signature; the same once more changes nothing."""
        added = CoSignature.of(signer, self.body)
        others = tuple(one for one in self.signatures if one.key != added.key)
        return CoSigned(roots=self.roots, body=self.body, signatures=(*others, added))


@dataclass(frozen=True, kw_only=True)
class Directory(Message, label="directory/2", most=1 << 25):
    """The homes of an epoch, and the committee that opens its sums.

    Args:
        fleet: The fleet's number, 16 bytes.
        epoch: Number of this directory; homes accept no lower one than they have seen.
        previous: Hash of the directory before; zeros for the first.
        issued: Unix time, s, at which it was signed.
        expires: Unix time, s, from which on no home takes part by it. Without one it has expired.
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
    previous: Digest = NO_DIRECTORY
    issued: Annotated[int, number()] = 0
    expires: Annotated[int, number()] = 0
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
        authority: bytes | Root,
        *,
        last: tuple[int, bytes] | None = None,
        verify: Verify = signature_holds,
    ) -> Directory:
        """Return a directory that the fleet's owner signed.

        Args:
            data: As `Authority.issue` wrote it, or a `CoSigned`.
            authority: The authority's public key, which a home got when it enrolled; or the root
                that it got, from which it walks to the newest.
            last: Epoch and hash of the last directory that was accepted.
            verify: How signatures are checked.

        Raises:
            WireError: Bytes that are no directory.
            DirectoryError: ``signature``; ``root``: as `fedhome.keys.roots.walk`; ``fleet``: of
                another one than the root; a reason of `check` if what was signed makes no sense, or
                of `check_order`.
        """
        return cls.verify_under(data, authority, last=last, verify=verify)[0]

    @classmethod
    def verify_under(
        cls,
        data: bytes,
        authority: bytes | Root,
        *,
        last: tuple[int, bytes] | None = None,
        verify: Verify = signature_holds,
    ) -> tuple[Directory, Root | None]:
        """Return a directory, and the owner's keys under which it is signed.

        Arguments and errors are those of `verify`; under a bare key there is no root.
        """
        body, root = _signed_body(data, authority, verify)
        directory = cls.from_bytes(body)
        directory.check()
        if root is not None and root.fleet != directory.fleet:
            raise DirectoryError("the directory is one of another fleet", reason="fleet")
        directory.check_order(last)
        return directory, root

    def check_order(self, last: tuple[int, bytes] | None) -> None:
        """Refuse a directory that does not come after the last one, or is it.

        The owner signs each, so some may have been missed; but no home is led so far ahead that
        the owner's true numbers would never be reached again.

        Args:
            last: Epoch and hash of the last directory that was accepted; None: none was.

        Raises:
            DirectoryError: ``older``; ``fork``: a second one of an epoch; ``chain``: the next one,
                but not after the last; ``far-ahead``.
        """
        epoch, digest = last or (0, NO_DIRECTORY)
        if self.epoch < epoch:
            raise DirectoryError(
                f"a directory of epoch {self.epoch} came after one of {epoch}",
                reason="older",
                hint="the server's copy was set back: the owner sends the newest one anew, with "
                "`fedhome fleet send`",
            )
        if last is not None and self.epoch == epoch and self.hash != digest:
            raise DirectoryError(
                f"two different directories of epoch {epoch} are signed", reason="fork", hint=_AFTER
            )
        if last is not None and self.epoch == epoch + 1 and self.previous != digest:
            raise DirectoryError(
                f"the directory of epoch {self.epoch} does not follow that of epoch {epoch}",
                reason="chain",
                hint=_AFTER,
            )
        most = MOST_FIRST if last is None else epoch + MOST_SKIPPED
        if self.epoch > most:
            raise DirectoryError(
                f"a directory of epoch {self.epoch} is too far ahead: at most {most} is expected",
                reason="far-ahead",
                hint="somebody else may have the owner's key: ask the fleet's owner",
            )

    def check_time(self, now: float) -> None:
        """Refuse a directory past its time: nobody knows what its owner has changed since.

        Args:
            now: Unix time, s.

        Raises:
            DirectoryError: ``expired``.
        """
        if now >= self.expires:
            raise DirectoryError(
                f"the directory of epoch {self.epoch} held until {when(self.expires)}",
                reason="expired",
                hint="the fleet's owner signs the next one: `fedhome fleet directory`; if one is "
                "signed, the server holds it back; or this device's clock is wrong",
            )

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


def _signed_body(data: bytes, authority: bytes | Root, verify: Verify) -> tuple[bytes, Root | None]:
    """Return what enough keys of the owner signed, and the root that says so."""
    root = authority if isinstance(authority, Root) else None
    try:
        signed = Signed.from_bytes(data)
    except WireError as error:
        try:
            several_signed = CoSigned.from_bytes(data)
        except WireError:
            raise error from None
        if root is not None:
            root = walk(several_signed.roots, root, verify=verify)
            if root.holds(several_signed.body, several_signed.signatures, verify=verify):
                return several_signed.body, root
    else:
        keys = (authority,) if isinstance(authority, bytes) else authority.keys
        enough = root is None or root.threshold == 1
        if enough and any(verify(key, signed.signature, signed.body) for key in keys):
            return signed.body, root
    raise DirectoryError(
        "the directory is not signed by the fleet's authority",
        reason="signature",
        hint="compare the authority's key with the one that this home was enrolled with",
    )


_AFTER = (
    "the owner's folder was set back, or somebody else has the owner's key: the owner goes on with "
    "`fedhome fleet directory --after EPOCH`, above the highest epoch that any home shows"
)
