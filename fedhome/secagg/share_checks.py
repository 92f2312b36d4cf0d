"""Members check shares ahead of a sum, and say what they found so that nobody can deny it.

A member answers with the values that its shares come to, which a bundle's proof foretells. They
say nothing else of the shares. Where they differ, home or member is wrong. The home settles it: it
shows the key by which it sealed for this one member, and then anybody can open that share. If it
fits, the member lied; if it does not, or the home shows nothing, the home's bundle is not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.errors import BundleError
from fedhome.keys.signing import Verify
from fedhome.secagg.bundle import (
    KEY_NAME_BYTES,
    NONCE_BYTES,
    ROW_BYTES,
    Bundle,
    BundleHead,
    rows_of_member,
    sealed_hash,
)
from fedhome.secagg.directory import MOST_HOMES, Directory, HomeKeys
from fedhome.secagg.manifest import MOST_ROSTER
from fedhome.secagg.seals import OpenedRows, SealedFor, Unopened, cipher_of, unsealed
from fedhome.secagg.share_keys import ShareKey, sealing_key
from fedhome.secagg.sharing import (
    HASHES_BYTES,
    VALUE_BYTES,
    Combine,
    combined,
    expected_of,
    factors_of,
    hashes_of,
    values_of,
)
from fedhome.wire.codec import Digest, Id, Key, Message, Signature, number, octets, several, text

HEAD_BYTES = 32 + 32 + 32 + 32 + 64
NameRows = Callable[[Sequence[bytes], bytes, str], bytes]
"""Returns the hashes that name a member's rows: as `row_hashes`."""
FOUND_BYTES = VALUE_BYTES + HASHES_BYTES
WRONG, ERASED = b"\xff" * FOUND_BYTES, b"\xfe" * FOUND_BYTES
"""Instead of values: what was sealed does not open; or the member cannot say, and blames nobody."""
_WORDS: Mapping[Unopened, bytes] = {"erased": ERASED, "wrong": WRONG}
ROW_LABEL, _CHECKED = b"fedhome/row/1\0", b"fedhome/checked/1\0"


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Message, label="check", most=1 << 26):
    """What a member is asked to check: its shares of some bundles.

    Args:
        homes: Whose bundles.
        serials: Which.
        heads: Of each bundle public key, commitment, hashes of shares and proof, signature: 192
            bytes.
        rows: Of each bundle the member's row, 168 bytes.
    """

    homes: Annotated[tuple[str, ...], several(text(), most=MOST_HOMES)]
    serials: Annotated[tuple[int, ...], several(number(least=1), most=MOST_HOMES)]
    heads: Annotated[bytes, octets(most=MOST_ROSTER * HEAD_BYTES)]
    rows: Annotated[bytes, octets(most=MOST_ROSTER * ROW_BYTES)]

    @classmethod
    def of(cls, bundles: Sequence[Bundle], member: int) -> CheckRequest:
        """Return the request to the member at an index of the committee."""
        return cls(
            homes=tuple(bundle.home for bundle in bundles),
            serials=tuple(bundle.serial for bundle in bundles),
            heads=b"".join([bundle.head_row for bundle in bundles]),
            rows=rows_of_member(bundles, member),
        )

    def check_columns(self) -> None:
        """Refuse a request whose columns differ in length.

        Raises:
            BundleError: ``check``.
        """
        count = len(self.homes)
        if (len(self.serials), len(self.heads), len(self.rows)) != (
            count,
            count * HEAD_BYTES,
            count * ROW_BYTES,
        ):
            raise BundleError("the columns of a check differ in length", reason="check")

    def parts(self) -> list[tuple[BundleHead, bytes]]:
        """Return of each bundle its head, and what fixes its shares; else as `check_columns`."""
        self.check_columns()
        found = []
        for place, (home, serial) in enumerate(zip(self.homes, self.serials, strict=True)):
            row = self.heads[place * HEAD_BYTES : (place + 1) * HEAD_BYTES]
            dealt = row[64:96]
            head = BundleHead(
                home=home,
                serial=serial,
                public=row[:32],
                commitment=row[32:64],
                sealed=sealed_hash(dealt, row[96:128]),
                signature=row[128:],
            )
            found.append((head, dealt))
        return found


