"""How long a run takes where homes learn one after another: told once its first round is over."""

from __future__ import annotations

import time
from collections.abc import Callable

from fedhome.counted import counted
from fedhome.wire.moments import length

_LONG_S = 120.0
"""From here on what is left is worth a line."""


class FirstRound:
    """Tells, when the second of a run's rounds begins, about how long it and the others take.

    Args:
        rounds: How many rounds the plan has.
        tell: Called once at most, with the sentence.
        clock: Seconds that rise.
    """

    def __init__(
        self,
        rounds: int,
        tell: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._rounds, self._tell, self._clock = rounds, tell, clock
        self._first = 0
        self._began = 0.0
        self._over = False

    def asked(self, number: int) -> None:
        """Take note that homes are asked something of a round.

        Args:
            number: The round's; 0: a question of no round.
        """
        if not number or self._over:
            return
        now = self._clock()
        if not self._first:
            self._first, self._began = number, now
        elif number > self._first:
            self._over = True
            took, others = now - self._began, self._rounds - number + 1
            if took * others >= _LONG_S:
                self._tell(
                    f"round {self._first} took {length(took)}: what is left, "
                    f"{counted(others, 'round')}, takes about {length(took * others)}; then each "
                    "home tries what it does alone, and makes the model its own (a smaller "
                    "rounds.count or data.homes takes less)"
                )
