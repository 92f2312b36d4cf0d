"""Homes that the server itself did not let connect, and why: nobody else could tell its operator.

What a home refuses it says in its next claim (:mod:`fedhome.fleet.claims`). A claim that is refused
is kept nowhere, so a home that is turned away for good would only be missing from those that are
there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fedhome.errors import DirectoryError
from fedhome.fleet.claims import Claim

_log = logging.getLogger("fedhome.front")


@dataclass(frozen=True, kw_only=True)
class TurnedAwayHome:
    """A home whose last claim was refused.

    Args:
        identity: Its public key: with other keys it begins anew.
        reason: The word for why (:mod:`fedhome.reasons`).
        since: When it was first refused for that, Unix time, s.
    """

    identity: bytes
    reason: str
    since: float


class TurnedAway:
    """The homes whose last claim was refused; each is told once in the front's log.

    Args:
        clock: Unix time, s.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._homes: dict[str, TurnedAwayHome] = {}

    @property
    def homes(self) -> dict[str, TurnedAwayHome]:
        """They, by name."""
        with self._lock:
            return dict(self._homes)

    @contextmanager
    def noted(self, claim: Claim, identity: bytes) -> Iterator[None]:
        """Note how a claim ends that the home has signed: refused by an error, else accepted.

        Args:
            claim: The claim.
            identity: The home's public key in the directory.
        """
        try:
            yield
        except DirectoryError as error:
            self.note(claim.home, identity, error)
            raise
        with self._lock:
            self._homes.pop(claim.home, None)

    def note(self, home: str, identity: bytes, error: DirectoryError) -> None:
        """Note that what a home has signed was refused.

        Args:
            home: Its name.
            identity: Its public key in the directory.
            error: Why.
        """
        with self._lock:
            before = self._homes.get(home)
            if before and (before.identity, before.reason) == (identity, error.reason):
                return
            self._homes[home] = TurnedAwayHome(
                identity=identity, reason=error.reason, since=self._clock()
            )
        _log.warning("%s does not connect: %s (%s)", home, error.message, error.reason)
