"""One-time keys that a home makes ahead of a round, with the shares that open them.

A bundle serves one sum. Its private key makes the masks with other homes, its second secret
the home's own mask; each committee member gets a share of both, sealed for it alone. The
server stores and forwards bundles and can read nothing of them.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from fedhome.errors import BundleError
from fedhome.keys.derivation import hkdf
from fedhome.keys.signing import Verify, signature_holds
from fedhome.secagg import shamir
from fedhome.secagg.directory import MOST_MEMBERS, Directory, HomeKeys
from fedhome.wire.codec import Digest, Id, Key, Message, Signature, number, octets

NONCE_BYTES = 12
SHARE_BYTES = 4 * shamir.LIMBS  # of one secret
SEALED_BYTES = 2 * SHARE_BYTES + 16  # shares of both secrets, and the tag
_HEAD, _SEAL, _SHARE = b"fedhome/bundle/1\0", b"fedhome/seal/1\0", b"fedhome/share/1\0"
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
        sealed: SHA-256 of nonce and sealed shares.
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


@dataclass(frozen=True, kw_only=True)
class Bundle(Message, label="bundle", most=1 << 20):
    """A bundle as it travels to the server.

    Args:
        directory: Hash of the directory whose committee it is for.
        home: Who made it.
        serial: Its number among the home's bundles.
        public: X25519 one-time public key.
        commitment: Hash of the secret of the home's own mask.
        nonce: Of the sealed shares: one for all of them, as each has a key of its own.
        shares: One sealed share of 88 bytes a member, in the committee's order.
        signature: The home's.
    """

    directory: Digest
    home: Id
    serial: Annotated[int, number(least=1)]
    public: Key
    commitment: Digest
    nonce: Annotated[bytes, octets(NONCE_BYTES)]
    shares: Annotated[bytes, octets(most=MOST_MEMBERS * SEALED_BYTES)]
    signature: Signature

    @property
    def head(self) -> BundleHead:
        """What other homes see."""
        return BundleHead(
            home=self.home,
            serial=self.serial,
            public=self.public,
            commitment=self.commitment,
            sealed=hashlib.sha256(self.nonce + self.shares).digest(),
            signature=self.signature,
        )

    def sealed_for(self, member: int) -> bytes:
        """Return nonce and sealed share of the member at an index of the committee."""
        return self.nonce + self.shares[member * SEALED_BYTES : (member + 1) * SEALED_BYTES]

    def check(self, directory: Directory, *, verify: Verify = signature_holds) -> None:
        """Refuse a bundle that would spoil the sum it is taken for.

        Raises:
            BundleError: ``other-directory``, ``unknown-home``, ``size``, ``signature``, or
                ``public-key`` (a key with which every home has the same shared secret).
        """
        if self.directory != directory.hash:
            raise BundleError(
                f"a bundle of {self.home} is for another directory", reason="other-directory"
            )
        entry = directory.entries.get(self.home)
        if entry is None:
            raise BundleError("a bundle is of no home of the directory", reason="unknown-home")
        if len(self.shares) != SEALED_BYTES * directory.committee:
            raise BundleError(
                f"a bundle of {self.home} has not one share for each member", reason="size"
            )
        if not verify(entry.identity, self.signature, self.head.statement(directory.hash)):
            raise BundleError(f"a bundle of {self.home} is not signed by it", reason="signature")
        try:
            _probe().exchange(X25519PublicKey.from_public_bytes(self.public))
        except ValueError:
            raise BundleError(
                f"a bundle of {self.home} has no usable key", reason="public-key"
            ) from None


@cache
def _probe() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def commitment(blind: bytes) -> bytes:
    """Return the hash by which a home fixes the secret of its own mask."""
    return hashlib.sha256(_COMMITMENT + blind).digest()


class Seals:
    """A home's keys for what passes between it and the committee, derived once an epoch.

    Each direction of each pair has a key of its own, from both homes' share keys: only these
    two can seal or open, so a share that opens is the home's own.
    """

    def __init__(self, keys: HomeKeys, directory: Directory) -> None:
        self._keys, self._directory = keys, directory
        self._ciphers: dict[tuple[str, str], AESGCM] = {}

    def __repr__(self) -> str:
        return f"Seals of {self._keys.home!r}"

    def _cipher(self, home: str, member: str) -> AESGCM:
        cipher = self._ciphers.get((home, member))
        if cipher is None:
            other = self._directory.entries[home if member == self._keys.home else member]
            try:
                shared = self._keys.share_key.exchange(
                    X25519PublicKey.from_public_bytes(other.share)
                )
            except ValueError:
                raise BundleError(
                    f"the share key of {other.home} cannot be used", reason="share-key"
                ) from None
            name = home.encode()
            info = _SEAL + bytes([len(name)]) + name + member.encode()
            cipher = AESGCM(hkdf(shared, self._directory.hash, info))
            self._ciphers[home, member] = cipher
        return cipher

    def seal(self, head: BundleHead, nonce: bytes, shares: NDArray[np.uint32]) -> bytes:
        """Return every member's shares ``[members, 18]``, sealed one after the other."""
        bound = head.associated_data(self._directory.hash)
        rows = shares.astype("<u4")
        return b"".join(
            self._cipher(head.home, member).encrypt(nonce, row.tobytes(), bound + member.encode())
            for member, row in zip(self._directory.members, rows, strict=True)
        )

    def open(self, head: BundleHead, sealed: bytes) -> bytes | None:
        """Return this member's shares of both secrets, 72 bytes, or None if they do not open.

        Args:
            head: The bundle's public part, to which the shares must be bound.
            sealed: As `Bundle.sealed_for` returned it.
        """
        member = self._keys.home
        bound = head.associated_data(self._directory.hash) + member.encode()
        try:
            return self._cipher(head.home, member).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound
            )
        except (InvalidTag, BundleError):
            return None


def make_bundle(
    keys: HomeKeys, directory: Directory, seals: Seals, serial: int
) -> tuple[Bundle, Secrets]:
    """Return a new bundle and its secrets, from the operating system's randomness.

    Args:
        keys: The home's.
        directory: Whose committee it is for.
        seals: Of this home and directory.
        serial: A number that the home never used before.

    Raises:
        BundleError: ``share-key``: a member's share key cannot be used.
    """
    key = X25519PrivateKey.generate()
    secrets = Secrets(key=key.private_bytes_raw(), blind=os.urandom(32))
    shares = shamir.split(
        [secrets.key, secrets.blind], members=directory.committee, threshold=directory.threshold
    )
    nonce = os.urandom(NONCE_BYTES)
    bare = BundleHead(
        home=keys.home,
        serial=serial,
        public=key.public_key().public_bytes_raw(),
        commitment=commitment(secrets.blind),
        sealed=b"",
        signature=b"",
    )
    bundle = Bundle(
        directory=directory.hash,
        home=bare.home,
        serial=serial,
        public=bare.public,
        commitment=bare.commitment,
        nonce=nonce,
        shares=seals.seal(bare, nonce, shares),
        signature=bytes(64),
    )
    signature = keys.sign(bundle.head.statement(directory.hash))
    return replace(bundle, signature=signature), secrets
