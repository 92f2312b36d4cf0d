"""Which homes refuse what they are asked, and why: told once in the run's log, in one word each.

A home that refuses again for the same reason is not told again; one that answers is taken off. The
log's events are read by `fedhome server status` and by the lines of a run's progress
(:mod:`fedhome.run.refusing`).
"""

from __future__ import annotations

from fedhome.reasons import TOLD
from fedhome.run.events import EventLog
from fedhome.run.refusing import ANSWERS, REFUSED


class Refusals:
    """The refusals of a run.

    Args:
        log: The run's log.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._words: dict[tuple[str, str], str] = {}

    def hear(self, home: str, question: str, word: str) -> None:
        """Take note of what a home answered.

        Args:
            home: Its name.
            question: Type of the question.
            word: Of :data:`fedhome.reasons.TOLD`; empty where it did not refuse.
        """
        before = self._words.get((home, question), "")
        if word == before:
            return
        if not word:
            del self._words[home, question]
            self._log.append(ANSWERS, home=home, question=question)
            return
        self._words[home, question] = word
        reason = TOLD[word]
        self._log.append(
            REFUSED,
            home=home,
            question=question,
            reason=word,
            why=reason.why,
            remedy=reason.remedy,
        )
