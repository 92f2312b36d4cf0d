"""The files of releases in a registry's folder: each sealed under a data key of its own.

What is read is checked against the index: file, hash, signature, number in the chain.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from fedhome.errors import RegistryError, WireError
from fedhome.keys.sealing import KEY_BYTES, SealedFile, SealingKey
from fedhome.keys.signing import ServerKeys, signature_holds
from fedhome.registry.formats import ModelPayload, decode
from fedhome.registry.release import ReleaseManifest
from fedhome.registry.vault import Entry, Index, registry_errors
from fedhome.secagg.directory import Signed
from fedhome.store import disk

RELEASES = "releases"
_MANIFEST, _MODEL = "manifest", "model"
_OURS = re.compile(r"\d{8}\.(manifest|model)(\.new)?")
_ROUND = re.compile(r"\d{1,7}")
_HASH = re.compile(r"[0-9a-f]{8,64}")
_SHOWN = 12  # digits of a hash


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release as it is stored in the registry.

    Args:
        manifest: What it is.
        signed: The same with the server's signature.
        pinned: Whether its model stays, however old it gets.
        kept: Whether its model is still there.
    """

    manifest: ReleaseManifest
    signed: Signed
    pinned: bool
    kept: bool

    @property
    def number(self) -> int:
        """Its position in the chain, from 1."""
        return self.manifest.number

    @property
    def hash(self) -> bytes:
        """Hash of its manifest, 32 bytes."""
        return self.manifest.hash


Reference = Release | int | str
"""A release, a round (its newest release that is no roll-back), a hash's first 8 or more
hexadecimal digits, a text of at most 7 digits (a round), or ``"latest"``."""


def number_of(index: Index, release: Reference) -> int:
    """Return the number of the release that is meant.

    Raises:
        RegistryError: ``unknown``: none, or several.
    """
    entries = index.entries
    if isinstance(release, Release):
        return number_of(index, release.hash.hex())
    if isinstance(release, int) or _ROUND.fullmatch(release):
        numbers = [
            number
            for number, entry in enumerate(entries, 1)
            if entry.round == int(release) and entry.model == number
        ][-1:]
    elif release == "latest":
        numbers = [len(entries)] if entries else []
    elif _HASH.fullmatch(release):
        begins = release.encode()
        numbers = [
            number
            for number, entry in enumerate(entries, 1)
            if entry.hash.hex().encode().startswith(begins)
        ]
    else:
        numbers = []
    if len(numbers) != 1:
        several = "several releases are" if numbers else "no release is"
        told = str(release)
        instead = ""
        if _ROUND.fullmatch(told) and 1 <= int(told) <= len(entries):
            entry = entries[int(told) - 1]
            instead = (
                f"; a number is a round's: release {told} is of round {entry.round}, and its hash "
                f"begins with {entry.hash.hex()[:_SHOWN]}"
            )
        raise RegistryError(
            f"{several} meant by {release!r}{instead}",
            reason="unknown",
            hint="name a round, the first 8 or more digits of a hash, or latest; "
            "`fedhome model list` shows them",
        )
    return numbers[0]


def read_release(folder: Path, index: Index, number: int) -> Release:
    """Return a release, checked against the index.

    Raises:
        RegistryError: See `Registry.find`.
    """
    entry = index.entries[number - 1]
    path = _path(folder, number, _MANIFEST)
    try:
        signed = Signed.from_bytes(_unseal(path, index, number, _MANIFEST))
        manifest = ReleaseManifest.from_bytes(signed.body)
    except WireError:
        raise RegistryError(
            f"{path} is of another kind",
            reason="foreign",
            hint="another version of fedhome wrote it",
        ) from None
    if not signature_holds(index.server, signed.signature, signed.body):
        raise RegistryError(
            f"release {number} is not signed by the server",
            reason="signature",
            hint="someone with the registry key put it there: trust no release from here on",
        )
    named = (manifest.hash, manifest.number, manifest.fleet, manifest.restores or number)
    if named != (entry.hash, number, index.fleet, entry.model) or manifest.restores >= number:
        raise RegistryError(
            f"release {number} is not the one that the index names",
            reason="chain",
            hint="someone with the registry key changed it: trust no release from here on",
        )
    kept = index.entries[entry.model - 1].kept
    return Release(manifest=manifest, signed=signed, pinned=entry.pinned, kept=kept)


def read_payload(folder: Path, index: Index, manifest: ReleaseManifest) -> bytes:
    """Return the payload of a release.

    Raises:
        RegistryError: See `Registry.load`.
    """
    number = manifest.restores or manifest.number
    if not index.entries[number - 1].kept:
        raise pruned_error(number)
    path = _path(folder, number, _MODEL)
    payload = _unseal(path, index, number, _MODEL)
    if hashlib.sha256(payload).digest() != manifest.payload:
        raise RegistryError(
            f"{path} is not the model that release {manifest.number} is of",
            reason="altered",
            hint="someone with the registry key changed it: trust no release from here on",
        )
    return payload


