"""Whether this machine's clock was set: what is kept by dates is looked at again then."""

from __future__ import annotations

import time
from collections.abc import Callable

_LEAST_S = 60.0  # less is no date's matter, and what the network sets a clock by every day


class ClockSteps:
    """Holds the clock on the wall against one that nobody sets.

    Args:
        wall: Unix time, s.
        steady: Time since some moment, s; it stands still while a machine sleeps.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()

    def look(self) -> float:
        """Return by how much the clock was set ahead since the last look, s; below 0: back.

        Less than a minute counts as nothing, 0.
        """
        before, self._offset = self._offset, self._wall() - self._steady()
        step = self._offset - before
        return step if abs(step) >= _LEAST_S else 0.0
