"""The fleet's models in a folder: every release, sealed; nothing in it is ever rewritten.

::

    registry/
        registry.fh              the index: each release's hash and data key, sealed
        registry.key             opens the index, unless a passphrase does
        releases/
            00000012.manifest    a signed manifest, sealed under the release's data key
            00000012.model       its payload, likewise; a roll-back has none of its own

Any number of processes may use a registry; each change locks the folder for a moment. Until
its very last step, a change has no effect at all: files that a crash left are ignored, reported
by `Registry.verify`, and removed by `Registry.prune`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fedhome.errors import RegistryError
from fedhome.keys.signing import ServerKeys
from fedhome.new_folders import make_folder
from fedhome.registry.formats import ModelPayload
from fedhome.registry.release import NONE, Draft, Package, ReleaseManifest
from fedhome.registry.shelf import (
    RELEASES,
    Reference,
    Release,
    number_of,
    pruned_error,
    put_release,
    read_model,
    read_payload,
    read_release,
    unknown_files,
    without_old_models,
)
from fedhome.registry.vault import INDEX, MOST_RELEASES, Index, Vault, registry_errors
from fedhome.registry.verify import Report, report_on
from fedhome.store import disk


class Registry:
    """The releases in a folder; `create` and `open` make one.

    Args:
        vault: Holds the index.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.folder = vault.folder

    def __repr__(self) -> str:
        return f"Registry({str(self.folder)!r})"

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        fleet: bytes | None = None,
        server: bytes | None = None,
        passphrase: str | None = None,
        key_file: Path | str | None = None,
    ) -> Registry:
        """Make a registry without releases.

        Args:
            folder: Made if it is not there.
            fleet: The fleet's number, 16 bytes. None: of no fleet, for trials.
            server: Public key that the fleet's directory names, 32 bytes. None: the registry
                signs with a key of its own, which no directory names.
            passphrase: Opens the registry from now on; None: a key file does.
            key_file: The key file, by default in the folder. One that exists is used; it must
                belong to this registry alone.

        Raises:
            RegistryError: ``exists``; ``passphrase``: too short; or the folder cannot be used.
        """
        folder = Path(folder)
        own = ServerKeys.create() if server is None else None
        with registry_errors(), disk.errors_of(folder):
            for part in (folder, folder / RELEASES):
                make_folder(part, mode=0o700)
        vault = Vault(folder, passphrase=passphrase, key_file=Path(key_file) if key_file else None)
        with vault.locked():
            if (folder / INDEX).exists():
                raise RegistryError(
                    f"{folder} holds a registry already",
                    reason="exists",
                    hint="open it, or name another folder",
                )
            vault.create(
                Index(
                    fleet=fleet or os.urandom(16),
                    server=own.public if own is not None else server or b"",
                    signer=own.to_bytes() if own is not None else b"",
                    entries=(),
                )
            )
        return cls(vault)

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        passphrase: str | None = None,
        key_file: Path | str | None = None,
    ) -> Registry:
        """Open a registry, to read it and to change it.

        Raises:
            RegistryError: As for `fedhome.registry.vault.Vault.read`.
        """
        path = Path(key_file) if key_file else None
        vault = Vault(Path(folder), passphrase=passphrase, key_file=path)
        vault.read()
        return cls(vault)

    @property
    def fleet(self) -> bytes:
        """The fleet's number, 16 bytes."""
        return self._vault.read().fleet

    @property
    def server(self) -> bytes:
        """Public key of the server that signs."""
        return self._vault.read().server

    @property
    def signs(self) -> bool:
        """Whether the registry signs for itself, with a key that no directory names."""
        return bool(self._vault.read().signer)

    def releases(self) -> tuple[Release, ...]:
        """Return all releases, the oldest first.

        Raises:
            RegistryError: As for `find`.
        """
        index = self._vault.read()
        return tuple(
            read_release(self.folder, index, number) for number in range(1, len(index.entries) + 1)
        )

    def find(self, release: Reference) -> Release:
        """Return a release of the registry.

        Raises:
            RegistryError: ``unknown``: no such release, or several; ``missing``, ``truncated``,
                ``altered`` or ``foreign``: its manifest; ``signature``: it is not the
                server's; ``chain``: it is not the one that was published.
        """
        index = self._vault.read()
        return read_release(self.folder, index, number_of(index, release))

    def load(self, release: Reference = "latest") -> ModelPayload:
        """Return a release's model.

        Raises:
            RegistryError: As for `find` and, of the payload, ``pruned``, ``missing``,
                ``truncated``, ``altered``, ``foreign``, ``format`` or ``layout``.
        """
        index = self._vault.read()
        target = read_release(self.folder, index, number_of(index, release))
        return read_model(self.folder, index, target.manifest)

    def package(self, release: Reference = "latest") -> bytes:
        """Return a release as homes get it, for `fedhome.registry.accept`.

        Raises:
            RegistryError: As for `load`.
        """
        index = self._vault.read()
        target = read_release(self.folder, index, number_of(index, release))
        payload = read_payload(self.folder, index, target.manifest)
        return Package(signed=target.signed, payload=payload).to_release()

    def missed(self, first: int, last: int) -> tuple[bytes, ...]:
        """Return the signed manifests of releases, for homes that missed them.

        Args:
            first: Number of the first one.
            last: Number of the last one.

        Raises:
            RegistryError: As for `find`.
        """
        index = self._vault.read()
        return tuple(
            read_release(self.folder, index, number).signed.to_bytes()
            for number in range(max(first, 1), min(last, len(index.entries)) + 1)
        )

    def publish(self, draft: Draft, signer: ServerKeys | None = None) -> Release:
        """Sign a draft as the next release.

        A server publishes a round once its own checkpoint of that round is durable. Publishing
        the very same once more does nothing, so after a crash it need not know how far it came.

        Args:
            draft: From `fedhome.registry.release_of`.
            signer: The server's keys; None: the registry's own.

        Raises:
            RegistryError: ``signer``: another server's keys, or none; ``round``: the run has
                published this round, or a later one; ``draft``: a name or number in it cannot
                be kept; or the folder cannot be written.
        """
        with self._index_to_change() as index:
            rounds = [e.round for e in index.entries if e.run_hash == draft.origin.run_hash]
            if rounds and draft.round <= max(rounds):
                return self._published_before(index, draft, max(rounds))
            count = len(index.entries)
            last = read_release(self.folder, index, count) if count else None
            manifest = ReleaseManifest.of(
                draft,
                fleet=index.fleet,
                number=count + 1,
                previous=last.hash if last is not None else NONE,
            )
            return self._append(index, manifest, signer, draft.payload)

    def rollback(self, release: Reference, signer: ServerKeys | None = None) -> Release:
        """Go back to an older model, with a new release: numbers and rounds keep rising.

        The new release gives the fleet's present run and round, and everything that the old
        release said about the model.

        Args:
            release: What to go back to.
            signer: The server's keys; None: the registry's own.

        Raises:
            RegistryError: ``current``: the last release gives that model already; ``pruned``;
                ``signer``; or as for `find`.
        """
        with self._index_to_change() as index:
            chosen = read_release(self.folder, index, number_of(index, release)).manifest
            head = read_release(self.folder, index, len(index.entries))
            model = chosen.restores or chosen.number
            if model == (head.manifest.restores or head.number):
                raise RegistryError(
                    f"release {head.number} gives that model already",
                    reason="current",
                    hint="`fedhome model list` shows what there is to go back to",
                )
            target = read_release(self.folder, index, model).manifest
            read_model(self.folder, index, target)  # one that is damaged is nothing to go back to
            manifest = replace(
                target,
                number=head.number + 1,
                previous=head.hash,
                time=int(time.time()),
                run=head.manifest.run,
                run_hash=head.manifest.run_hash,
                round=head.manifest.round,
                restores=model,
            )
            return self._append(index, manifest, signer, None)

    def pin(self, release: Reference, *, pinned: bool = True) -> Release:
        """Keep a release's model, however old it gets.

        Raises:
            RegistryError: ``pruned``: it is gone; or as for `find`.
        """
        with self._index_to_change() as index:
            number = number_of(index, release)
            target = read_release(self.folder, index, number)
            if pinned and not target.kept:
                raise pruned_error(number)
            changed = replace(index.entries[number - 1], pinned=pinned)
            entries = (*index.entries[: number - 1], changed, *index.entries[number:])
            self._vault.write(replace(index, entries=entries))
            return replace(target, pinned=pinned)

    def unpin(self, release: Reference) -> Release:
        """Let a release's model be pruned when it is old.

        Raises:
            RegistryError: As for `find`.
        """
        return self.pin(release, pinned=False)

    def prune(self, keep: int) -> tuple[int, ...]:
        """Remove old models, and what crashes left; manifests stay, so the chain does too.

        Args:
            keep: How many of the newest releases keep their model. Pinned ones do, and those
                that a kept release goes back to.

        Returns:
            Numbers of the releases whose model is gone.

        Raises:
            RegistryError: ``keep``: below 1; or the folder cannot be written.
        """
        if keep < 1:
            raise RegistryError(
                f"{keep} releases cannot be kept", reason="keep", hint="homes need the newest one"
            )
        with self._index_to_change() as index:
            changed, removed = without_old_models(index, keep)
            if removed:
                self._vault.write(changed)
            # Only now: until the index said so, the files were still those of releases.
            with registry_errors(), disk.errors_of(self.folder / RELEASES):
                for path in unknown_files(self.folder, changed):
                    path.unlink(missing_ok=True)
        return removed

    def verify(self) -> Report:
        """Check every file, signature, hash and order; all that is wrong is in the report.

        Raises:
            RegistryError: The index itself cannot be read.
        """
        with self._vault.locked():
            return report_on(self.folder, self._vault.read())

    def rotate(self, *, passphrase: str | None = None, key_file: Path | str | None = None) -> None:
        """Change the registry key; the files of the releases stay as they are.

        Whoever had the old key **and** a copy of the old index can still open the releases of
        that time: their data keys stay the same.

        Args:
            passphrase: The new one; None: a key file opens the registry.
            key_file: Where it is; by default where it was, with a new key in it. Another one
                that exists is used as it is.

        Raises:
            RegistryError: ``passphrase``: too short; or a file cannot be written: then the
                old key is still the right one, or the new one is, and `open` finds out which.
        """
        path = Path(key_file) if key_file else None
        with self._index_to_change() as index:
            self._vault.rotate(index, passphrase=passphrase, key_file=path)

    @contextmanager
    def _index_to_change(self) -> Iterator[Index]:
        with self._vault.locked():
            self._vault.settle()
            yield self._vault.read()

    def _published_before(self, index: Index, draft: Draft, last: int) -> Release:
        """Return what was published of a draft's round, if it was this very model."""
        payload = hashlib.sha256(draft.payload).digest()
        for number, entry in enumerate(index.entries, 1):
            same = entry.run_hash == draft.origin.run_hash and entry.round == draft.round
            if same and entry.model == number:
                published = read_release(self.folder, index, number)
                if published.manifest.payload == payload:
                    return published
        raise RegistryError(
            f"round {last} of run {draft.origin.run!r} is published; round {draft.round} does "
            "not come after it",
            reason="round",
            hint="to go back to an older model, use `fedhome model rollback`",
        )

    def _append(
        self,
        index: Index,
        manifest: ReleaseManifest,
        signer: ServerKeys | None,
        payload: bytes | None,
    ) -> Release:
        if len(index.entries) >= MOST_RELEASES:
            raise RegistryError(
                f"{self.folder} has {MOST_RELEASES} releases: no more fit",
                reason="full",
                hint="homes count the releases of each server key apart: a new key of the server, "
                "named by the fleet's next directory, begins a new registry",
            )
        release, entry = put_release(self.folder, index, manifest, signer, payload)
        self._vault.write(replace(index, entries=(*index.entries, entry)))
        return release
