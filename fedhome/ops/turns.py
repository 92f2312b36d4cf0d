"""Who is served next where more ask than can be served at once: by rank, and not for ever.

What cannot be served in time is refused at once, so that whoever asks comes back later: a server
that works on what nobody waits for any more gets nothing done.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count


class BusyError(Exception):
    """There is no turn in time."""


class Turns:
    """Turns at some work.

    Args:
        at_once: Returns how many may have their turn at the same time, now.
        most: How many wait at most. Where more come, those of the lowest rank go.
        patience_s: How long one waits at most.
    """

    def __init__(self, at_once: Callable[[], int], *, most: int, patience_s: float) -> None:
        self._at_once, self._most, self._patience_s = at_once, most, patience_s
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self.at_work = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not one.done() for _, _, one in self._waiting)

    @asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[None]:
        """Wait for a turn, which ends with the context.

        Args:
            rank: Those with a lower number are served first.

        Raises:
            BusyError: There is none in time.
        """
        if self.at_work < self._at_once() and not self.waiting:
            self.at_work += 1
        else:
            await self._wait(rank)
        try:
            yield
        finally:
            self._end()

    async def _wait(self, rank: int) -> None:
        """Wait until a turn is given."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), mine))
        if self.waiting > self._most:
            *_, last = max(one for one in self._waiting if not one[2].done())
            last.set_exception(BusyError())
        try:
            async with asyncio.timeout(self._patience_s):
                await mine
        except (TimeoutError, BusyError, asyncio.CancelledError) as error:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self._end()  # it came just then
            if isinstance(error, asyncio.CancelledError):
                raise
            self.refused += 1
            raise BusyError from None

    def _end(self) -> None:
        self.at_work -= 1
        self._call()

    def _call(self) -> None:
        """Give free turns to whoever is next; who has left is passed over."""
        while self._waiting and self.at_work < self._at_once():
            *_, one = heapq.heappop(self._waiting)
            if not one.done():
                self.at_work += 1
                one.set_result(None)
