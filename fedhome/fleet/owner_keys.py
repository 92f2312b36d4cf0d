"""The keys that speak for a fleet's owner: in the owner's folder, and on other machines.

In the owner's folder lie ``authority.fh``, this machine's key, sealed under its passphrase; and
``roots.fh``, the signed changes of the owner's keys (:mod:`fedhome.keys.roots`), where there were
any. A change counts once ``roots.fh`` holds it. A co-owner's folder holds ``owner.fh``, a key like
the first, and ``owner.pub``, its public half for the owner.

What takes several signatures is a **draft** until enough are there: a file that goes from machine
to machine (`co_sign`), and back to the owner's (`OwnersKeys.collect`).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fedhome.errors import DirectoryError, StateError, WireError
from fedhome.fleet.entries import Anchor, decode_text, encode_text
from fedhome.keys.roots import MOST_ROOTS, MOST_SIGNED, CoSignature, Root, SignedRoot, walk
from fedhome.keys.sealing import SealedFile, SealingKey
from fedhome.new_folders import make_folder
from fedhome.secagg.directory import Authority, CoSigned, Directory, Signed
from fedhome.store import checksummed, disk
from fedhome.wire.codec import Message, octets, several

AUTHORITY, NEXT_AUTHORITY, ROOTS = "authority.fh", "authority.next.fh", "roots.fh"
SIGNED, DIRECTORY_DRAFT, ROOT_DRAFT = "directory.fh", "directory.draft", "keys.draft"
ANCHOR, SERVER = "fleet.pub", "server"
OWNER_FILE, OWNER_PUBLIC = "owner.fh", "owner.pub"
OWNER_PURPOSE = "fleet authority's key"
_CO_OWNER = "co-owner"
_TEXT = "fedhome-owner-1:"
_PUBLIC = 0o644

Draft = SignedRoot | CoSigned
"""What several keys sign: a change of the owner's keys, or a directory."""


@dataclass(frozen=True, kw_only=True)
class _Roots(Message, label="roots", most=1 << 22):
    roots: Annotated[tuple[bytes, ...], several(octets(most=MOST_SIGNED), most=MOST_ROOTS)]


