"""When a question is closed although homes have not answered, and which homes are asked next.

A question is closed at a share of answers, or once it has taken a multiple of the time in which
half of the homes answered, as the plan says; but not before enough have answered for it to be of
use. Who was late is asked the next time, but no longer waited for than twice the time that the
others take; who was late twice in a row is asked only when it has answered anything in between. So
no home holds two rounds up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from fedhome.plan.round_settings import RoundSettings

_ROUNDING = 1e-9
_GRACE_S = 3.0  # beyond twice what others take
_MOST_LATE = 2


class _Asked(NamedTuple):
    home: int
    at: float


class Punctuality:
    """How quickly homes answer; it neither waits nor asks.

    Args:
        rounds: The plan's settings.
        clock: Seconds that rise.
    """

    def __init__(self, rounds: RoundSettings, *, clock: Callable[[], float]) -> None:
        self._rounds, self._clock = rounds, clock
        self._asked: dict[str, _Asked] = {}
        self._took: dict[str, float] = {}
        self._useful: set[str] = set()
        self._late: Counter[int] = Counter()
        self._heard: set[int] = set()

    @property
    def silent(self) -> set[int]:
        """Homes that were late twice in a row, and have answered nothing since."""
        often = {home for home, count in self._late.items() if count >= _MOST_LATE}
        return often - self._heard

    def ask(self, homes: Mapping[str, int]) -> None:
        """Take note of a question.

        Args:
            homes: The home that each of its messages goes to, by the message's name.
        """
        now = self._clock()
        self._asked |= {name: _Asked(home, now) for name, home in homes.items()}

    def answer(self, name: str, *, useful: bool) -> None:
        """Take note of an answer.

        Args:
            name: Of the message that it answers.
            useful: Whether it is more than a refusal.
        """
        if name in self._asked:
            self._took[name] = self._clock() - self._asked[name].at
            if useful:
                self._useful.add(name)

    def leave(self, name: str) -> None:
        """Take note that the home that a message went to is away: it is neither late nor there."""
        self._asked.pop(name, None)

    def hear(self, home: int) -> None:
        """Take note that a home has answered something that nobody waited for any more."""
        self._heard.add(home)

    def closes(self, names: Collection[str], enough: int) -> bool:
        """Return whether a question is to be closed now.

        Args:
            names: Its messages.
            enough: How many useful answers it takes.
        """
        asked = [name for name in names if name in self._asked]
        took = sorted(self._took[name] for name in asked if name in self._took)
        if not asked or len(self._useful.intersection(asked)) < enough:
            return False
        if took and len(took) >= math.ceil(self._rounds.close_share * len(asked) - _ROUNDING):
            return True
        passed = self._clock() - min(self._asked[name].at for name in asked)
        waited_for = {self._asked[name].home for name in asked if name not in self._took}
        last = took[-1] if took else 0.0
        if all(self._late[home] for home in waited_for) and passed >= 2 * last + _GRACE_S:
            return True
        half = (len(asked) + 1) // 2
        if len(took) < half and enough:
            return False  # it is not known yet what is usual
        usual = took[half - 1] if len(took) >= half else last
        return passed >= max(self._rounds.close_after * usual, self._rounds.close_least_s)

    def close(self, names: Iterable[str], *, over: bool = True) -> set[int]:
        """Forget a question; return the homes that were late.

        Args:
            names: Its messages.
            over: Whether all answers were waited for, and not only some.
        """
        late: set[int] = set()
        for name in names:
            asked = self._asked.pop(name, None)
            if asked is None:
                continue
            self._useful.discard(name)
            if self._took.pop(name, None) is not None:
                self._late.pop(asked.home, None)
            elif over:
                self._heard.discard(asked.home)
                self._late[asked.home] += 1
                late.add(asked.home)
        return late
