"""A home decides whether it accepts a release: nothing is used before everything is checked."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated

from fedhome.errors import RegistryError, ReleaseError, WireError
from fedhome.keys.signing import signature_holds
from fedhome.registry.formats import ModelPayload, decode
from fedhome.registry.release import Package, ReleaseManifest, altered_error
from fedhome.secagg.directory import Directory
from fedhome.wire.codec import Digest, Key, Message, number


@dataclass(frozen=True, kw_only=True)
class SeenRelease(Message, label="release-seen", most=512):
    """What a home remembers of the release that it accepted last; it belongs in its state.

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


@dataclass(frozen=True, kw_only=True)
class AcceptedRelease:
    """A release that holds.

    Args:
        manifest: What it is.
        model: Its model.
        seen: What to keep for the next time, **before** the model is used.
    """

    manifest: ReleaseManifest
    model: ModelPayload
    seen: SeenRelease


def accept(
    data: bytes, directory: Directory, last: SeenRelease | None = None, *, layout: str | None = None
) -> AcceptedRelease:
    """Return the model of a release, if it is the server's, of this fleet, whole and new.

    The release that was accepted last is accepted again: a home that stopped before it could
    use it may ask once more.

    Args:
        data: As `Registry.package` returned it.
        directory: The fleet's directory, verified under the owner's key.
        last: What was accepted last from the server that the directory names; None: nothing
            yet, and any number is right. What was accepted under another key does not count:
            the owner has given the server a new one, and its releases begin anew.
        layout: Hash of the layout of the home's model; None: any.

    Raises:
        ReleaseError: ``foreign``: no release; ``truncated``; ``altered``; ``signature``: not of
            the server that the directory names; ``fleet``: of another fleet; ``older``: a
            release from before the last; ``fork``: a second one of the same number;
            ``chain``: the next one, but it does not follow the last; ``round``: its round is
            before the last one's; ``layout``; ``format``: a payload that this version of
            fedhome cannot read.
    """
    manifest, payload = _verified(data, directory.server, directory.fleet)
    if last is not None and last.server == directory.server:
        _check_order(manifest, last)
    return _accept_payload(manifest, payload, directory.server, layout)


def recall(data: bytes, *, server: bytes, fleet: bytes) -> AcceptedRelease:
    """Return a release that a home accepted earlier, from its own copy.

    Args:
        data: As it came.
        server: Public key of the server that the directory named then.
        fleet: The fleet's number.

    Raises:
        ReleaseError: Not the bytes that were accepted; reasons as for `accept`.
    """
    manifest, payload = _verified(data, server, fleet)
    return _accept_payload(manifest, payload, server, None)


def _verified(data: bytes, server: bytes, fleet: bytes) -> tuple[ReleaseManifest, bytes]:
    """Return a manifest that the fleet's server signed, and a payload that nobody has checked."""
    package = Package.from_release(data)
    body = package.signed.body
    if not signature_holds(server, package.signed.signature, body):
        raise ReleaseError(
            "the release is not signed by the server that the fleet's directory names",
            reason="signature",
            hint="it was altered, or is another server's; a new directory may be needed",
        )
    try:
        manifest = ReleaseManifest.from_bytes(body)
    except WireError:
        raise ReleaseError(
            "the release has a manifest that cannot be read",
            reason="format",
            hint="another version of fedhome made it: update this one",
        ) from None
    if manifest.fleet != fleet:
        raise ReleaseError(
            "the release is of another fleet",
            reason="fleet",
            hint="one server serves both: ask it for this fleet's",
        )
    return manifest, package.payload


def _accept_payload(
    manifest: ReleaseManifest, payload: bytes, server: bytes, layout: str | None
) -> AcceptedRelease:
    """Return a release whose payload is the one that its manifest names."""
    if not hmac.compare_digest(hashlib.sha256(payload).digest(), manifest.payload):
        raise altered_error()
    if layout is not None and layout != manifest.layout.hex():
        raise _of_another_layout(manifest)
    try:
        model = decode(payload, manifest.storage)
    except RegistryError as error:
        raise ReleaseError(error.message, reason=error.reason, hint=error.hint) from None
    if model.layout.hash != manifest.layout.hex():
        raise _of_another_layout(manifest)
    seen = SeenRelease(
        server=server,
        number=manifest.number,
        hash=manifest.hash,
        run_hash=manifest.run_hash,
        round=manifest.round,
    )
    return AcceptedRelease(manifest=manifest, model=model, seen=seen)


def _check_order(manifest: ReleaseManifest, last: SeenRelease) -> None:
    if manifest.number < last.number:
        raise ReleaseError(
            f"release {manifest.number} came after release {last.number}",
            reason="older",
            hint="older models come back as a new release: `fedhome model rollback`",
        )
    if manifest.number == last.number:
        if manifest.hash != last.hash:
            raise ReleaseError(
                f"there are two releases with number {last.number}", reason="fork", hint=_ASK
            )
        return
    if manifest.number == last.number + 1 and manifest.previous != last.hash:
        raise ReleaseError(
            f"release {manifest.number} does not follow release {last.number}",
            reason="chain",
            hint=_ASK,
        )
    # Where releases were missed, their hashes are not at hand; number and round still rise.
    if manifest.run_hash == last.run_hash and (
        manifest.round < last.round or (manifest.round == last.round and not manifest.restores)
    ):
        raise ReleaseError(
            f"release {manifest.number} is of round {manifest.round}, the last one was of "
            f"round {last.round}",
            reason="round",
            hint=_ASK,
        )


def _of_another_layout(manifest: ReleaseManifest) -> ReleaseError:
    return ReleaseError(
        f"release {manifest.number} holds a model of another layout",
        reason="layout",
        hint="home and server must use the same plan: update the home's",
    )


_ASK = "the server's registry was set back or replaced: ask the fleet's owner"
