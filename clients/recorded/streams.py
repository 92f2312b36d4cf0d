"""Lines from a pipe into a home's store, for as long as they come."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from fedhome.clients.recorded.arriving_lines import LinesRead, RefusedLine
from fedhome.clients.recorded.recording import Recorded, Recorder
from fedhome.errors import DataError, StateError

MOST_LINES: Final = 500
"""Lines after which they are recorded, at the latest."""
MOST_S: Final = 5.0
"""Seconds after which a line is recorded, at the latest."""
_WAITING = 10_000  # lines that are read ahead; then whoever writes them waits
_LONGEST = 1 << 20  # bytes of a line
_PASSING = frozenset({"disk-full", "not-writable", "in-use"})
_POLL_S = 0.25  # a signal's handler sets a flag, and ends no wait
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0

Told = Callable[[int, Recorded], None]
"""Takes how many lines have come so far, and what became of the last of them: on the disk now."""


class PatientWrites:
    """Writes to a store; waits where the disk takes nothing, until it does.

    Args:
        recorder: What records.
        waiting: Takes in words what is waited for.
        pause: Waits for seconds; what it returns is true where it is to be given up.
    """

    def __init__(
        self,
        recorder: Recorder,
        waiting: Callable[[str], None],
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._recorder, self._waiting, self._pause = recorder, waiting, pause

    def kept(self, batch: LinesRead, lines: int) -> Recorded:
        """Record what lines hold, however long the disk takes nothing; return what became of it.

        Args:
            batch: What they hold.
            lines: How many have come so far.

        Raises:
            StateError: The store cannot be used, and waiting does not help, or is given up.
        """
        wait_s = _FIRST_PAUSE_S
        while True:
            try:
                return self._recorder.keep(batch)
            except DataError as error:
                why = f"none of the last {batch.lines:,} lines: {error.with_hint}"
                refused = (*batch.refused, RefusedLine(lines, why))
                nothing = LinesRead(table=None, lines=0, refused=refused, notes=batch.notes)
                return self._recorder.keep(nothing)
            except StateError as error:
                if error.reason not in _PASSING:
                    raise
                self._waiting(f"{error.with_hint}: again in {wait_s:g} s")
                if self._pause(wait_s):
                    raise
            wait_s = min(2 * wait_s, _LONGEST_PAUSE_S)


def record_stream(
    recorder: Recorder,
    stream: BinaryIO,
    told: Told,
    waiting: Callable[[str], None],
    *,
    most_lines: int = MOST_LINES,
    most_s: float = MOST_S,
    stop: threading.Event | None = None,
) -> None:
    """Record the lines of a stream until it ends or is stopped: then what came is recorded first.

    Args:
        recorder: What records.
        stream: CSV with a header, or JSON with an object a line.
        told: Is called when lines are on the disk, and not before.
        waiting: Takes in words what is waited for.
        most_lines: Lines after which they are recorded, at the latest.
        most_s: Seconds after which a line is recorded, at the latest.
        stop: Set when no more is to be taken.

    Raises:
        DataError: No table can be made out.
        StateError: The store cannot be used.
    """
    stop = stop or threading.Event()
    lines = recorder.lines("standard input")
    patience = PatientWrites(recorder, waiting, pause=stop.wait)
    for some in _gathered(stream, most_lines, most_s, stop):
        batch = lines.take(some)
        told(lines.lines, patience.kept(batch, lines.lines))


def _gathered(
    stream: BinaryIO, most_lines: int, most_s: float, stop: threading.Event
) -> Iterator[list[bytes]]:
    """Yield lines that came, by their number or when the first has waited long enough."""
    waiting: queue.Queue[bytes] = queue.Queue(_WAITING)

    def read() -> None:
        while line := stream.readline(_LONGEST):
            waiting.put(line)
        waiting.put(b"")

    # It waits in a read that nothing ends, so the process must not wait for it.
    threading.Thread(target=read, daemon=True).start()
    some: list[bytes] = []
    due = 0.0
    ended = False
    while not ended:
        left_s = due - time.monotonic() if some else _POLL_S
        try:
            line = waiting.get(timeout=min(max(0.0, left_s), _POLL_S))
        except queue.Empty:
            line = None
        if line:
            due = due if some else time.monotonic() + most_s
            some.append(line)
        ended = line == b"" or (line is None and stop.is_set())
        late = time.monotonic() >= due
        if some and (ended or late or len(some) >= most_lines):
            yield some
            some = []
