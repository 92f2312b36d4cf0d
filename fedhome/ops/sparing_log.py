"""A log that visitors cannot make as long as they like.

What goes wrong by what somebody sends is told in a server's log, and who sends it sends it as often
as their line carries. A process may log much at once, and over days a few lines a minute; how many
were left out, the next one says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

AT_ONCE = 500
"""Lines that may come at once."""
EVERY_S = 10.0
"""How long it takes until one more may."""
LONGEST = 2000
"""Characters of a line; what is beyond is left out."""
TRACE = 10
"""Lines that the trace of an exception counts for."""
LONGEST_TRACE = 8000
"""Characters of such a trace, half from its beginning and half from its end."""


class SparingLog(logging.Filter):
    """Lets through what a bucket has room for: :data:`AT_ONCE`, and one more each `EVERY_S`.

    Args:
        clock: Seconds that only ever go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._room, self._at = float(AT_ONCE), clock()
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged; it is cut where it is long."""
        text = record.getMessage()
        with self._lock:
            now = self._clock()
            self._room = min(float(AT_ONCE), self._room + (now - self._at) / EVERY_S)
            self._at = now
            cost = TRACE if record.exc_info else 1
            if self._room < cost:
                self._left_out += 1
                return False
            self._room -= cost
            left_out, self._left_out = self._left_out, 0
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]} … and {len(text) - LONGEST} characters more"
        if left_out:
            text = f"{text} ({left_out} lines before this were left out: there were too many)"
        record.msg, record.args = text, ()
        if record.exc_info or record.stack_info:
            self._cut_traces(record)
        return True

    @staticmethod
    def _cut_traces(record: logging.LogRecord) -> None:
        """Write out what a handler would, so that none writes more.

        An exception says what it was given, and that may come from a visitor.
        """
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        record.exc_info = None  # a handler's own formatter may not write it anew
        if record.exc_text:
            record.exc_text = _cut(record.exc_text)
        if record.stack_info:
            record.stack_info = _cut(record.stack_info)


_FORMATTER = logging.Formatter()


def _cut(trace: str) -> str:
    """Return a trace's beginning and end: where it came from, and what it says."""
    half = LONGEST_TRACE // 2
    left_out = len(trace) - 2 * half
    if left_out <= 0:
        return trace
    return f"{trace[:half]}\n… {left_out} characters left out …\n{trace[-half:]}"


def log_sparingly(*names: str) -> None:
    """Bound what this process logs under some names, each by itself.

    Args:
        names: Of loggers.
    """
    for name in names:
        logging.getLogger(name).addFilter(SparingLog())