@dataclass(frozen=True, kw_only=True)
class CheckAnswer(Message, label="checked", most=1 << 24):
    """What a member found.

    Args:
        directory: Hash of the directory.
        member: Its name.
        asked: Of each bundle the hash that says which row the member saw, 32 bytes.
        values: Of each what its shares come to and their hashes, 64 bytes; or `WRONG`, or `ERASED`.
        signature: The member's, of all this.
    """

    directory: Digest
    member: Id
    asked: Annotated[bytes, octets(most=MOST_ROSTER * 32)]
    values: Annotated[bytes, octets(most=MOST_ROSTER * FOUND_BYTES)]
    signature: Signature

    @cached_property
    def statement(self) -> bytes:
        """What the member signs."""
        both = hashlib.sha256(self.asked).digest() + hashlib.sha256(self.values).digest()
        return _CHECKED + self.directory + both + self.member.encode()

    def value(self, place: int) -> bytes:
        """Return what was found of the bundle at a place."""
        return self.values[place * FOUND_BYTES : (place + 1) * FOUND_BYTES]

    def check(self, directory: Directory, *, verify: Verify) -> None:
        """Refuse an answer that no member signed, or whose columns differ in length.

        Raises:
            BundleError: ``check``.
        """
        entry = directory.entries.get(self.member)
        count, rest = divmod(len(self.asked), 32)
        if (
            entry is None
            or self.member not in directory.members
            or self.directory != directory.hash
            or rest
            or len(self.values) != count * FOUND_BYTES
            or not verify(entry.identity, self.signature, self.statement)
        ):
            raise BundleError(
                f"a check of shares is not as {self.member} would sign it", reason="check"
            )


