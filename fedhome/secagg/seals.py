"""How shares are sealed: each under a key that only its home and its member have, for hours."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from fedhome.errors import BundleError
from fedhome.keys.derivation import hkdf
from fedhome.secagg.bundle import (
    KEY_NAME_BYTES,
    NONCE_BYTES,
    ROW_BYTES,
    SEALED_BYTES,
    Bundle,
    BundleHead,
    Secrets,
    commitment,
    dealt_hash,
    sealed_hash,
)
from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.secagg.one_time import OneTime
from fedhome.secagg.shamir import PRIME
from fedhome.secagg.share_keys import KeyRing, ShareKey, member_key, sealing_key
from fedhome.secagg.sharing import (
    SECRETS,
    SHARE_BYTES,
    SHARE_NUMBERS,
    Combine,
    combined,
    factors_of,
)

_KEY_BYTES = 32
_PLAIN_BYTES = SECRETS * SHARE_BYTES
_NOTHING, _NO_ROW = bytes(_PLAIN_BYTES), bytes(SEALED_BYTES)
_MOST_OPENED = 4096  # rows that wait to be opened once more: 2.5 MB
_SEAL = b"fedhome/seal/2\0"

Unopened = Literal["erased", "wrong"]
"""Why a share does not open: its key is gone, or there is none; or it was sealed wrongly."""


@dataclass(frozen=True)
class _Sealing:
    """How a home seals for one member: the start of a row, and what encrypts the rest."""

    start: bytes
    encrypt: Callable[[bytes, bytes, bytes], bytes]


class _SealingFor(NamedTuple):
    """A member's name, and how a home seals for it: as of `_Sealing`."""

    member: bytes
    start: bytes
    encrypt: Callable[[bytes, bytes, bytes], bytes]


def _no_row(nonce: bytes, plain: bytes, bound: bytes) -> bytes:
    del nonce, plain, bound
    return _NO_ROW


class OpenedRows(NamedTuple):
    """What a member finds in rows.

    Args:
        shares: Of each row the member's shares, uint32 ``[rows, secrets, 13]``; zeros where it does
            not open.
        why: Of each row why it does not open; None: it does.
        hashes: Of each row's shares their hashes, uint8 ``[rows, 32]``; None: they are to be made.
    """

    shares: NDArray[np.uint32]
    why: list[Unopened | None]
    hashes: NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, plain: Sequence[bytes | Unopened]) -> OpenedRows:
        """Return the shares that were sealed in rows.

        What holds another number of bytes, or a number that is none of the field, is ``"wrong"``.

        Args:
            plain: What was sealed in each row, or why it does not open.
        """
        why: list[Unopened | None] = [
            one if isinstance(one, str) else None if len(one) == _PLAIN_BYTES else "wrong"
            for one in plain
        ]
        whole = b"".join(
            [
                one if isinstance(one, bytes) and fault is None else _NOTHING
                for one, fault in zip(plain, why, strict=True)
            ]
        )
        shares = np.frombuffer(whole, "<u4").astype(np.uint32).reshape(-1, SECRETS, SHARE_NUMBERS)
        for place in np.flatnonzero((shares >= PRIME).any(axis=(1, 2))).tolist():
            why[place], shares[place] = "wrong", 0
        return cls(shares, why)


