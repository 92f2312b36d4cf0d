"""Why a run's process ended before its run did, and when it is started again.

Whatever ended it, the run goes on by itself: after a pause that grows each time, since what was in
the way may need people, and ends at once when the daemon itself is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedhome.errors import FedHomeError
from fedhome.run.folder import RunFolder

_ERROR = "error: "  # as fedhome.ops.processes begins what ended a process
_FAILED_S, _MOST_FAILED_S = 60.0, 3600.0
_FULL_S, _MOST_FULL_S = 5.0, 60.0


@dataclass(frozen=True, kw_only=True)
class WhyFailed:
    """Why a run failed.

    Args:
        reason: Why, as a clause.
        hint: What can be done about it.
        again: Whether it may go otherwise the next time.
    """

    reason: str = ""
    hint: str = ""
    again: bool = False


class Interruptions:
    """When a run that was interrupted is taken up again.

    Args:
        clock: Seconds that rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._run, self._due, self._pause = "", 0.0, 0.0

    def over(self, run: str) -> bool:
        """Whether it is time to go on with a run: at once, unless this daemon saw it end."""
        return run != self._run or self._clock() >= self._due

    def failed(self, run: str) -> float:
        """Take note that a run failed; return after how long it is taken up again, s."""
        return self._grown(run, _FAILED_S, _MOST_FAILED_S)

    def full(self, run: str) -> float:
        """Take note that a run has no room on its disk; return as `failed`."""
        return self._grown(run, _FULL_S, _MOST_FULL_S)

    def _grown(self, run: str, least: float, most: float) -> float:
        now = self._clock()
        # What lived for longer than any pause has got somewhere: the next pause is a short one.
        fresh = run != self._run or now - self._due > _MOST_FAILED_S
        self._pause = least if fresh else min(max(2 * self._pause, least), most)
        self._run, self._due = run, now + self._pause
        return self._pause


def why_failed(folder: RunFolder, log: Path) -> WhyFailed:
    """Return why a run failed, and what can be done about it.

    Args:
        folder: The run's folder.
        log: The log of its process.
    """
    try:
        last = folder.read_events()[-1]
    except (FedHomeError, IndexError):
        last = None
    if last is not None and last.event == "run-failed":
        return WhyFailed(
            reason=str(last.data.get("reason", "")),
            hint=str(last.data.get("hint", "")),
            again=bool(last.data.get("again", True)),
        )
    reason = _last_error(log) or "its process ended with an error"
    return WhyFailed(reason=reason, hint=f"{log} says more", again=True)


def _last_error(log: Path) -> str:
    """Return the last error that a process printed, where its run could not be opened."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line for line in lines if line.startswith(_ERROR)]
    return errors[-1].removeprefix(_ERROR) if errors else ""
