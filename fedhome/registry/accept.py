"""A home decides whether it accepts a release: nothing is used before everything is checked."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from fedhome.errors import RegistryError, ReleaseError
from fedhome.registry.chain import SeenRelease, check_order, verified_manifest
from fedhome.registry.formats import ModelPayload, decode
from fedhome.registry.release import Package, ReleaseManifest, altered_error
from fedhome.secagg.directory import Directory


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
        last: What was accepted last from the server that the directory names, or what
            `fedhome.registry.follow` made of it where releases were missed; None: nothing yet, and
            the home begins with this one. What was accepted under another key does not count: the
            owner has given the server a new one, and its releases begin anew.
        layout: Hash of the layout of the home's model; None: any.

    Raises:
        ReleaseError: ``foreign``: no release; ``truncated``; ``altered``; ``signature``: not of
            the server that the directory names; ``fleet``: of another fleet; ``number``: none
            that a registry has; ``older``: a release from before the last; ``fork``: a second
            one of the same number; ``gap``: releases are left out; ``chain``: the next one, but
            it does not follow the last; ``round``: its round is before the last one's;
            ``layout``; ``format``: a payload that this version of fedhome cannot read.
    """
    manifest, payload = _verified(data, directory.server, directory.fleet)
    if last is not None and last.server == directory.server:
        check_order(manifest, last)
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
    return verified_manifest(package.signed, server, fleet), package.payload


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
    seen = SeenRelease.of(manifest, server)
    return AcceptedRelease(manifest=manifest, model=model, seen=seen)


def _of_another_layout(manifest: ReleaseManifest) -> ReleaseError:
    return ReleaseError(
        f"release {manifest.number} holds a model of another layout",
        reason="layout",
        hint="home and server must use the same plan: update the home's",
    )