class Seals:
    """Keys between a home and the committee, each agreed once a period.

    Args:
        keys: The home's.
        directory: The epoch's.
    """

    def __init__(self, keys: HomeKeys, directory: Directory) -> None:
        self._keys, self._directory = keys, directory
        self._sealings: dict[tuple[bytes, str, bytes], _Sealing] = {}
        self._ciphers: dict[tuple[bytes, bytes, str], AESGCM] = {}
        self._own: dict[bytes, tuple[X25519PrivateKey, bytes]] = {}
        self._members: tuple[tuple[bytes, bytes], list[_SealingFor]] | None = None
        self._opened: dict[tuple[bytes, bytes], bytes] = {}

    def __repr__(self) -> str:
        return f"Seals of {self._keys.home!r}"

    def forget(self) -> None:
        """Forget all keys: secrets that they follow from have been erased."""
        self._sealings.clear()
        self._ciphers.clear()
        self._own.clear()
        self._members = None
        self._opened.clear()

    def seal(
        self,
        secret: bytes,
        ring: KeyRing,
        head: BundleHead,
        nonce: bytes,
        shares: NDArray[np.uint32],
    ) -> bytes:
        """Return every member's row, one after the other; zeros for one that is not in the ring.

        Args:
            secret: Of the home's present period.
            ring: The members' keys.
            head: The bundle's public part, to which the shares are bound.
            nonce: 12 random bytes.
            shares: uint32 ``[members, secrets, 13]``.
        """
        bound = head.associated_data(self._directory.hash)
        plain = shares.astype("<u4", copy=False).tobytes()
        places = range(0, len(plain), _PLAIN_BYTES)
        pairs = zip(places, self._sealings_for(secret, ring), strict=True)
        return b"".join(
            [
                start + encrypt(nonce, plain[at : at + _PLAIN_BYTES], bound + member)
                for at, (member, start, encrypt) in pairs
            ]
        )

    def _sealings_for(self, secret: bytes, ring: KeyRing) -> list[_SealingFor]:
        """Return how is sealed for each member; for one that is not in the ring, zeros."""
        if self._members is None or self._members[0] != (secret, ring.hash):
            found = []
            for member in self._directory.members:
                key, name = ring.by_member.get(member), member.encode()
                if key is None:
                    found.append(_SealingFor(name, b"", _no_row))
                else:
                    sealing = self._sealing(secret, key)
                    found.append(_SealingFor(name, sealing.start, sealing.encrypt))
            self._members = (secret, ring.hash), found
        return self._members[1]

    def _sealing(self, secret: bytes, key: ShareKey) -> _Sealing:
        between = secret, key.member, key.key
        sealing = self._sealings.get(between)
        if sealing is None:
            own = sealing_key(secret, self._directory.hash, key.member)
            public = own.public_key().public_bytes_raw()
            cipher = cipher_of(
                own, key.key, self._between(self._keys.home, key.member, public, key.key)
            )
            sealing = _Sealing(key.key[:KEY_NAME_BYTES] + public, cipher.encrypt)
            self._sealings[between] = sealing
        return sealing

    def open_all(
        self,
        secrets: Mapping[int, bytes],
        bounds: Sequence[tuple[str, bytes] | None],
        rows: bytes,
        *,
        keep: bool = False,
    ) -> OpenedRows:
        """Return this member's shares of several bundles, or why they do not open.

        Args:
            secrets: The member's, by period.
            bounds: Of each bundle its home, and `BundleHead.associated_data`; None: it is not
                opened, as if its key were erased.
            rows: Of each bundle the member's row, one after the other.
            keep: Keep what opens until it is asked for once more: a member opens a row as it checks
                it, and again in the sum. It goes no later than the secrets that it opens by. Of
                more rows than there is room for the rest is opened again.
        """
        if keep and len(self._opened) >= _MOST_OPENED:
            self._opened.clear()
        plain: list[bytes | Unopened] = []
        for one, at in zip(bounds, range(0, len(rows), ROW_BYTES), strict=True):
            if one is None:
                plain.append("erased")
                continue
            (home, bound), row = one, rows[at : at + ROW_BYTES]
            found: bytes | Unopened | None = self._opened.pop((row, bound), None)
            if found is None:
                found = self._plain(secrets, home, bound, row)
            if keep and isinstance(found, bytes) and len(self._opened) < _MOST_OPENED:
                self._opened[row, bound] = found
            plain.append(found)
        return OpenedRows.of(plain)

    def _plain(
        self, secrets: Mapping[int, bytes], home: str, bound: bytes, row: bytes
    ) -> bytes | Unopened:
        """Return what is sealed in a row, or why it does not open."""
        member = self._keys.home
        nonce, start = row[:NONCE_BYTES], NONCE_BYTES + KEY_NAME_BYTES
        named = row[NONCE_BYTES:start]
        held = (one for one in secrets.values() if self._member_key(one)[1].startswith(named))
        secret = next(held, None)
        if secret is None or not any(row[NONCE_BYTES:]):
            return "erased"
        theirs, sealed = row[start : start + _KEY_BYTES], row[start + _KEY_BYTES :]
        cipher = self._ciphers.get((secret, theirs, home))
        if cipher is None:
            own, public = self._member_key(secret)
            try:
                cipher = cipher_of(own, theirs, self._between(home, member, theirs, public))
            except BundleError:
                return "wrong"
            self._ciphers[secret, theirs, home] = cipher
        return unsealed(cipher, nonce, sealed, bound + member.encode())

    def _between(self, home: str, member: str, home_key: bytes, member_key: bytes) -> SealedFor:
        return SealedFor(
            directory=self._directory.hash,
            home=home,
            member=member,
            home_key=home_key,
            member_key=member_key,
        )

    def _member_key(self, secret: bytes) -> tuple[X25519PrivateKey, bytes]:
        if secret not in self._own:
            key = member_key(secret, self._directory.hash)
            self._own[secret] = key, key.public_key().public_bytes_raw()
        return self._own[secret]


