"""What owner, homes and server exchange before the first round, as lines of text.

A home gives the owner its **entry** (public keys), the owner gives every home the **anchor**
(by which it knows directories of its fleet). Both are public, and both must arrive unaltered:
the fingerprint of an entry can be compared by telephone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedhome.errors import DirectoryError, WireError
from fedhome.fleet.state_file import STATE, FileStore
from fedhome.keys.roots import Root
from fedhome.keys.signing import signature_holds
from fedhome.secagg.directory import HomeKeys, Signed
from fedhome.secagg.home_entry import HomeEntry
from fedhome.wire.codec import Key, Message, octets

_BLANK = "\u115f\u1160\u3164\uffa0"  # letters of Hangul that are not seen
_NAME = re.compile(rf"[^\W{_BLANK}](?:[^\W{_BLANK}]|[.-])*")
_ENTRY, _ANCHOR = "fedhome-home-1:", "fedhome-fleet-1:"
_ENROL = b"fedhome/enrol/1\0"
_NAME_BYTES = 64
_FIELDS_OF_FIRST = 4  # label, version, fleet, authority


@dataclass(frozen=True, kw_only=True)
class Anchor(Message, label="anchor", most=4096):
    """What a home knows its fleet by.

    Args:
        fleet: The fleet's number, 16 bytes.
        authority: Public key under which its first directories were signed.
        later: The owner's keys where they were changed before this anchor was given out, as a
            `Root`; empty: the authority's key alone.
    """

    fleet: Annotated[bytes, octets(16)]
    authority: Key
    later: Annotated[bytes, octets(most=2048)] = b""

    def _plain(self) -> list[Any]:
        plain = super()._plain()
        return plain if self.later else plain[:-1]  # as it was before keys could be changed

    @classmethod
    def _read(cls, plain: object) -> Self:
        if type(plain) is list and len(plain) == _FIELDS_OF_FIRST:
            plain = [*plain, b""]
        elif type(plain) is list and plain[-1:] == [b""]:
            raise WireError("an anchor is not in its one form", reason="canonical")
        anchor = super()._read(plain)
        root = anchor.root
        if root.fleet != anchor.fleet or (anchor.later and not root.number):
            raise WireError("an anchor names the keys of another fleet", reason="root")
        return anchor

    @property
    def root(self) -> Root:
        """The owner's keys that this anchor names: from them a home walks to the newest."""
        if not self.later:
            return Root.first(self.fleet, self.authority)
        return Root.from_bytes(self.later)

    def following(self, root: Root) -> Self:
        """Return the anchor for those who join from now on."""
        return replace(self, later=root.to_bytes() if root.number else b"")

    def to_text(self) -> str:
        """Return a line of text, as in ``fleet.pub``."""
        return encode_text(self.to_bytes(), _ANCHOR)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the anchor that a line of text holds.

        Raises:
            DirectoryError: ``anchor``.
        """
        try:
            return cls.from_bytes(decode_text(text, _ANCHOR))
        except WireError as error:
            raise DirectoryError(
                f"this names no fleet: {error.message}",
                reason="anchor",
                hint="hand over the owner's file fleet.pub as it is",
            ) from None


def entry_text(keys: HomeKeys) -> str:
    """Return a home's entry as a line of text, signed by the home itself."""
    return encode_text(signed_entry(keys).to_bytes(), _ENTRY)


def signed_entry(keys: HomeKeys, *, tier: str = "") -> Signed:
    """Return a home's entry, signed by the home itself.

    Args:
        keys: The home's.
        tier: Which slice of the model its device carries; empty: none is named.
    """
    body = keys.entry(tier=tier).to_bytes()
    return Signed(body=body, signature=keys.sign(_ENROL + body))


def read_entry(text: str) -> HomeEntry:
    """Return the entry that a line of text holds.

    Raises:
        DirectoryError: ``entry``: cut short, altered, or with keys that cannot be used;
            ``name``: a home with such a name cannot be in a fleet.
    """
    try:
        signed = Signed.from_bytes(decode_text(text, _ENTRY))
    except WireError as error:
        raise _no_entry(error.message) from None
    entry = verified_entry(signed)
    check_name(entry.home)
    return entry


def verified_entry(signed: Signed) -> HomeEntry:
    """Return an entry that is signed by its own key, with keys that can be used.

    Raises:
        DirectoryError: ``entry``.
    """
    try:
        entry = HomeEntry.from_bytes(signed.body)
        # The few keys with which everyone shares the same secret would spoil others' bundles.
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(entry.share))
    except WireError as error:
        raise _no_entry(error.message) from None
    except ValueError:
        raise _no_entry("its key cannot be used") from None
    if not signature_holds(entry.identity, signed.signature, _ENROL + signed.body):
        raise _no_entry("it is not signed by its own key")
    return entry


def fingerprint(entry: HomeEntry) -> str:
    """Return 24 hexadecimal digits by which people compare an entry's name and keys."""
    digest = hashlib.sha256(_ENROL + entry.home.encode() + entry.identity + entry.share).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, 24, 4))


def home_keys(home: str, folder: Path | str) -> tuple[HomeKeys, bool]:
    """Return the keys that a home has in a folder, and whether they were made just now.

    Args:
        home: Its name in the fleet.
        folder: The home's own, see `FileStore`.

    Raises:
        DirectoryError: ``name``.
        StateError: The folder cannot be used, or is another home's.
    """
    check_name(home)
    folder = Path(folder)
    if is_new := not (folder / STATE).exists():
        store = FileStore.create(folder, HomeKeys.create(home))
    else:
        store = FileStore.open(folder, home=home)
    with store:
        return store.keys, is_new


def check_name(home: str) -> None:
    """Refuse a name that could not be a folder's.

    Raises:
        DirectoryError: ``name``.
    """
    if not _NAME.fullmatch(home) or len(home.encode()) > _NAME_BYTES:
        raise DirectoryError(
            f"{home!r} cannot be the name of a home",
            reason="name",
            hint=f"letters, digits and . _ - make a name, {_NAME_BYTES} bytes at most",
        )


def encode_text(data: bytes, prefix: str) -> str:
    """Return bytes as text: a prefix that says what they are, and base64."""
    return prefix + base64.b64encode(data).decode()


def decode_text(text: str, prefix: str) -> bytes:
    """Return the bytes that a text holds; any other form of them is refused.

    Raises:
        WireError: ``format``.
    """
    line = text.strip()
    if not line.startswith(prefix):
        raise WireError(f"it does not begin with {prefix.strip()}", reason="format")
    try:
        data = base64.b64decode(line.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise WireError("it is not whole", reason="format") from None
    if encode_text(data, prefix) != line:  # a last letter whose spare bits were altered
        raise WireError("it is not whole", reason="format")
    return data


def _no_entry(reason: str) -> DirectoryError:
    return DirectoryError(
        f"this is no entry of a home: {reason}",
        reason="entry",
        hint="hand over the line that `fedhome fleet keys` printed, whole and as it is",
    )
