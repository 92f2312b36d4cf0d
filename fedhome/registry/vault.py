"""The registry's index on disk, sealed under the registry key, and how that key is changed.

The index holds each release's own **data key**. So a new registry key means one new index, and
the files of the releases stay as they are; and every change of the registry, whatever it is,
happens at the one moment at which the new index replaces the old one.

A new key file is first written beside the old one, then the index is replaced, then the key
file. Between the last two steps the index opens with the key file that is still beside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fedhome.errors import RegistryError, StateError, WireError
from fedhome.keys.sealing import KEY_BYTES, SealedFile, SealingKey
from fedhome.store import disk
from fedhome.wire.codec import Digest, Flag, Key, Message, number, octets, several

INDEX, KEY_FILE = "registry.fh", "registry.key"
MOST_RELEASES = 100_000  # as long as a list of `fedhome.wire.codec` may be
_PURPOSE = "registry of models"
_MOST = 1 << 26
_PATIENCE_S = 10.0
_DAMAGED = ("truncated", "altered", "foreign")


@dataclass(frozen=True, kw_only=True, repr=False)
class Entry(Message, label="registry-entry", most=512):
    """A release as the index has it; its number is its position, from 1.

    Args:
        hash: Hash of its manifest.
        key: Its data key, 32 bytes.
        run_hash: Its run.
        round: Its round.
        model: Number of the release whose payload it gives: its own, or that it restores.
        pinned: Whether its payload stays, however old it gets.
        kept: Whether its own payload is still there.
    """

    hash: Digest
    key: Key
    run_hash: Digest
    round: Annotated[int, number()]
    model: Annotated[int, number(least=1)]
    pinned: Flag
    kept: Flag


@dataclass(frozen=True, kw_only=True, repr=False)
class Index(Message, label="registry", most=_MOST):
    """All that the registry knows of its releases.

    Args:
        fleet: The fleet's number, 16 bytes.
        server: Public key of the server that signs.
        signer: Its private key, where the registry signs for itself; else empty.
        entries: One for each release.
    """

    fleet: Annotated[bytes, octets(16)]
    server: Key
    signer: Annotated[bytes, octets(most=32)]
    entries: Annotated[tuple[Entry, ...], several(Entry.kind(), most=MOST_RELEASES)]


class Vault:
    """The index of one folder, and what opens it.

    Args:
        folder: The registry's folder.
        passphrase: Opens the index; None: a key file does.
        key_file: The key file; None: the one in the folder.
    """

    def __init__(
        self, folder: Path, *, passphrase: str | None = None, key_file: Path | None = None
    ) -> None:
        self.folder = folder
        self.key_file = key_file or folder / KEY_FILE
        self._passphrase = passphrase
        self._key: SealingKey | None = None
        self._is_beside = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes, waiting for them for some seconds."""
        with registry_errors():
            lock = disk.lock(self.folder, wait_s=_PATIENCE_S)
        try:
            yield
        finally:
            os.close(lock)

    def create(self, index: Index) -> None:
        """Write the first index, with a key file where there is none."""
        with registry_errors():
            if self._passphrase is not None:
                self._key = SealingKey.from_passphrase(self._passphrase)
            else:
                if not self.key_file.exists():
                    disk.put(self.key_file, os.urandom(KEY_BYTES))
                self._key = SealingKey(disk.read_key(self.key_file))
        self.write(index)

    def read(self) -> Index:
        """Return the index as it is on the disk.

        Raises:
            RegistryError: ``missing``, ``truncated``, ``altered``, ``foreign``, ``wrong-key``,
                ``passphrase`` (needed, or not), ``permissions``, ``not-readable`` or ``disk``.
        """
        path = self.folder / INDEX
        with registry_errors(), disk.errors_of(path, refused="not-readable"):
            if not path.exists():
                raise StateError(
                    f"there is no registry in {self.folder}",
                    reason="missing",
                    hint="`fedhome model publish RUN REGISTRY` makes one",
                )
            sealed = SealedFile.from_file(disk.read(path), purpose=_PURPOSE, where=str(path))
            body = self._open(sealed, str(path))
        try:
            return Index.from_bytes(body)
        except WireError:
            raise RegistryError(
                f"{path} is of another kind",
                reason="foreign",
                hint="another version of fedhome wrote it: use that one",
            ) from None

    def settle(self) -> None:
        """Complete a change of keys that was interrupted, while the folder is locked.

        Raises:
            RegistryError: As for `read`.
        """
        if not _beside(self.key_file).exists():
            return
        # The key at hand may be the one beside, whose file must not be lost: the disk decides.
        self._key = None
        self.read()
        with registry_errors():
            if self._is_beside:
                disk.commit(_beside(self.key_file), self.key_file)
            else:
                disk.discard(self.key_file)

    def write(self, index: Index) -> None:
        """Replace the index: the moment at which a change happens."""
        with registry_errors():
            disk.put(self.folder / INDEX, self._seal(index, self._key))

    def rotate(
        self, index: Index, *, passphrase: str | None = None, key_file: Path | None = None
    ) -> None:
        """Seal an index, as it was read last, under a new key; see `Registry.rotate`."""
        target = key_file or self.key_file
        with registry_errors():
            if passphrase is not None:
                key = SealingKey.from_passphrase(passphrase)
            elif target.exists() and target.resolve() != self.key_file.resolve():
                key = SealingKey(disk.read_key(target))
            else:
                secret = os.urandom(KEY_BYTES)
                disk.stage(target, secret)
                key = SealingKey(secret)
            new = disk.stage(self.folder / INDEX, self._seal(index, key))
            # From here on only the disk knows which key is the right one: `read` finds out.
            self._key = None
            self._passphrase, self.key_file = passphrase, target
            disk.commit(new, self.folder / INDEX)
            self._key = key
            if passphrase is not None:
                if target == self.folder / KEY_FILE:  # it opens nothing any more
                    target.unlink(missing_ok=True)
            elif _beside(target).exists():
                disk.commit(_beside(target), target)

    def _open(self, sealed: SealedFile, where: str) -> bytes:
        if self._key is not None:
            try:
                return self._key.open(sealed, where=where)
            except StateError as error:
                if error.reason != "wrong-key":  # another process has changed the key
                    raise
        first: StateError | None = None
        for path in (self.key_file, _beside(self.key_file)):
            if first is not None and (self._passphrase is not None or not path.exists()):
                break
            try:
                key = disk.unlock(sealed, where=where, passphrase=self._passphrase, key_file=path)
                body = key.open(sealed, where=where)
            except StateError as error:
                first = first or error
            else:
                self._key, self._is_beside = key, path != self.key_file
                return body
        assert first is not None  # the loop ends with a body, or with an error
        raise first

    def _seal(self, index: Index, key: SealingKey | None) -> bytes:
        assert key is not None  # `create` and `read` come first
        body = index.to_bytes()
        return key.seal(body, purpose=_PURPOSE, name=index.fleet.hex(), version=len(index.entries))


def needs_passphrase(folder: Path | str) -> bool:
    """Return whether a registry opens with a passphrase, not with a key file.

    Raises:
        RegistryError: As for `Vault.read`.
    """
    path = Path(folder) / INDEX
    with registry_errors():
        sealed = SealedFile.from_file(disk.read(path), purpose=_PURPOSE, where=str(path))
    return bool(sealed.head.scrypt)


@contextmanager
def registry_errors() -> Iterator[None]:
    """Turn a `StateError` about a file into a `RegistryError` of the same reason."""
    try:
        yield
    except StateError as error:
        hint = _BACKUP if error.reason in _DAMAGED else error.hint
        raise RegistryError(error.message, reason=error.reason, hint=hint) from None


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")  # where `disk.stage` writes


_BACKUP = "bring the registry's folder back from a backup"