def unsealed(cipher: AESGCM, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | Unopened:
    """Return what is sealed, or ``"wrong"``."""
    try:
        return cipher.decrypt(nonce, sealed, bound)
    except InvalidTag:
        return "wrong"


@dataclass(frozen=True, kw_only=True)
class SealedFor:
    """Between whom a share is sealed, and by which keys.

    Args:
        directory: Hash of the directory.
        home: Whose share it is.
        member: For whom.
        home_key: The home's public key for this member.
        member_key: The member's public key.
    """

    directory: bytes
    home: str
    member: str
    home_key: bytes
    member_key: bytes


def cipher_of(own: X25519PrivateKey, theirs: bytes, between: SealedFor) -> AESGCM:
    """Return the cipher between a home and a member; see `key_of`."""
    return AESGCM(key_of(own, theirs, between))


def key_of(own: X25519PrivateKey, theirs: bytes, between: SealedFor) -> bytes:
    """Return the key of AES between a home and a member, 32 bytes.

    Args:
        own: The private key of one of them.
        theirs: The public key of the other.
        between: Who they are.

    Raises:
        BundleError: ``share-key``: a key with which everybody has the same secret.
    """
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:
        raise BundleError(
            f"the key between {between.home} and {between.member} cannot be used",
            reason="share-key",
        ) from None
    name, publics = between.home.encode(), between.home_key + between.member_key
    info = b"".join((_SEAL, publics, bytes([len(name)]), name, between.member.encode()))
    return hkdf(shared, between.directory, info)


def make_bundle(
    keys: HomeKeys,
    directory: Directory,
    seals: Seals,
    serial: int,
    *,
    secret: bytes,
    ring: KeyRing,
    draw: Callable[[Directory], OneTime] = OneTime.drawn,
    combine: Combine = combined,
) -> tuple[Bundle, Secrets]:
    """Return a new bundle and its secrets.

    Args:
        keys: The home's.
        directory: Whose committee it is for.
        seals: Of this home and directory.
        serial: A number that the home never used before.
        secret: Of the home's present period.
        ring: The members' keys, which the home has checked.
        draw: How secrets are drawn; another function is for simulations only.
        combine: As of `values_of`.
    """
    drawn = draw(directory)
    secrets, nonce = drawn.secrets, os.urandom(NONCE_BYTES)
    bare = BundleHead(
        home=keys.home,
        serial=serial,
        public=drawn.public,
        commitment=commitment(secrets.blind),
        sealed=b"",
        signature=b"",
    )
    shares = seals.seal(secret, ring, bare, nonce, drawn.shares)
    dealt = dealt_hash(ring.hash, nonce, shares, drawn.hashes)
    factors = factors_of(bare.dealt_statement(directory.hash, dealt))
    proof = drawn.dealing.proof(factors, combine)
    proof_hash = hashlib.sha256(proof).digest()
    sealed = sealed_hash(dealt, proof_hash)
    bundle = Bundle(
        directory=directory.hash,
        home=bare.home,
        serial=serial,
        public=bare.public,
        commitment=bare.commitment,
        ring=ring.hash,
        nonce=nonce,
        shares=shares,
        hashes=drawn.hashes,
        proof=proof,
        signature=keys.sign(replace(bare, sealed=sealed).statement(directory.hash)),
    )
    vars(bundle).update(dealt=dealt, proof_hash=proof_hash)  # as they would be worked out
    return bundle, secrets
