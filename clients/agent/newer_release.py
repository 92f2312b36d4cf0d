"""When a home asks its server for a newer release of the model.

It asks when it has begun, and then every five minutes or so. A run's end is when there is one, and
no home hears of that end: so after each answer it gave, a home asks soon, and again with growing
pauses, as the last question of a run may be put long before its model is promoted. It asks soon,
too, once it has connected anew and the server named a release that it does not have, and after an
attempt that failed: a server that restarts is away for moments.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from fedhome.clients.agent.known_head import MOST_AHEAD
from fedhome.errors import FedHomeError, RegistryError, SecAggError, StateError
from fedhome.registry import ReleaseManifest

RELEASE_S = 300.0
"""How often a home asks when it expects nothing, s; give or take a fifth."""
_SOON_S, _GROWTH = 5.0, 3.0
_MANY = MOST_AHEAD // 4  # that were named: then a home fetches them, idle or not
_log = logging.getLogger("fedhome.agent")


class ReleaseSource(Protocol):
    """What fetches releases, such as :class:`fedhome.clients.agent.kept_releases.ReleaseKeeper`."""

    def update(self, *, layout: str | None = None) -> ReleaseManifest | None:
        """Take a newer release than the one in use, if there is one; None: there is none."""


class NewerRelease:
    """Asks for a newer release where there may be one.

    Args:
        releases: What fetches it.
        named: Returns how many releases the server has named that the home does not have.
        draw: Spreads the requests of many homes over time.
        clock: Seconds that rise.

    Attributes:
        not_taken: Why the last one was not taken, where that is for people; None: it was.
    """

    def __init__(
        self,
        releases: ReleaseSource,
        *,
        named: Callable[[], int],
        draw: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._releases, self._named_by = releases, named
        self._draw, self._clock = draw, clock
        self._due, self._pause_s, self._failures = 0.0, RELEASE_S, 0
        self.not_taken: RegistryError | SecAggError | None = None

    def hope(self) -> None:
        """Take note that there may be one soon: a question of a run was answered."""
        self._pause_s = _SOON_S
        self._due = min(self._due, self._clock() + _SOON_S * self._draw.uniform(1, 2))

    def connected(self) -> None:
        """Take note that the home has connected: the server has said what is newest."""
        if self._failures or self._named():
            self.hope()

    def many_are_named(self) -> bool:
        """Whether the server has named more than a home should let wait until it is idle."""
        return self._named() >= _MANY

    def update(self, layout: str | None, *, at_once: bool = False) -> bool:
        """Ask for it if it is time, and take it if it holds; else the model in use stays.

        Args:
            layout: Hash of the layout that the home's model has, where it is known.
            at_once: Ask in any case.

        Returns:
            Whether it was asked for.
        """
        if not at_once and self._clock() < self._due:
            return False
        try:
            manifest = self._releases.update(layout=layout)
        except FedHomeError as error:
            _log.warning("no release was taken: %s", error)
            if isinstance(error, RegistryError | SecAggError):
                self.not_taken = error
            self._failures += 1
            pause_s = _SOON_S * _GROWTH ** min(self._failures, 9)
        else:
            self._failures, self.not_taken = 0, None
            pause_s = _GROWTH * self._pause_s
            if manifest is not None:
                _log.info("release %d of round %d is in use", manifest.number, manifest.round)
                pause_s = RELEASE_S
            if self._named():  # more than fit into one request were missed
                pause_s = _SOON_S
        self._pause_s = min(pause_s, RELEASE_S)
        self._due = self._clock() + self._pause_s * self._draw.uniform(0.8, 1.2)
        return True

    def _named(self) -> int:
        try:
            return self._named_by()
        except StateError as error:
            _log.warning("%s", error)
            return 0
