"""Sums that homes know and their server does not: another one has its keys, or it was put back.

What comes of such a sum may lie beside what this server adds up. If it asked about a model that
hardly differs, over nearly the same homes, the difference would show one of them; and who was in
the other sum it cannot know. So it makes no such model. More homes have to say so than may be
corrupt.
"""

from __future__ import annotations

from fedhome.reasons import word_in
from fedhome.server.rounds.sum_journal import SumJournal

OPENED, PASSED = "opened-before", "replayed"


class AnsweredElsewhere:
    """Hears of such sums from what homes say as they refuse.

    Args:
        journal: Knows the server's own sums, and keeps which others there are.
        corrupt: How many homes may lie.
    """

    def __init__(self, journal: SumJournal, corrupt: int) -> None:
        self._journal, self._corrupt = journal, corrupt
        self._said: dict[tuple[str, str], set[str]] = {}

    def begin(self, name: str) -> None:
        """Forget what homes have said of a sum: they are asked once more."""
        for word in (OPENED, PASSED):
            self._said.pop((name, word), None)

    def hear(self, name: str, home: str, text: str) -> None:
        """Take note of a refusal.

        Args:
            name: Of the sum that was asked for, in the journal.
            home: Who refused.
            text: What it said.

        Raises:
            StateError: It cannot be kept.
        """
        word = word_in(text)
        if word not in (OPENED, PASSED):
            return
        homes = self._said.setdefault((name, word), set())
        if home in homes:
            return
        homes.add(home)
        if len(homes) != self._corrupt + 1:
            return
        if word == PASSED:
            # They did not look at what was asked: it was no attempt at this sum.
            self._journal.tried(name, times=-1)
        elif not self._journal.explains_opened(name):
            self._journal.keep_elsewhere(name)
