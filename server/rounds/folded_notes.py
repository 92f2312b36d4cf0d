"""Notes in a run's log: one that comes again and again is told the first, tenth, hundredth time."""

from __future__ import annotations

from collections import Counter

from fedhome.run.events import EventLog


class FoldedNotes:
    """Writes notes.

    Args:
        log: The run's log.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._times: Counter[str] = Counter()

    def tell(self, text: str) -> None:
        """Write a note, unless it was written before and not ten times as often."""
        self._times[text] += 1
        times = self._times[text]
        if times == 1:
            self._log.append("note", text=text)
        elif str(times).rstrip("0") == "1":
            self._log.append("note", text=f"{text} ({times} times so far)", times=times)
