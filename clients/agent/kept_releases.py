"""The fleet's model in a home: the newest release that holds, fetched, checked and kept.

In the home's folder, ``model/`` holds

- ``release.fh``: the release in use, as it came, with the key of the server that signed it;
- ``<key>.seen``: what is remembered of the last release of each server key, so that no earlier one
  is ever taken again. It is written first: a crash in between leaves the model that was in use,
  and the new one is fetched once more.

Releases that the home has missed are walked by their signed manifests, in order, before the newest
is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fedhome.clients.agent.known_head import HeadKeeper
from fedhome.clients.agent.release_memory import remember_release, seen_release
from fedhome.clients.membership.home_folder import MODEL, HomeFolder
from fedhome.clients.membership.server_addresses import hear_move
from fedhome.errors import DirectoryError, ReleaseError, WireError
from fedhome.fleet.freshness import Freshness
from fedhome.fleet.front_requests import RELEASE, ask
from fedhome.fleet.release_request import Fetch, ReleaseResponse
from fedhome.registry import AcceptedRelease, ReleaseManifest, SeenRelease, accept, follow, recall
from fedhome.registry.release import NONE
from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.store import disk
from fedhome.wire.codec import Key, Message, octets

RELEASE_FILE = "release.fh"
_log = logging.getLogger("fedhome.agent")
_MOST = 1 << 26
_MOST_REQUESTS = 50  # for one release: those of a year in which the home was away


@dataclass(frozen=True, kw_only=True)
class _StoredRelease(Message, label="release-kept", most=_MOST + 128):
    server: Key
    release: Annotated[bytes, octets(most=_MOST)]


def release_of(home_folder: HomeFolder) -> AcceptedRelease | None:
    """Return the release that a home uses; None before the first. It needs none of its keys.

    Args:
        home_folder: The home's folder.

    Raises:
        ReleaseError: What is kept is damaged; the agent fetches it again.
        StateError: It cannot be read.
    """
    path = home_folder.path / MODEL / RELEASE_FILE
    if not path.exists():
        return None
    try:
        stored = _StoredRelease.from_bytes(disk.read(path))
    except WireError:
        raise ReleaseError(
            f"{path} is damaged", reason="altered", hint="it is fetched again by itself"
        ) from None
    return recall(stored.release, server=stored.server, fleet=home_folder.anchor.fleet)


class ReleaseKeeper:
    """A home's models.

    Args:
        home_folder: The home's folder.
        keys: The home's keys.
        heads: What it knows to be newest; None: what its folder says.
        saves: Returns how often its state was saved.

    Attributes:
        address: Where the server is asked; None: where the home's settings say.
    """

    def __init__(
        self,
        home_folder: HomeFolder,
        keys: HomeKeys,
        heads: HeadKeeper | None = None,
        *,
        saves: Callable[[], int] = lambda: 0,
    ) -> None:
        self._home_folder, self._keys, self._saves = home_folder, keys, saves
        self._heads = heads or HeadKeeper(home_folder)
        self._folder = home_folder.path / MODEL
        self._fleet = home_folder.anchor.fleet
        self._hash_in_use: bytes | None = None
        self.address: str | None = None

    def update(self, *, layout: str | None = None) -> ReleaseManifest | None:
        """Ask the server for a newer release than the one in use, and take it if it holds.

        Whatever is raised, the model in use stays in use.

        Args:
            layout: Hash of the layout that the home's model has, where it is known.

        Returns:
            What was accepted; None where there is nothing newer, or no directory yet by which to
            check it.

        Raises:
            LinkError: The server cannot be reached, or refuses.
            DirectoryError: The home's directory has expired, or the server's word on what is newest
                does not hold (reasons of `HeadKeeper.take`).
            ReleaseError: What came does not hold (reasons of `fedhome.registry.accept`);
                ``withheld``: it is not what the server calls the newest; or ``seen``: the home
                cannot tell what it has accepted before.
            StateError: The folder cannot be read or written.
        """
        data = self._home_folder.directory
        if data is None:
            return None
        directory = self._heads.verified(data)
        directory.check_time(self._heads.now())
        last = seen_release(self._home_folder, directory.server)
        for _ in range(_MOST_REQUESTS):
            response = self._ask(last)
            said = self._heads.take(response.freshness, directory)
            self._hear_move(response.moved)
            if last is not None and response.missed:
                last = self._walk(response.missed, directory, last)
            if response.release:
                break
            if last is None or not response.missed:
                _check_whole(said, last)
                return None
        else:  # the rest comes the next time
            return None
        accepted = accept(response.release, directory, last, layout=layout)
        _check_whole(said, accepted.seen)
        self._keep(accepted, response.release)
        return accepted.manifest

    def current(self) -> AcceptedRelease | None:
        """Return the release in use; None before the first.

        Raises:
            ReleaseError: What is kept is damaged; the next `update` fetches it again.
            StateError: It cannot be read.
        """
        return release_of(self._home_folder)

    def _ask(self, last: SeenRelease | None) -> ReleaseResponse:
        """Ask for what comes after the last release that the home knows."""
        seen = 0 if last is None else last.number
        fetch = Fetch.of(self._keys, self._fleet, self._release_hash(), seen, saves=self._saves())
        request = fetch.sign(self._keys)
        address = self.address or self._home_folder.settings.server
        response = ask(address, self._home_folder.authorities, RELEASE, request)
        try:
            return ReleaseResponse.from_bytes(response)
        except WireError:
            raise ReleaseError(
                "what the server has sent is no release",
                reason="foreign",
                hint="home and server must run the same version of fedhome",
            ) from None

    def _hear_move(self, data: bytes) -> None:
        """Take the owner's word on where the server moves; one that does not hold changes nothing.

        Raises:
            StateError: It cannot be kept.
        """
        try:
            moved = hear_move(self._home_folder, data, self._heads.root)
        except DirectoryError as error:
            _log.warning("the server says that it moves, but its proof does not hold: %s", error)
        else:
            if moved is not None:
                _log.info("the fleet's owner says that the server will also be at %s", moved)

    def _walk(
        self, missed: Sequence[bytes], directory: Directory, last: SeenRelease
    ) -> SeenRelease:
        """Remember releases whose models this home never had; the model in use stays in use."""
        last = follow(missed, directory, last, named=self._heads.named(directory.server))
        remember_release(self._home_folder, last)
        return last

    def _release_hash(self) -> bytes | None:
        """Return the hash of the release in use; None to fetch it again."""
        if self._hash_in_use is None:
            try:
                release = self.current()
            except ReleaseError:
                return None
            self._hash_in_use = release.manifest.hash if release else None
        return self._hash_in_use

    def _keep(self, accepted: AcceptedRelease, data: bytes) -> None:
        server = accepted.seen.server
        remember_release(self._home_folder, accepted.seen)
        disk.put(
            self._folder / RELEASE_FILE, _StoredRelease(server=server, release=data).to_bytes()
        )
        self._hash_in_use = accepted.seen.hash


def _check_whole(said: Freshness, seen: SeenRelease | None) -> None:
    """Refuse an answer that does not end with the release that the server calls the newest.

    Raises:
        ReleaseError: ``withheld``.
    """
    number, digest = (0, NONE) if seen is None else (seen.number, seen.hash)
    if (said.number, said.release) != (number, digest):
        raise ReleaseError(
            f"the server says that release {said.number} is the newest, but hands over none after "
            f"release {number}",
            reason="withheld",
            hint="the home asks again by itself; if that lasts, ask whoever runs the server",
        )
