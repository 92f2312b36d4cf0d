"""What a home knows to be newest: it takes part by nothing older, and by nothing that contradicts.

In ``head.fh`` of the home's folder lies what the server has said and signed: when it did so last,
and which releases it named that the home has not walked to yet. It is written before it counts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fedhome.clients.agent.release_memory import seen_release
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DirectoryError, ReleaseError, StateError, WireError
from fedhome.fleet.freshness import FRESH_S, Freshness, check_fresh
from fedhome.keys.roots import Root
from fedhome.keys.signing import Verify, signature_holds
from fedhome.registry.release import NONE
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import Manifest
from fedhome.store import checksummed
from fedhome.wire.codec import Digest, Key, Message, number, octets, several
from fedhome.wire.moments import when

HEAD = "head.fh"
MOST_AHEAD = 64
"""Releases that were named and not walked to, at most."""


@dataclass(frozen=True, kw_only=True)
class NamedRelease(Message, label="named-release", most=256):
    """A release that the server has named.

    Args:
        server: The server's public key.
        number: Its number.
        hash: Hash of its manifest.
    """

    server: Key
    number: Annotated[int, number(least=1)]
    hash: Digest


@dataclass(frozen=True, kw_only=True)
class KnownHead(Message, label="known-head", most=1 << 15):
    """What the server has said.

    Args:
        time: When it said so last, Unix time in s, by its clock; 0 for never.
        root: The owner's keys under which the newest directory was signed, as a `Root`; empty:
            those of the home's anchor.
        directory: Hash of the directory that it named then; zeros for none.
        ahead: Releases that it named and the home has not walked to, lowest first.
    """

    time: Annotated[int, number()]
    root: Annotated[bytes, octets(most=2048)]
    directory: Digest
    ahead: Annotated[tuple[NamedRelease, ...], several(NamedRelease.kind(), most=MOST_AHEAD)]


_NOTHING = KnownHead(time=0, root=b"", directory=bytes(32), ahead=())


def known_head(home_folder: HomeFolder) -> KnownHead:
    """Return what a home's server has said.

    Args:
        home_folder: The home's folder.

    Raises:
        StateError: ``altered``: to forget is to be told anything again, which is for people to
            decide; or it cannot be read.
    """
    path = home_folder.path / HEAD
    if not path.exists():
        return _NOTHING
    try:
        return checksummed.read(path, KnownHead)
    except StateError as error:
        if error.reason != "altered":
            raise
        raise _damaged(path) from None


def newest_root(home_folder: HomeFolder, known: KnownHead) -> Root:
    """Return the owner's newest keys that a home knows: by its anchor, or by a later directory.

    Raises:
        StateError: What is remembered cannot be read.
    """
    anchored = home_folder.anchor.root
    if not known.root:
        return anchored
    try:
        return max(anchored, Root.from_bytes(known.root), key=lambda root: root.number)
    except WireError:
        raise _damaged(home_folder.path / HEAD) from None


def _damaged(path: Path) -> StateError:
    return StateError(
        f"{path} is damaged: the home no longer knows what the server has called the newest",
        reason="altered",
        hint="if you trust what the server says now, remove this file",
    )


_LATE = "a question that arrives late is refused so, too; if every question is, "


def _clock() -> float:
    return time.time()


class HeadKeeper:
    """Holds a home's server to what it has said.

    Args:
        home_folder: The home's folder.
        clock: Unix time, s.
    """

    def __init__(self, home_folder: HomeFolder, clock: Callable[[], float] = _clock) -> None:
        self._home_folder, self._clock = home_folder, clock
        self._directory: Directory | None = None
        self._verified: tuple[bytes, Directory] | None = None  # SHA-256 of its bytes
        self._heard: bytes | None = None

    @property
    def root(self) -> Root:
        """The owner's newest keys that the home knows.

        Raises:
            StateError: What is remembered cannot be read.
        """
        return newest_root(self._home_folder, known_head(self._home_folder))

    def now(self) -> float:
        """Return the time: no clock that was set back makes old things young again.

        Raises:
            StateError: What is remembered cannot be read.
        """
        return max(self._clock(), known_head(self._home_folder).time)

    def read_directory(
        self,
        data: bytes,
        authority: bytes,
        *,
        last: tuple[int, bytes] | None = None,
        verify: Verify = signature_holds,
    ) -> Directory:
        """Do what `Directory.verify` does, and hold it to time and to the server's last word.

        It must be signed under the owner's newest keys that the home knows, or later ones; these
        are remembered. The key that is given counts no more than the home's anchor says.

        Raises:
            WireError: Bytes that are no directory.
            DirectoryError: As `Directory.verify`; ``expired``; or a reason of `take`.
            StateError: As `take`.
        """
        del authority  # the anchor's, from which the owner's keys may have moved on
        known = known_head(self._home_folder)
        directory, root = Directory.verify_under(
            data, newest_root(self._home_folder, known), last=last, verify=verify
        )
        heard, self._heard = self._heard, None
        directory.check_time(self.now())
        if heard is not None:
            self.take(heard, directory)
            known = known_head(self._home_folder)
        if root is not None and root.number:
            self._keep(known, replace(known, root=root.to_bytes()))
        self._directory = directory
        self._verified = hashlib.sha256(data).digest(), directory
        return directory

    def verified(self, data: bytes) -> Directory:
        """Return the directory of these bytes, signed under the home's anchor.

        The last one is not read again: that takes a large fleet's home longer than all else that
        it does between two questions.

        Raises:
            WireError: Bytes that are no directory.
            DirectoryError: As `Directory.verify`.
        """
        digest = hashlib.sha256(data).digest()
        if self._verified is None or self._verified[0] != digest:
            self._verified = digest, Directory.verify(data, self._home_folder.anchor.root)
        return self._verified[1]

    def hear(self, data: bytes) -> None:
        """Hear the server's word on what is newest; it counts with the directory that comes along.

        Args:
            data: As `Freshness.sign` wrote it.
        """
        self._heard = data

    def take(self, data: bytes, directory: Directory) -> Freshness:
        """Take the server's word on what is newest, and remember it.

        Args:
            data: As `Freshness.sign` wrote it.
            directory: The directory that the home has.

        Raises:
            DirectoryError: A reason of `Freshness.verify`; ``older-head`` or ``other-head``: the
                home knows a later release, or another one of this number; ``too-far-ahead``.
            StateError: It cannot be kept; ``seen``: nor can it be compared.
        """
        known = known_head(self._home_folder)
        here = self._clock()
        try:
            said = Freshness.verify(data, directory, now=self.now(), clock=here)
        except DirectoryError as error:
            if error.reason != "stale" or known.time <= here + FRESH_S:
                raise
            raise DirectoryError(  # nobody would know why a word of this minute is an old one
                f"the server said on {when(known.time)} what is newest, and it is {when(here)} "
                "here",
                reason="stale",
                hint="if it is not, set this clock by the network (NTP); if it is, both clocks "
                f"were ahead then: stop the agent and remove {self._home_folder.path / HEAD}, if "
                "you trust what the server says now",
            ) from None
        ahead = self._with_release(known, directory.server, said.number, said.release)
        self._keep(
            known,
            replace(
                known,
                time=max(known.time, said.time),
                directory=said.directory,
                ahead=ahead,
            ),
        )
        return said

    def read_manifest(
        self, data: bytes, directory: Directory, *, verify: Verify = signature_holds
    ) -> Manifest:
        """Do what `Manifest.verify` does, and hold the server to the release that it names there.

        Homes of one sum have one manifest, or masks that do not cancel: so those who take part
        agree on directory and release, and each remembers them.

        Raises:
            WireError: Bytes that are no manifest.
            ManifestError: As `Manifest.verify`.
            DirectoryError: ``older-head``, ``other-head`` or ``too-far-ahead``.
            StateError: As `take`.
        """
        manifest = Manifest.verify(data, directory, verify=verify)
        known = known_head(self._home_folder)
        named = (manifest.release, manifest.release_hash)
        ahead = self._with_release(known, directory.server, *named, hint=_LATE)
        self._keep(known, replace(known, ahead=ahead))
        return manifest

    def check(self) -> None:
        """Refuse to take part by a directory that has expired, or that may not be the newest.

        Raises:
            DirectoryError: ``expired``, ``stale`` or ``other-directory``.
            StateError: What is remembered cannot be read.
        """
        if self._directory is None:  # nothing can be asked of a home that has none
            return
        known, now = known_head(self._home_folder), self.now()
        self._directory.check_time(now)
        check_fresh(known.time, now)
        if known.directory != self._directory.hash:
            raise DirectoryError(
                f"the server has not said that the directory of epoch {self._directory.epoch} is "
                "the newest",
                reason="other-directory",
                hint="it says so when the home connects again, which the home does by itself",
            )

    @property
    def waiting(self) -> int:
        """How many releases were named that the home has not walked to.

        Raises:
            StateError: What is remembered cannot be read.
        """
        if self._directory is None:
            return 0
        server = self._directory.server
        ahead = [one.number for one in known_head(self._home_folder).ahead if one.server == server]
        walked = self._walked(server)[0] if ahead else 0
        return sum(1 for number in ahead if number > walked)

    def named(self, server: bytes) -> dict[int, bytes]:
        """Return the releases that a server has named and the home has not walked to: their hashes.

        Args:
            server: The server's public key.

        Raises:
            StateError: What is remembered cannot be read.
        """
        ahead = known_head(self._home_folder).ahead
        return {one.number: one.hash for one in ahead if one.server == server}

    def _with_release(
        self, known: KnownHead, server: bytes, number: int, digest: bytes, *, hint: str = ""
    ) -> tuple[NamedRelease, ...]:
        """Return the releases ahead of the home's, with one that is named now.

        Raises:
            DirectoryError: ``older-head`` or ``other-head``: it contradicts what the home knows;
                ``too-far-ahead``: the home has to walk first.
            StateError: ``seen``.
        """
        walked, digest_walked = self._walked(server)
        ahead = [one for one in known.ahead if one.server != server or one.number > walked]
        hashes = {one.number: one.hash for one in ahead if one.server == server}
        hashes[walked] = digest_walked
        if hashes.get(number, digest) != digest:
            raise DirectoryError(
                f"the server names another release {number} than the one that this home knows",
                reason="other-head",
                hint="it has led homes along two chains, or its registry was replaced: ask the "
                "fleet's owner, and compare `fedhome client status` among homes",
            )
        if number < (last := max(hashes)):
            raise DirectoryError(
                f"the server says that release {number} is the newest, and this home knows release "
                f"{last}",
                reason="older-head",
                hint=f"{hint}its registry was set back: bring it back from a backup that has that "
                "release, or give the server a new key",
            )
        if number not in hashes:
            ahead.append(NamedRelease(server=server, number=number, hash=digest))
        own = [one for one in ahead if one.server == server]
        if len(own) > MOST_AHEAD:
            raise DirectoryError(
                f"the server has named {len(own)} releases that this home could not fetch",
                reason="too-far-ahead",
                hint="the home's own log says why it takes no release",
            )
        # A server whose key was exchanged keeps no home from the next one, however many it named.
        others = [one for one in ahead if one.server != server]
        return (*others[max(0, len(ahead) - MOST_AHEAD) :], *own)

    def _walked(self, server: bytes) -> tuple[int, bytes]:
        """Return number and hash of the last release that the home has walked to."""
        try:
            seen = seen_release(self._home_folder, server)
        except ReleaseError as error:
            raise StateError(error.message, reason=error.reason, hint=error.hint) from None
        return (0, NONE) if seen is None else (seen.number, seen.hash)

    def _keep(self, known: KnownHead, now: KnownHead) -> None:
        if now != known:
            checksummed.put(self._home_folder.path / HEAD, now)