def read_model(folder: Path, index: Index, manifest: ReleaseManifest) -> ModelPayload:
    """Return the model of a release.

    Raises:
        RegistryError: See `Registry.load`.
    """
    model = decode(read_payload(folder, index, manifest), manifest.storage)
    if model.layout.hash != manifest.layout.hex():
        raise RegistryError(
            f"the model of release {manifest.number} has another layout than it says",
            reason="layout",
            hint="go back to a release that `fedhome model verify` finds sound",
        )
    return model


def put_release(
    folder: Path,
    index: Index,
    manifest: ReleaseManifest,
    signer: ServerKeys | None,
    payload: bytes | None,
) -> tuple[Release, Entry]:
    """Write the files of a release; until the index names it, they do not count.

    Args:
        folder: The registry's.
        index: As it is.
        manifest: What to sign.
        signer: The server's keys; None: the registry's own.
        payload: The model; None: that of the release it restores.

    Raises:
        RegistryError: ``signer``, ``draft``, or a file cannot be written.
    """
    body = manifest.to_bytes()
    try:
        ReleaseManifest.from_bytes(body)
    except WireError as error:
        raise RegistryError(
            f"this cannot be published: {error.message}",
            reason="draft",
            hint="names are 1 to 255 printable bytes, numbers finite and not below 0",
        ) from None
    keys = signer or (ServerKeys.from_bytes(index.signer) if index.signer else None)
    if keys is None or keys.public != index.server:
        raise RegistryError(
            "a release of this registry is signed with another key",
            reason="signer",
            hint="use the server's folder of the fleet that the registry was made for",
        )
    signed = Signed(body=body, signature=keys.sign(body))
    secret, number = os.urandom(KEY_BYTES), manifest.number
    files = [(_MANIFEST, signed.to_bytes())]
    if payload is not None:
        files.insert(0, (_MODEL, payload))
    for what, data in files:
        sealed = SealingKey(secret).seal(
            data, purpose=_purpose(what), name=index.fleet.hex(), version=number
        )
        with registry_errors():
            disk.put(_path(folder, number, what), sealed)
    entry = Entry(
        hash=manifest.hash,
        key=secret,
        run_hash=manifest.run_hash,
        round=manifest.round,
        model=manifest.restores or number,
        pinned=False,
        kept=payload is not None,
    )
    return Release(manifest=manifest, signed=signed, pinned=False, kept=True), entry


def unknown_files(folder: Path, index: Index) -> list[Path]:
    """Return files of releases that the index does not have: what crashes left."""
    known: set[str] = set()
    for number, entry in enumerate(index.entries, 1):
        known.add(_path(folder, number, _MANIFEST).name)
        if entry.kept:
            known.add(_path(folder, number, _MODEL).name)
    with registry_errors(), disk.errors_of(folder / RELEASES, refused="not-readable"):
        return sorted(
            path
            for path in (folder / RELEASES).iterdir()
            if _OURS.fullmatch(path.name) and path.name not in known
        )


def without_old_models(index: Index, keep: int) -> tuple[Index, tuple[int, ...]]:
    """Return the index without the models that may go, and the numbers of their releases."""
    oldest = len(index.entries) - keep + 1
    needed = {
        entry.model
        for number, entry in enumerate(index.entries, 1)
        if entry.pinned or number >= oldest
    }
    entries, removed = [], []
    for number, entry in enumerate(index.entries, 1):
        if entry.kept and number not in needed:
            removed.append(number)
        entries.append(replace(entry, kept=entry.kept and number in needed))
    return replace(index, entries=tuple(entries)), tuple(removed)


def pruned_error(number: int) -> RegistryError:
    """Return the error for a release whose model was removed."""
    return RegistryError(
        f"the model of release {number} was removed",
        reason="pruned",
        hint="`fedhome model pin` keeps a model; a backup may still have it",
    )


def _path(folder: Path, number: int, what: str) -> Path:
    return folder / RELEASES / f"{number:08d}.{what}"


def _purpose(what: str) -> str:
    return f"{what} of a release"


def _unseal(path: Path, index: Index, number: int, what: str) -> bytes:
    where = str(path)
    with registry_errors():
        sealed = SealedFile.from_file(disk.read(path), purpose=_purpose(what), where=where)
        key = SealingKey(index.entries[number - 1].key)
    try:
        with registry_errors():
            return key.open(sealed, where=where)
    except RegistryError as error:
        if error.reason != "wrong-key":
            raise
        # The index's own key does not open it, so it is not the file that was written.
        raise RegistryError(
            f"{path} is not the file that was written there",
            reason="foreign",
            hint="bring the registry's folder back from a backup",
        ) from None
