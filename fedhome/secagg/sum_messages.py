"""What passes between homes, members and server once a manifest is out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fedhome.secagg.bundle import ROW_BYTES, Bundle
from fedhome.secagg.directory import MOST_MEMBERS
from fedhome.secagg.manifest import MOST_ROSTER, Manifest
from fedhome.secagg.sharing import SHARE_BYTES
from fedhome.wire.codec import Digest, Id, Message, Signature, octets, several

ARRIVAL_BYTES = 32 + 64  # hash of the vector, signature of the home
VOTE_BYTES = 4 + 64  # index of the member, its signature
MISSING = b"\xff" * SHARE_BYTES  # instead of a share that did not open: no number of the field
UPLOAD_OVERHEAD = 512
_UPLOAD, _VOTE, _ANSWER = b"fedhome/upload/1\0", b"fedhome/vote/1\0", b"fedhome/answer/1\0"
_PRESENT = b"fedhome/present/1\0"


@dataclass(frozen=True, kw_only=True)
class Upload(Message, label="upload", most=1 << 31):
    """What a home sends after local training.

    Args:
        home: Its name.
        manifest: Digest of the manifest that it joined.
        vector: The masked words, little-endian.
        signature: The home's, of the digests of both.
    """

    home: Id
    manifest: Digest
    vector: Annotated[bytes, octets(most=1 << 31)]
    signature: Signature

    @cached_property
    def vector_hash(self) -> bytes:
        """SHA-256 of the masked words, 32 bytes."""
        return hashlib.sha256(self.vector).digest()

    @property
    def statement(self) -> bytes:
        """What the home signs."""
        return upload_statement(self.manifest, self.vector_hash)


def upload_statement(manifest: bytes, vector: bytes) -> bytes:
    """Return what a home signs: that a vector of this hash is its own for this manifest."""
    return _UPLOAD + manifest + vector


@dataclass(frozen=True, kw_only=True)
class Request(Message, label="request", most=1 << 26):
    """What the server asks of a member: to vote on a set of homes, or to open their sum.

    Args:
        manifest: The manifest, signed by the server.
        present: Which homes of the roster are in the sum, a bit each, lowest bit first.
        arrivals: For each of them the hash of its vector and its signature, 96 bytes.
        votes: Signatures of members on this set, each after the member's index: 68 bytes.
        sealed: For each home of the roster this member's sealed share, 168 bytes; empty when
            the member is asked for its vote.
    """

    manifest: Annotated[bytes, octets(most=Manifest.MOST + 128)]
    present: Annotated[bytes, octets(most=MOST_ROSTER // 8)]
    arrivals: Annotated[bytes, octets(most=MOST_ROSTER * ARRIVAL_BYTES)]
    votes: Annotated[bytes, octets(most=MOST_MEMBERS * VOTE_BYTES)]
    sealed: Annotated[bytes, octets(most=MOST_ROSTER * ROW_BYTES)]


@dataclass(frozen=True, kw_only=True)
class Vote(Message, label="vote", most=512):
    """A member's word that, of this manifest, it opens no other set of homes.

    Args:
        manifest: Digest of the manifest.
        present: Digest of the set.
        signature: The member's, of both.
    """

    manifest: Digest
    present: Digest
    signature: Signature


def vote_statement(manifest: bytes, present: bytes) -> bytes:
    """Return what a member signs when it votes."""
    return _VOTE + manifest + present


@dataclass(frozen=True, kw_only=True)
class Answer(Message, label="answer", most=1 << 21):
    """A member's shares.

    Args:
        manifest: Digest of the manifest.
        present: Digest of the set of homes that are in the sum.
        shares: 52 bytes for each home of the roster: of the secret of its own mask if it is in
            the sum, of its one-time key if not; `MISSING` where the share did not open.
        signature: The member's, so that a bad share can be held against it.
    """

    manifest: Digest
    present: Digest
    shares: Annotated[bytes, octets(most=MOST_ROSTER * SHARE_BYTES)]
    signature: Signature

    @cached_property
    def statement(self) -> bytes:
        """What the member signs when it answers."""
        return answer_statement(self.manifest, self.present, self.shares)


def answer_statement(manifest: bytes, present: bytes, shares: bytes) -> bytes:
    """Return what a member signs when it answers."""
    return _ANSWER + manifest + present + hashlib.sha256(shares).digest()


@dataclass(frozen=True, kw_only=True)
class ClosedSum(Message, label="closed-sum", most=1 << 31):
    """A sum whose uploads are all in: all that it takes to ask members, and to open it.

    Args:
        manifest: The manifest, signed by the server.
        total: The masked words, added up.
        present: Which homes are in the sum, as of `Request`.
        arrivals: As of `Request`.
        votes: Those that came, as of `Request`.
        bundles: Of each home of the roster.
    """

    manifest: Annotated[bytes, octets(most=Manifest.MOST + 128)]
    total: Annotated[bytes, octets(most=1 << 31)]
    present: Annotated[bytes, octets(most=MOST_ROSTER // 8)]
    arrivals: Annotated[bytes, octets(most=MOST_ROSTER * ARRIVAL_BYTES)]
    votes: Annotated[bytes, octets(most=MOST_MEMBERS * VOTE_BYTES)]
    bundles: Annotated[tuple[Bundle, ...], several(Bundle.kind(), most=MOST_ROSTER)]


def present_digest(present: bytes) -> bytes:
    """Return the digest of a set of homes, given as bits."""
    return hashlib.sha256(_PRESENT + present).digest()


def to_bits(present: NDArray[np.bool_]) -> bytes:
    """Return a set of homes, bool ``[roster]``, as bits."""
    return np.packbits(present, bitorder="little").tobytes()


def from_bits(bits: bytes, roster: int) -> NDArray[np.bool_] | None:
    """Return the set of homes, bool ``[roster]``; None if the bits are not just those."""
    packed = np.frombuffer(bits, np.uint8)
    present = np.unpackbits(packed, count=min(roster, 8 * packed.size), bitorder="little")
    if present.size != roster or to_bits(present.astype(np.bool_)) != bits:
        return None
    return present.astype(np.bool_)
