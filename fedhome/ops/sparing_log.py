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
        return True


def log_sparingly(*names: str) -> None:
    """Bound what this process logs under some names, each by itself.

    Args:
        names: Of loggers.
    """
    for name in names:
        logging.getLogger(name).addFilter(SparingLog())
