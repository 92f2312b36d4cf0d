"""The order of releases as a home sees it: no number is left out, and none comes twice.

A home takes number last + 1, or a later one with the signed manifests of those in between: a gap
is walked, not believed. So nobody can lead a home past numbers that it never saw, nor to the end of
all numbers, without having signed every release on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fedhome.errors import ReleaseError, WireError
from fedhome.keys.signing import signature_holds
from fedhome.registry.release import ReleaseManifest
from fedhome.registry.vault import MOST_RELEASES
from fedhome.secagg.directory import Directory, Signed
from fedhome.wire.codec import Digest, Key, Message, number

ASK_OWNER = "the server's registry was set back or replaced: ask the fleet's owner"


@dataclass(frozen=True, kw_only=True)
class SeenRelease(Message, label="release-seen", most=512):
    """What a home remembers of the last release that it knows; it belongs in its state.

    Releases are counted for each server key apart. A home keeps one of these for each key from
    which it ever accepted a release: a key that comes back continues where it was.

    Args:
        server: Public key of the server that signed the release.
        number: The release's number.
        hash: Hash of its manifest.
        run_hash: Its run.
        round: Its round.
    """

    server: Key
    number: Annotated[int, number(least=1)]
    hash: Digest
    run_hash: Digest
    round: Annotated[int, number()]

    @classmethod
    def of(cls, manifest: ReleaseManifest, server: bytes) -> SeenRelease:
        """Return what is remembered of a release of a server's."""
        return cls(
            server=server,
            number=manifest.number,
            hash=manifest.hash,
            run_hash=manifest.run_hash,
            round=manifest.round,
        )


def follow(
    chain: Sequence[bytes],
    directory: Directory,
    last: SeenRelease,
    *,
    named: Mapping[int, bytes] | None = None,
) -> SeenRelease:
    """Walk releases that a home has missed, by their manifests alone, and return the last one.

    Args:
        chain: Signed manifests, as `Registry.missed` returns them: the first has the number after
            ``last``.
        directory: The fleet's directory, verified under the owner's key.
        last: What is remembered, of the server that the directory names.
        named: Hashes of releases that the server has named before, by number.

    Raises:
        ReleaseError: ``format``, ``signature``, ``fleet``, ``number``, ``fork``: another release
            than was named; or a reason of `check_order`.
    """
    for data in chain:
        try:
            signed = Signed.from_bytes(data)
        except WireError:
            raise _unreadable() from None
        manifest = verified_manifest(signed, directory.server, directory.fleet)
        check_order(manifest, last)
        if manifest.number == last.number:  # whoever walks on the spot never arrives
            raise ReleaseError(
                f"release {manifest.number} came twice", reason="chain", hint=ASK_OWNER
            )
        if named and named.get(manifest.number, manifest.hash) != manifest.hash:
            raise ReleaseError(
                f"the server named another release {manifest.number} before",
                reason="fork",
                hint=ASK_OWNER,
            )
        last = SeenRelease.of(manifest, directory.server)
    return last


def verified_manifest(signed: Signed, server: bytes, fleet: bytes) -> ReleaseManifest:
    """Return a manifest that a fleet's server signed.

    Args:
        signed: The manifest with its signature.
        server: The server's public key.
        fleet: The fleet's number.

    Raises:
        ReleaseError: ``signature``, ``format``, ``fleet``, or ``number``: above the highest that
            a registry has.
    """
    if not signature_holds(server, signed.signature, signed.body):
        raise ReleaseError(
            "the release is not signed by the server that the fleet's directory names",
            reason="signature",
            hint="it was altered, or is another server's; a new directory may be needed",
        )
    try:
        manifest = ReleaseManifest.from_bytes(signed.body)
    except WireError:
        raise _unreadable() from None
    if manifest.fleet != fleet:
        raise ReleaseError(
            "the release is of another fleet",
            reason="fleet",
            hint="one server serves both: ask it for this fleet's",
        )
    if manifest.number > MOST_RELEASES:
        raise ReleaseError(
            f"a release has the number {manifest.number}, and no registry goes beyond "
            f"{MOST_RELEASES}",
            reason="number",
            hint="somebody else may have the server's key: the fleet's owner gives it a new one",
        )
    return manifest


def check_order(manifest: ReleaseManifest, last: SeenRelease) -> None:
    """Refuse a release that is neither the last one again nor the one after it.

    Args:
        manifest: What comes.
        last: What is remembered, of the same server key.

    Raises:
        ReleaseError: ``older``; ``fork``: a second one of the same number; ``gap``: releases are
            left out; ``chain``: it does not follow the last; ``round``: its round is before the
            last one's.
    """
    if manifest.number < last.number:
        raise ReleaseError(
            f"release {manifest.number} came after release {last.number}",
            reason="older",
            hint="older models come back as a new release: `fedhome model rollback`",
        )
    if manifest.number == last.number:
        if manifest.hash != last.hash:
            raise ReleaseError(
                f"there are two releases with number {last.number}", reason="fork", hint=ASK_OWNER
            )
        return
    if manifest.number > last.number + 1:
        raise ReleaseError(
            f"release {manifest.number} came without those after release {last.number}",
            reason="gap",
            hint="the server must hand over the manifests of all releases in between: `fedhome "
            "model verify` on the server finds what it has lost",
        )
    if manifest.previous != last.hash:
        raise ReleaseError(
            f"release {manifest.number} does not follow release {last.number}",
            reason="chain",
            hint=ASK_OWNER,
        )
    if manifest.run_hash == last.run_hash and (
        manifest.round < last.round or (manifest.round == last.round and not manifest.restores)
    ):
        raise ReleaseError(
            f"release {manifest.number} is of round {manifest.round}, the last one was of "
            f"round {last.round}",
            reason="round",
            hint=ASK_OWNER,
        )


def _unreadable() -> ReleaseError:
    return ReleaseError(
        "the release has a manifest that cannot be read",
        reason="format",
        hint="another version of fedhome made it: update this one",
    )