class OwnersKeys(ABC):
    """The signing part of an owner's folder; `fedhome.fleet.owner_folder.Fleet` is the whole."""

    folder: Path

    @property
    @abstractmethod
    def first_anchor(self) -> Anchor:
        """By which the fleet's first homes know it."""

    @property
    @abstractmethod
    def epoch(self) -> int:
        """Epoch of the last directory that was signed here."""

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The changes of the owner's keys, signed, oldest first.

        Raises:
            StateError: The file is damaged.
        """
        path = self.folder / ROOTS
        return checksummed.read(path, _Roots).roots if path.exists() else ()

    @property
    def root(self) -> Root:
        """The keys that speak for the owner now.

        Raises:
            StateError: The file is damaged.
            DirectoryError: ``root``: a change in it does not hold.
        """
        return walk(self.roots, self.first_anchor.root)

    def own_key(self, passphrase: str) -> Authority:
        """Return this machine's key, which is one of the owner's.

        Raises:
            StateError: ``wrong-key``, ``foreign``, or a file is missing or damaged.
        """
        keys = self.root.keys
        for name in (AUTHORITY, NEXT_AUTHORITY):
            path = self.folder / name
            if name == AUTHORITY or path.exists():
                key = _opened(path, passphrase)
                if key.public not in keys:
                    continue
                if name == NEXT_AUTHORITY:  # it took the other one's place since
                    disk.put(self.folder / AUTHORITY, disk.read(path))
                    with disk.errors_of(path):
                        path.unlink()
                return key
        raise StateError(
            f"{self.folder / AUTHORITY} is none of this fleet's",
            reason="foreign",
            hint="bring this fleet's own key back from its backup",
        )

    def change_keys(
        self,
        passphrase: str,
        *,
        add: Iterable[bytes] = (),
        drop: Iterable[bytes] = (),
        threshold: int | None = None,
        renew: bool = False,
    ) -> tuple[SignedRoot, bool]:
        """Change the keys that speak for the owner, as far as this machine's key can.

        Args:
            passphrase: Opens this machine's key, and seals a new one.
            add: Public keys that speak from now on.
            drop: Public keys that no longer speak for it.
            threshold: How many must sign; None: as before.
            renew: Give this machine a new key in place of its own.

        Returns:
            The change, and whether it counts; else it is a draft that lies in ``keys.draft``, and
            other keys have to sign it.

        Raises:
            StateError: As `own_key`, or a file cannot be written.
            DirectoryError: ``root``: the keys make no root.
        """
        own, root = self.own_key(passphrase), self.root
        keys = {*root.keys, *add} - {*drop}
        signers = [own]
        if renew:
            fresh = Authority()
            keys = (keys - {own.public}) | {fresh.public}
            _seal(self.folder / NEXT_AUTHORITY, fresh, passphrase, self.first_anchor.fleet.hex())
            signers.append(fresh)
        following = root.next(keys, root.threshold if threshold is None else threshold)
        signed = SignedRoot(root=following, signatures=())
        for signer in signers:
            signed = signed.with_signature(signer)
        if self._takes(signed):
            return signed, True
        disk.put(self.folder / ROOT_DRAFT, signed.to_bytes(), mode=_PUBLIC)
        return signed, False

    def issue(self, authority: Authority, directory: Directory) -> tuple[bytes, bool]:
        """Return a directory with the signature of one key, and whether that is enough.

        Raises:
            DirectoryError: As `Authority.issue`.
        """
        root, data = self.root, authority.issue(directory)
        if root.number:
            body = Signed.from_bytes(data).body
            own = CoSignature.of(authority, body)
            data = CoSigned(roots=self.roots, body=body, signatures=(own,)).to_bytes()
        return data, root.threshold == 1

    def collect(self, *drafts: Draft) -> Draft:
        """Take what co-owners have signed: a change of the owner's keys, or a directory.

        Args:
            drafts: Copies of one draft; this folder's own counts too.

        Returns:
            It, with all signatures.

        Raises:
            DirectoryError: ``draft``: of different things, or of another directory than was signed
                last here; ``signature`` or ``root``: too few keys have signed.
        """
        own = self.folder / (ROOT_DRAFT if isinstance(drafts[0], SignedRoot) else DIRECTORY_DRAFT)
        copies = (*drafts, read_draft(disk.read(own))) if own.exists() else drafts
        draft = merged(copies)
        if isinstance(draft, SignedRoot):
            self._take_root(draft)
            return draft
        data = draft.to_bytes()
        directory, _ = Directory.verify_under(data, self.root)
        if directory.epoch != self.epoch:
            raise DirectoryError(
                f"this directory is of epoch {directory.epoch}, and the last one that was signed "
                f"here of epoch {self.epoch}",
                reason="draft",
                hint="collect the last one, or sign the next: `fedhome fleet directory`",
            )
        disk.put(self.folder / SIGNED, data, mode=_PUBLIC)
        with disk.errors_of(own):
            own.unlink(missing_ok=True)
        return draft

    def _takes(self, signed: SignedRoot) -> bool:
        """Take a change of the owner's keys, if enough have signed it."""
        statement = signed.root.statement()
        if not all(one.holds(statement, signed.signatures) for one in (self.root, signed.root)):
            return False
        self._take_root(signed)
        return True

    def _take_root(self, signed: SignedRoot) -> None:
        """Take a change of the owner's keys.

        Raises:
            DirectoryError: ``root``: it does not hold, or not after what counts now.
        """
        roots = (*self.roots, signed.to_bytes())
        walk(roots, self.first_anchor.root)
        checksummed.put(self.folder / ROOTS, _Roots(roots=roots))
        with disk.errors_of(self.folder):
            (self.folder / ROOT_DRAFT).unlink(missing_ok=True)
        text = f"{self.first_anchor.following(self.root).to_text()}\n".encode()
        for folder in (self.folder, self.folder / SERVER):
            disk.put(folder / ANCHOR, text, mode=_PUBLIC)


