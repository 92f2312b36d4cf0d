"""One-time keys that a home makes ahead of a round, with the shares that open them.

A bundle serves one sum. Its private key makes the masks with other homes, its second secret
the home's own mask; each committee member gets a share of both, sealed for it alone, and a proof
lets everybody check shares. The server stores and forwards bundles and can read nothing of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Annotated, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from numpy.typing import NDArray

from fedhome.errors import BundleError
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg.directory import MOST_MEMBERS, Directory
from fedhome.secagg.sharing import HASHES_BYTES, SECRETS, SHARE_BYTES, proof_bytes
from fedhome.wire.codec import Digest, Id, Key, Message, Signature, number, octets

NONCE_BYTES = 12
KEY_NAME_BYTES = 4
SEALED_BYTES = KEY_NAME_BYTES + 32 + SECRETS * SHARE_BYTES + 16
"""For one member: which key of its, the home's key for it, shares of both secrets, a tag."""
ROW_BYTES = NONCE_BYTES + SEALED_BYTES
_HEAD, _SHARE, _DEAL = b"fedhome/bundle/2\0", b"fedhome/share/2\0", b"fedhome/deal/1\0"
_FIELD = (1 << 255) - 19  # RFC 7748: coordinates are below it
_COMMITMENT = b"fedhome/commitment/1\0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Secrets:
    """Both secrets of a bundle; they print as nothing.

    Args:
        key: X25519 one-time private key, 32 bytes.
        blind: Secret of the home's own mask, 32 bytes.
    """

    key: bytes = field(repr=False)
    blind: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleHead:
    """What other homes see of a bundle: its public part, signed by its home.

    Args:
        home: Who made it.
        serial: Its number among the home's bundles.
        public: X25519 one-time public key, 32 bytes.
        commitment: Hash of the secret of the home's own mask.
        sealed: SHA-256 of the sealed shares, what they were sealed for, and their proof.
        signature: The home's, of all this and the directory's hash.
    """

    home: str
    serial: int
    public: bytes
    commitment: bytes
    sealed: bytes
    signature: bytes

    def statement(self, directory: bytes) -> bytes:
        """Return what the home signs."""
        serial = self.serial.to_bytes(8, "big")
        parts = (_HEAD, directory, serial, self.public, self.commitment, self.sealed)
        return b"".join((*parts, self.home.encode()))

    def associated_data(self, directory: bytes) -> bytes:
        """Return what every sealed share is bound to, apart from the member's name."""
        name = self.home.encode()
        serial = self.serial.to_bytes(8, "big")
        parts = (_SHARE, directory, serial, self.public, self.commitment, bytes([len(name)]))
        return b"".join((*parts, name))

    def dealt_statement(self, directory: bytes, dealt: bytes) -> bytes:
        """Return what fixes the shares of a bundle, and so the factors of their proof.

        Args:
            directory: Hash of the directory.
            dealt: As of `Bundle.dealt`.
        """
        return self.associated_data(directory) + dealt


class RingMembers(NamedTuple):
    """The members of a ring, as bundles that are sealed for it name them.

    Args:
        there: Of each member of the committee, in its order, whether it is in the ring.
        names: How each one's key is named, 4 bytes; zeros for one that is not.
        whole: Whether all are in it, by names that are not zeros: a bundle with just these names
            has a share for each.
    """

    there: list[bool]
    names: bytes
    whole: bool

    @classmethod
    def of(cls, keys: Mapping[int, bytes], committee: int) -> RingMembers:
        """Return the members of a ring.

        Args:
            keys: Each member's public key in the ring, by the member's index.
            committee: How many members the committee has.
        """
        nobody = bytes(KEY_NAME_BYTES)
        names = [keys.get(place, nobody)[:KEY_NAME_BYTES] for place in range(committee)]
        there = [place in keys for place in range(committee)]
        return cls(there, b"".join(names), all(there) and nobody not in names)