@dataclass(frozen=True, kw_only=True)
class Dispute(Message, label="dispute", most=1 << 25):
    """A member's word against a home's bundle.

    Args:
        bundle: The bundle.
        answer: What the member says.
        place: Which of its rows.
    """

    bundle: Annotated[Bundle, Bundle.kind()]
    answer: Annotated[CheckAnswer, CheckAnswer.kind()]
    place: Annotated[int, number(MOST_ROSTER)]

    def stands(self, directory: Directory, *, verify: Verify) -> bool:
        """Return whether the member signed that this very share of this bundle is wrong."""
        try:
            self.bundle.check(directory, verify=verify)
            self.answer.check(directory, verify=verify)
        except BundleError:
            return False
        member = directory.members.index(self.answer.member)
        asked = self.answer.asked[32 * self.place : 32 * self.place + 32]
        told = self.answer.value(self.place)
        return (
            asked == row_id(self.bundle, directory, member)
            and told not in (ERASED, foretold(self.bundle, directory, member))
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ShownKey(Message, label="shown-key", most=512):
    """The key by which a home sealed for one member; worth nothing for what others got.

    Args:
        key: X25519 private key.
    """

    key: Key


def row_id(bundle: Bundle, directory: Directory, member: int) -> bytes:
    """Return the hash that names a member's row of a bundle, and all that its check takes."""
    statement = bundle.head.dealt_statement(directory.hash, bundle.dealt)
    return named_row(statement, directory.members[member], bundle.row(member))


def named_row(statement: bytes, member: str, row: bytes) -> bytes:
    """Return what `row_id` does.

    Args:
        statement: `BundleHead.dealt_statement` of the bundle.
        member: The member's name.
        row: Its row.
    """
    return row_hashes([statement], row, member)


def row_hashes(statements: Sequence[bytes], rows: bytes, member: str) -> bytes:
    """Return what `named_row` does of a member's rows of several bundles, 32 bytes each.

    Args:
        statements: Of each bundle, as of `named_row`.
        rows: The member's rows of them, one after the other.
        member: The member's name.
    """
    name, sha256 = member.encode(), hashlib.sha256
    pairs = zip(statements, range(0, len(rows), ROW_BYTES), strict=True)
    return b"".join(
        [sha256(ROW_LABEL + one + rows[at : at + ROW_BYTES] + name).digest() for one, at in pairs]
    )


def foretold(bundle: Bundle, directory: Directory, member: int) -> bytes:
    """Return what a member finds of its shares if they are right, 64 bytes."""
    found: bytes = all_foretold([bundle], directory)[member, 0].tobytes()
    return found


def all_foretold(bundles: Sequence[Bundle], directory: Directory) -> NDArray[np.uint8]:
    """Return what each member finds of its shares of each bundle if they are right.

    Args:
        bundles: The bundles.
        directory: The epoch's.

    Returns:
        uint8 ``[members, bundles, 64]``.
    """
    values = expected_of([bundle.proof for bundle in bundles], directory.committee)
    shape = directory.committee, len(bundles)
    told = np.frombuffer(b"".join([bundle.hashes for bundle in bundles]), np.uint8)
    hashes = np.moveaxis(told.reshape(len(bundles), directory.committee, HASHES_BYTES), 1, 0)
    plain = values.astype("<u4").reshape(*shape, VALUE_BYTES // 4).view(np.uint8)
    return np.concatenate([plain, hashes], axis=2)


def values_found(
    found: OpenedRows, factors: NDArray[np.int64], combine: Combine = combined
) -> bytes:
    """Return what shares come to, or why not, all at once: one by one takes four times as long.

    Args:
        found: What opened of each row.
        factors: Of each, int64 ``[rows, secrets, CHECKS, 9]``.
        combine: As of `values_of`.
    """
    count = len(found.why)
    values = (
        values_of(found.shares, factors, combine).astype("<u4").reshape(count, VALUE_BYTES // 4)
    )
    hashes = found.hashes
    if hashes is None:
        hashes = np.frombuffer(hashes_of(found.shares), np.uint8).reshape(count, HASHES_BYTES)
    told: NDArray[np.uint8] = np.concatenate([values.view(np.uint8), hashes], axis=1)
    if any(found.why):
        for place, why in enumerate(found.why):
            if why is not None:
                told[place] = np.frombuffer(_WORDS[why], np.uint8)
    return told.tobytes()


def key_shown(
    dispute: Dispute,
    keys: HomeKeys,
    directory: Directory,
    secrets: Mapping[int, bytes],
    *,
    verify: Verify,
) -> ShownKey:
    """Return the key by which a home sealed for a member who says that its share is wrong.

    Args:
        dispute: What is disputed.
        keys: The home's.
        directory: The epoch's.
        secrets: The home's, by period.
        verify: How signatures are checked.

    Raises:
        BundleError: ``dispute``: no member said so of a bundle of this home; or ``erased``: the key
            is gone.
    """
    if dispute.bundle.home != keys.home or not dispute.stands(directory, verify=verify):
        raise BundleError(
            "a home shows the key of a share only to a member that signed that it is wrong",
            reason="dispute",
        )
    member = dispute.answer.member
    public = _home_key(dispute.bundle.row(directory.members.index(member)))
    for secret in secrets.values():
        own = sealing_key(secret, directory.hash, member)
        if own.public_key().public_bytes_raw() == public:
            return ShownKey(key=own.private_bytes_raw())
    raise BundleError("the key of a share that is disputed is erased", reason="erased")


def home_is_right(dispute: Dispute, shown: ShownKey, directory: Directory, key: ShareKey) -> bool:
    """Return whether a share that a member called wrong is right: then the member lied.

    Args:
        dispute: What is disputed; it stands.
        shown: What the home showed.
        directory: The epoch's.
        key: The member's in the ring for which the bundle is sealed.
    """
    bundle, member = dispute.bundle, directory.members.index(dispute.answer.member)
    row = bundle.row(member)
    named = row[NONCE_BYTES : NONCE_BYTES + KEY_NAME_BYTES]
    own, public = X25519PrivateKey.from_private_bytes(shown.key), _home_key(row)
    if own.public_key().public_bytes_raw() != public or named != key.key[:KEY_NAME_BYTES]:
        return False
    between = SealedFor(
        directory=directory.hash,
        home=bundle.home,
        member=key.member,
        home_key=public,
        member_key=key.key,
    )
    try:
        cipher = cipher_of(own, key.key, between)
    except BundleError:
        return False
    bound = bundle.head.associated_data(directory.hash) + key.member.encode()
    sealed = row[NONCE_BYTES + KEY_NAME_BYTES + 32 :]
    found = OpenedRows.of([unsealed(cipher, row[:NONCE_BYTES], sealed, bound)])
    statement = bundle.head.dealt_statement(directory.hash, bundle.dealt)
    return values_found(found, factors_of(statement)[None]) == foretold(bundle, directory, member)


def _home_key(row: bytes) -> bytes:
    return row[NONCE_BYTES + KEY_NAME_BYTES : NONCE_BYTES + KEY_NAME_BYTES + 32]