def make_owner_key(folder: Path, passphrase: str) -> bytes:
    """Make a key for a co-owner of a fleet, on a machine of its own, and return its public half.

    Raises:
        StateError: ``exists``; ``passphrase``: too short; or the folder cannot be written.
    """
    with disk.errors_of(folder):
        make_folder(folder, mode=0o700)
    if (folder / OWNER_FILE).exists():
        raise StateError(
            f"{folder} holds a key already", reason="exists", hint="name another folder"
        )
    key = Authority()
    _seal(folder / OWNER_FILE, key, passphrase, _CO_OWNER)
    disk.put(folder / OWNER_PUBLIC, f"{owner_text(key.public)}\n".encode(), mode=_PUBLIC)
    return key.public


def owner_text(key: bytes) -> str:
    """Return a public key of the owner as a line of text."""
    return encode_text(key, _TEXT)


def key_name(key: bytes) -> str:
    """Return the name of a public key, to be compared by people: 16 digits of its hash."""
    digits = hashlib.sha256(key).hexdigest()[:16]
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def read_owner(text: str) -> bytes:
    """Return the public key that a line of text holds.

    Raises:
        DirectoryError: ``owner-key``.
    """
    try:
        key = decode_text(text, _TEXT)
    except WireError:
        key = b""
    if len(key) != 32:  # noqa: PLR2004 - bytes of an Ed25519 key
        raise DirectoryError(
            "this is no key of a co-owner",
            reason="owner-key",
            hint="hand over the file owner.pub that `fedhome fleet owner-key` made, as it is",
        )
    return key


def read_draft(data: bytes) -> Draft:
    """Return a draft; its signatures are not checked here.

    Raises:
        DirectoryError: ``draft``.
    """
    try:
        return SignedRoot.from_bytes(data)
    except WireError:
        pass
    try:
        return CoSigned.from_bytes(data)
    except WireError:
        raise DirectoryError(
            "this is no draft",
            reason="draft",
            hint=f"hand over {ROOT_DRAFT} or {DIRECTORY_DRAFT} of the owner's folder, as it is",
        ) from None


def co_sign(draft: Draft, folder: Path, passphrase: str) -> Draft:
    """Return a draft with the signature of a co-owner's key.

    Args:
        draft: What to sign; look at it first.
        folder: The co-owner's.
        passphrase: Opens its key.

    Raises:
        StateError: The key cannot be used.
    """
    return draft.with_signature(_opened(folder / OWNER_FILE, passphrase))


def merged(drafts: Sequence[Draft]) -> Draft:
    """Return one draft with the signatures of several copies.

    Raises:
        DirectoryError: ``draft``: they are not of the same thing.
    """
    first = drafts[0]
    for other in drafts[1:]:
        if isinstance(first, SignedRoot) and isinstance(other, SignedRoot):
            same = first.root == other.root
        elif isinstance(first, CoSigned) and isinstance(other, CoSigned):
            same = first.body == other.body
        else:
            same = False
        if not same:
            raise DirectoryError(
                "these are drafts of different things",
                reason="draft",
                hint="name the copies of one draft that co-owners have signed",
            )
    signatures = {one.key: one for draft in drafts for one in draft.signatures}
    if isinstance(first, SignedRoot):
        return SignedRoot(root=first.root, signatures=tuple(signatures.values()))
    return CoSigned(roots=first.roots, body=first.body, signatures=tuple(signatures.values()))


def _seal(path: Path, key: Authority, passphrase: str, name: str) -> None:
    sealing = SealingKey.from_passphrase(passphrase)
    disk.put(path, sealing.seal(key.to_bytes(), purpose=OWNER_PURPOSE, name=name))


def _opened(path: Path, passphrase: str) -> Authority:
    sealed = SealedFile.from_file(disk.read(path), purpose=OWNER_PURPOSE, where=str(path))
    key = disk.unlock(sealed, where=str(path), passphrase=passphrase, key_file=path)
    return Authority.from_bytes(key.open(sealed, where=str(path)))
