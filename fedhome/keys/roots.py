"""Which keys speak for a fleet's owner: a list with a threshold, numbered, and changed by itself.

The first root is one key: the anchor that every home gets with its invite. Each later one names
the one before by its hash, and is signed by enough keys of **both**: those who could speak so far
agree, and those who may from now on show that they have their keys. Homes walk from the root that
they know to the newest, and never back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated

from fedhome.errors import DirectoryError, WireError
from fedhome.keys.signing import Signer, Verify, signature_holds
from fedhome.wire.codec import Digest, Key, Message, Signature, number, octets, several

MOST_KEYS = 16
MOST_ROOTS = 256
"""Roots after the first, at most: an owner who changes keys monthly has enough for twenty years."""
MOST_SIGNED = 8192
"""Bytes of a signed root, at most."""

_SIGNED = b"fedhome/root/1\0"
_KEYS = several(octets(32), most=MOST_KEYS)


@dataclass(frozen=True, kw_only=True)
class Root(Message, label="root", most=2048):
    """The keys of a fleet's owner, and how many of them must sign.

    Args:
        fleet: The fleet's number, 16 bytes.
        number: 0 for the first; one higher with each change.
        previous: Hash of the root before; zeros for the first.
        threshold: How many of the keys must sign.
        keys: Ed25519 public keys, sorted.
    """

    fleet: Annotated[bytes, octets(16)]
    number: Annotated[int, number(MOST_ROOTS)]
    previous: Digest
    threshold: Annotated[int, number(MOST_KEYS, least=1)]
    keys: Annotated[tuple[bytes, ...], _KEYS]

    @classmethod
    def first(cls, fleet: bytes, key: bytes) -> Root:
        """Return the root that an anchor is: one key."""
        return cls(fleet=fleet, number=0, previous=bytes(32), threshold=1, keys=(key,))

    def next(self, keys: Iterable[bytes], threshold: int) -> Root:
        """Return the root after this one.

        Args:
            keys: Public keys that speak from now on.
            threshold: How many of them must sign.

        Raises:
            DirectoryError: ``root``: they make no root.
        """
        if self.number >= MOST_ROOTS:
            raise _no_root(f"the owner's keys were changed {MOST_ROOTS} times: no more fit")
        root = Root(
            fleet=self.fleet,
            number=self.number + 1,
            previous=self.hash,
            threshold=threshold,
            keys=tuple(sorted({*keys})),
        )
        root.check()
        return root

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the root, 32 bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    def check(self) -> None:
        """Refuse a root that makes no sense, whoever signed it.

        Raises:
            DirectoryError: ``root``.
        """
        if len(self.keys) > MOST_KEYS or any(a >= b for a, b in pairwise(self.keys)):
            raise _no_root(f"the owner's keys are not sorted, or more than {MOST_KEYS}")
        if not 1 <= self.threshold <= len(self.keys):
            raise _no_root(f"{self.threshold} of {len(self.keys)} keys can never sign")

    def holds(
        self,
        statement: bytes,
        signatures: Sequence[CoSignature],
        *,
        verify: Verify = signature_holds,
    ) -> bool:
        """Return whether enough of the keys signed a statement; each counts once."""
        signed = {one.key for one in signatures if one.key in self.keys}
        given = {one.key: one.signature for one in signatures}
        sound = sum(verify(key, given[key], statement) for key in signed)
        return sound >= self.threshold

    def statement(self) -> bytes:
        """Return what is signed of the root itself."""
        return _SIGNED + self.to_bytes()


@dataclass(frozen=True, kw_only=True)
class CoSignature(Message, label="co-signature", most=256):
    """One of several signatures.

    Args:
        key: The public key.
        signature: The signature.
    """

    key: Key
    signature: Signature

    @classmethod
    def of(cls, signer: Signer, statement: bytes) -> CoSignature:
        """Return the signature of a key."""
        return cls(key=signer.public, signature=signer.sign(statement))


@dataclass(frozen=True, kw_only=True)
class SignedRoot(Message, label="signed-root", most=MOST_SIGNED):
    """A root with signatures; whether they are enough is another question.

    Args:
        root: The root.
        signatures: Of keys of the root before, and of its own.
    """

    root: Annotated[Root, Root.kind()]
    signatures: Annotated[tuple[CoSignature, ...], several(CoSignature.kind(), most=2 * MOST_KEYS)]

    def with_signature(self, signer: Signer) -> SignedRoot:
        """Return it with one more signature; the same once more changes nothing."""
        added = CoSignature.of(signer, self.root.statement())
        others = tuple(one for one in self.signatures if one.key != added.key)
        return SignedRoot(root=self.root, signatures=(*others, added))


def walk(roots: Sequence[bytes], start: Root, *, verify: Verify = signature_holds) -> Root:
    """Return the newest root, having checked each step from the one that is known.

    Args:
        roots: Signed roots in order; those up to the known one are passed over.
        start: The root that is known.
        verify: How signatures are checked.

    Raises:
        DirectoryError: ``root``: a step that too few keys signed, a number left out, or another
            root than the known one.
    """
    root = start
    for data in roots:
        try:
            signed = SignedRoot.from_bytes(data)
        except WireError:
            raise _no_root("a list of the owner's keys cannot be read") from None
        following = signed.root
        following.check()
        if following.number <= start.number:
            if following.number == start.number and following.hash != start.hash:
                raise _no_root(f"there are two lists number {start.number} of the owner's keys")
            continue
        if (following.fleet, following.number, following.previous) != (
            root.fleet,
            root.number + 1,
            root.hash,
        ):
            raise _no_root(
                f"the owner's keys number {following.number} do not follow {root.number}"
            )
        statement = following.statement()
        if not all(
            one.holds(statement, signed.signatures, verify=verify) for one in (root, following)
        ):
            raise _no_root(
                f"too few keys signed the change to the owner's keys number {following.number}: it "
                f"takes {root.threshold} of those before and {following.threshold} of the new ones"
            )
        root = following
    return root


def _no_root(message: str) -> DirectoryError:
    return DirectoryError(
        message,
        reason="root",
        hint="compare the owner's keys with those that the owner shows: `fedhome fleet show`",
    )
