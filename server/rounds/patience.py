"""How a run waits: for homes without which there is no sum, and before it repeats a round.

A round that could have no sum is not begun. One that fails all the same is repeated after a pause
that grows, and ends early when a home comes that was not there. Neither costs a round of the plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from fedhome.counted import counted
from fedhome.errors import RoundError
from fedhome.plan.round_settings import RoundSettings
from fedhome.run.events import EventLog
from fedhome.run.waiting import FAILED, THERE, WAITING
from fedhome.server.rounds.sum_needs import Lack, SumNeeds

_POLL_S = 1.0

Names = Callable[[], Collection[str]]


class Patience:
    """How long a run waits, and for whom.

    Args:
        rounds: The plan's settings.
        needs: What a round needs.
        there: Returns the names of the homes that are connected.
        log: The run's log.
        clock: Seconds that rise.
        sleep: Waits this many seconds.

    Attributes:
        left_out: Returns the names of homes that are asked nothing.
        ask_again: Called after a while in which the run waits although such homes are there: some
            of them may have been mended.
    """

    def __init__(
        self,
        rounds: RoundSettings,
        *,
        needs: SumNeeds,
        there: Names,
        log: EventLog,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rounds, self._needs, self._there, self._log = rounds, needs, there, log
        self._clock, self._sleep = clock, sleep
        self._failures = 0
        self._since: float | None = None
        self._asks_again = 0
        self.left_out: Names = tuple
        self.ask_again: Callable[[], None] = lambda: None

    def await_homes(self, number: int) -> None:
        """Wait until a round can have a sum.

        Args:
            number: The round's; 0: the run is about to begin.

        Raises:
            RoundError: The plan's time for that is over.
        """
        lack = self._lack()
        if lack is None:
            return
        began = self._clock()
        self._log.append(
            WAITING,
            round=number,
            what=lack.what,
            there=lack.there,
            of=lack.of,
            needed=lack.needed,
            missing=lack.missing,
            left_out=lack.left_out,
        )
        while lack is not None:
            self._check_time(
                f"{lack.there} of {lack.of} {lack.what} are there, {lack.needed} are needed"
            )
            if lack.left_out and self._clock() - began >= self._grown(self._asks_again):
                self._asks_again += 1
                self.ask_again()
            self._sleep(_POLL_S)
            lack = self._lack()
        self._log.append(THERE, round=number, seconds=self._clock() - began)

    def pause(
        self, number: int, *, homes: int, needed: int, reason: str = "", searching: bool = False
    ) -> None:
        """Tell that a round failed, and wait before it is repeated.

        Args:
            number: The round's.
            homes: How many answered.
            needed: How many must.
            reason: Why they did not, as far as it is known.
            searching: Homes that spoil sums are searched for: the next attempt is another one,
                which need not wait.

        Raises:
            RoundError: The plan's time for that is over.
        """
        self._failures += 1
        # Who is away is waited for in any case, and named meanwhile.
        waits = not (searching or self._lack() is not None)
        first, pause = (self._rounds.pause_s, self._grown(self._failures - 1)) if waits else (0, 0)
        self._log.append(
            FAILED,
            round=number,
            homes=homes,
            needed=needed,
            reason=reason,
            attempt=self._failures,
            again_s=pause,
        )
        begin = self._clock()
        known = set(self._there())
        while (passed := self._clock() - begin) < pause:
            self._check_time(
                f"{counted(homes, 'home')} answered, {needed} are needed; {reason}".rstrip("; ")
            )
            now = set(self._there())
            if passed >= first and now - known:
                return
            known &= now
            self._sleep(min(_POLL_S, pause - passed))

    def held(self) -> None:
        """Take note that a round had its sum."""
        self._failures = self._asks_again = 0
        self._since = None

    @property
    def failures(self) -> int:
        """How many attempts have failed since a round last had its sum."""
        return self._failures

    def _grown(self, times: int) -> float:
        """Return a pause that has doubled this many times, up to the longest."""
        return min(self._rounds.pause_s * 2.0 ** min(times, 30), self._rounds.most_pause_s)

    def _lack(self) -> Lack | None:
        return self._needs.lack(self._there(), left_out=self.left_out())

    def _check_time(self, why: str) -> None:
        now = self._clock()
        self._since = now if self._since is None else self._since
        most = self._rounds.give_up_s
        if most is not None and now - self._since >= most:
            raise RoundError(
                f"no round for {now - self._since:.0f} s: {why}",
                hint=f"rounds.give_up_s = {most:g} ends the waiting; unset, a run waits for ever",
            )