@dataclass(frozen=True, kw_only=True)
class Bundle(Message, label="bundle/2", most=1 << 21):
    """A bundle as it travels to the server.

    Args:
        directory: Hash of the directory whose committee it is for.
        home: Who made it.
        serial: Its number among the home's bundles.
        public: X25519 one-time public key.
        commitment: Hash of the secret of the home's own mask.
        ring: Hash of the ring of members' keys for which it is sealed.
        nonce: Of the sealed shares: one for all of them, as each has a key of its own.
        shares: One sealed share of 156 bytes a member, in the committee's order; zeros for a
            member that is not in the ring.
        hashes: Of each member's share of both secrets a hash of 16 bytes.
        proof: What shares are checked against.
        signature: The home's.
    """

    directory: Digest
    home: Id
    serial: Annotated[int, number(least=1)]
    public: Key
    commitment: Digest
    ring: Digest
    nonce: Annotated[bytes, octets(NONCE_BYTES)]
    shares: Annotated[bytes, octets(most=MOST_MEMBERS * SEALED_BYTES)]
    hashes: Annotated[bytes, octets(most=MOST_MEMBERS * HASHES_BYTES)]
    proof: Annotated[bytes, octets(most=proof_bytes(MOST_MEMBERS))]
    signature: Signature

    @cached_property
    def dealt(self) -> bytes:
        """SHA-256 of all that fixes the shares; from it follow the factors of their proof."""
        return dealt_hash(self.ring, self.nonce, self.shares, self.hashes)

    @cached_property
    def proof_hash(self) -> bytes:
        """SHA-256 of the proof."""
        return hashlib.sha256(self.proof).digest()

    @cached_property
    def head(self) -> BundleHead:
        """What other homes see."""
        return BundleHead(
            home=self.home,
            serial=self.serial,
            public=self.public,
            commitment=self.commitment,
            sealed=sealed_hash(self.dealt, self.proof_hash),
            signature=self.signature,
        )

    @cached_property
    def head_row(self) -> bytes:
        """What a member is told of the bundle to check its row, 192 bytes."""
        parts = self.public, self.commitment, self.dealt, self.proof_hash, self.signature
        return b"".join(parts)

    def row(self, member: int) -> bytes:
        """Return nonce and sealed share of the member at an index of the committee."""
        return self.nonce + self.shares[member * SEALED_BYTES : (member + 1) * SEALED_BYTES]

    @cached_property
    def recipients(self) -> list[bool]:
        """Of each member whether it has a share of this bundle, in the committee's order."""
        rows = self._sealed_rows
        names = np.ascontiguousarray(rows[:, :KEY_NAME_BYTES]).view("<u4")[:, 0]
        there: list[bool] = (names != 0).tolist()
        # A share begins with its key's name: only where that is zeros the rest is looked at.
        for place in np.flatnonzero(names == 0).tolist():
            there[place] = bool(rows[place].any())
        return there

    @property
    def _sealed_rows(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.shares, np.uint8).reshape(-1, SEALED_BYTES)

    def check_ring(self, members: RingMembers) -> None:
        """Refuse a bundle that is not sealed for just the members of its ring.

        Raises:
            BundleError: ``ring``.
        """
        named = self._sealed_rows[:, :KEY_NAME_BYTES].tobytes()
        fits = named == members.names and (members.whole or self.recipients == members.there)
        if not fits:
            raise BundleError(
                f"a bundle of {self.home} is not sealed for the members of its ring",
                reason="ring",
            )

    def check(self, directory: Directory, *, verify: Verify = signature_holds) -> None:
        """Refuse a bundle that would spoil the sum it is taken for.

        Raises:
            BundleError: ``other-directory``, ``unknown-home``, ``size``, ``signature``, or
                ``public-key`` (a key with which every home has the same shared secret, or one in
                other bytes than X25519 writes it).
        """
        if self.directory != directory.hash:
            raise BundleError(
                f"a bundle of {self.home} is for another directory", reason="other-directory"
            )
        entry = directory.entries.get(self.home)
        if entry is None:
            raise BundleError("a bundle is of no home of the directory", reason="unknown-home")
        if (len(self.shares), len(self.hashes), len(self.proof)) != (
            SEALED_BYTES * directory.committee,
            HASHES_BYTES * directory.committee,
            proof_bytes(directory.threshold),
        ):
            raise BundleError(
                f"a bundle of {self.home} has not one share for each member", reason="size"
            )
        if not verify(entry.identity, self.signature, self.head.statement(directory.hash)):
            raise BundleError(f"a bundle of {self.home} is not signed by it", reason="signature")
        if not _is_usable(self.public):
            raise BundleError(f"a bundle of {self.home} has no usable key", reason="public-key")


def rows_of_member(bundles: Iterable[Bundle], member: int) -> bytes:
    """Return what `Bundle.row` does of several bundles, one after the other."""
    start, end = member * SEALED_BYTES, (member + 1) * SEALED_BYTES
    return b"".join([part for one in bundles for part in (one.nonce, one.shares[start:end])])


def rows_of_members(bundles: Sequence[Bundle]) -> NDArray[np.uint8]:
    """Return each member's row of each bundle, as `Bundle.row` does.

    Args:
        bundles: Bundles of one committee, at least one.

    Returns:
        uint8 ``[members, bundles, 168]``: what each member gets lies together.
    """
    count = len(bundles)
    sealed = np.frombuffer(b"".join([bundle.shares for bundle in bundles]), np.uint8)
    by_home = (
        sealed.reshape(count, -1, SEALED_BYTES) if count else sealed.reshape(0, 0, SEALED_BYTES)
    )
    rows = np.empty((by_home.shape[1], count, ROW_BYTES), np.uint8)
    rows[:, :, NONCE_BYTES:] = np.moveaxis(by_home, 1, 0)
    nonces = np.frombuffer(b"".join([bundle.nonce for bundle in bundles]), np.uint8)
    rows[:, :, :NONCE_BYTES] = nonces.reshape(count, NONCE_BYTES)
    return rows


def dealt_hash(ring: bytes, nonce: bytes, shares: bytes, hashes: bytes) -> bytes:
    """Return the hash of all that fixes the shares of a bundle, as its fields name them."""
    return hashlib.sha256(b"".join((_DEAL, ring, nonce, shares, hashes))).digest()


def sealed_hash(dealt: bytes, proof_hash: bytes) -> bytes:
    """Return the hash of a bundle's shares and their proof, from a hash of each."""
    return hashlib.sha256(dealt + proof_hash).digest()


@lru_cache(maxsize=4096)  # simulated homes keep theirs from sum to sum
def _is_usable(public: bytes) -> bool:
    """Return whether a key is none of those with which every home has the same shared secret.

    Nor another form of a key: X25519 takes more bytes than one for a point, and a copied key must
    not look like another one.
    """
    if int.from_bytes(public, "little") >= _FIELD:
        return False
    try:
        _probe().exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return False
    return True


@cache
def _probe() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def commitment(blind: bytes) -> bytes:
    """Return the hash by which a home fixes the secret of its own mask."""
    return hashlib.sha256(_COMMITMENT + blind).digest()
