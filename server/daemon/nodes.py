"""Which node is which home: claims that homes signed, stored as they came.

A claim is checked against the directory whenever it is read, so that nobody who can write this
folder, and no earlier directory, decides who gets a home's messages.
"""

from __future__ import annotations

import hashlib
import string
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fedhome.errors import DirectoryError, SecAggError
from fedhome.fleet.claims import RETIRED, Claim
from fedhome.flower.superlink import Control
from fedhome.installed_build import installed_build
from fedhome.secagg.directory import Directory
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.turned_away import TurnedAway
from fedhome.store import disk

_ENDING = ".claim"


class Nodes:
    """The homes' nodes.

    Args:
        folder: The folder of the claims.
        clock: Unix time, s.
        turned_away: Notes whose claims are refused; None: of these nodes alone.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.time,
        *,
        turned_away: TurnedAway | None = None,
    ) -> None:
        self._folder, self._clock = folder, clock
        self._turned_away = TurnedAway(clock) if turned_away is None else turned_away
        self._files: dict[Path, CachedFile[bytes]] = {}
        self._claims: dict[Path, tuple[bytes, Directory, Claim]] = {}
        # Homes join side by side, each one after itself.
        self._locks = {digit: threading.Lock() for digit in string.hexdigits}

    def claims(self, directory: Directory) -> Iterator[Claim]:
        """Yield the claims of a directory's homes; anything else is skipped."""
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            if claim := self._read(path, directory):
                yield claim

    def accept(
        self,
        data: bytes,
        directory: Directory,
        control: Control,
        check: Callable[[Claim], None],
    ) -> tuple[Claim, int]:
        """Register the node of a home, instead of an earlier one of the same home.

        A home has one node at a time. While one is connected, no other replaces it: a copy of
        a home's folder that is started elsewhere waits, and the home continues.

        Args:
            data: As `Claim.sign` wrote it.
            directory: The one in force.
            control: The SuperLink's.
            check: Refuses a claim, signed as it is, that something else speaks against.

        Returns:
            The claim, and the node's number.

        Raises:
            SecAggError: No claim that holds now; ``twice``: the home is connected by another
                node; ``replayed``: by another node it came back since this was signed;
                `RETIRED`: another node replaced this one; or a reason of ``check``.
        """
        try:
            claim = Claim.verify(data, directory)
        except DirectoryError as error:
            # What another release has signed cannot be read, and its home is to be named all the
            # same: the operator sees who was not upgraded.
            if error.reason == "version" and (home := Claim.signer(data, directory)):
                self._turned_away.note(home, directory.entries[home].identity, error)
            raise
        with self._turned_away.noted(claim, directory.entries[claim.home].identity):
            claim.check_time(self._clock())
            claim.check_release(installed_build())
            check(claim)
            path = self._path(claim.home)
            with self._locks[path.name[0]]:
                return claim, self._registered(claim, path, data, directory, control)

    def _registered(
        self, claim: Claim, path: Path, data: bytes, directory: Directory, control: Control
    ) -> int:
        before = self._read(path, directory)
        earlier = before.node_key if before is not None else claim.node_key
        states = control.states(list({claim.node_key, earlier}))
        state = states.get(claim.node_key)
        old = None
        if before is not None and before.node_key != claim.node_key:
            old = states.get(before.node_key)
            if old is not None and old.online:
                raise DirectoryError(
                    f"{claim.home!r} is connected from another device, or was until just now",
                    reason="twice",
                    hint="end the other one if it is a copy of this home; if you know of none, "
                    "tell the fleet's owner: somebody has this home's keys",
                )
            if before.time > claim.time:
                raise DirectoryError(
                    f"{claim.home!r} has joined by another node since this was signed",
                    reason="replayed",
                    hint="it tries again by itself",
                )
        if state is not None and state.gone:
            raise DirectoryError(
                f"another node of {claim.home!r} took the place of this one",
                reason=RETIRED,
                hint="it makes another key for itself",
            )
        if old is not None and not old.gone:
            control.unregister(old.node)
        # Stored before it counts: a crash in between leaves a claim whose node is not known yet.
        disk.put(path, data)
        return state.node if state else control.register(claim.node_key)

    def _read(self, path: Path, directory: Directory) -> Claim | None:
        """Return the claim in a file; None if it holds none of a home of the directory."""
        cached = self._files.get(path)
        if cached is None:
            cached = self._files[path] = CachedFile(path, lambda: disk.read(path))
        try:
            data = cached()
            seen = self._claims.get(path)
            # What was checked once is not checked again: the very bytes, by the same directory.
            if seen is None or seen[0] is not data or seen[1] is not directory:
                seen = self._claims[path] = (data, directory, Claim.verify(data, directory))
        except SecAggError:
            return None
        return seen[2] if path == self._path(seen[2].home) else None

    def _path(self, home: str) -> Path:
        return self._folder / f"{hashlib.sha256(home.encode()).hexdigest()}{_ENDING}"
