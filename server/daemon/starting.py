"""A mark in a server's folder: its processes are being started, and none that is silent is down.

It counts while a daemon runs, which the folder's lock tells: one that was killed, or a machine that
lost its power, leaves a mark that says nothing, and the next daemon begins with its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fedhome.errors import StateError
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.store import disk

_ASK_S = 0.5


def is_starting(server_folder: ServerFolder) -> bool:
    """Whether a daemon is starting its processes: not all of them answer yet, and none is at fault.

    Args:
        server_folder: The folder of a daemon that runs.
    """
    return _mark(server_folder).exists()


class Starting:
    """Says for how long a daemon's processes are being started.

    Args:
        server_folder: The server's folder, which the daemon has locked.
    """

    def __init__(self, server_folder: ServerFolder) -> None:
        self._mark = _mark(server_folder)
        self._end = self._ask = 0.0

    def begin(self, within_s: float = math.inf) -> None:
        """Let whoever asks how the server is know that what does not answer is being started.

        Args:
            within_s: After this time it is a fault that it does not answer.
        """
        self._end = time.monotonic() + within_s
        with suppress(StateError):  # a full disk: then it is told as down
            disk.put(self._mark, b"")

    def over(self) -> None:
        """From now on, what does not answer is down."""
        with suppress(OSError):  # it is tried again
            self._mark.unlink(missing_ok=True)
            self._end = 0.0

    def tend(self, back: Callable[[], bool]) -> None:
        """End it when all is back, or when that took too long.

        Args:
            back: Whether all answers; asked now and then.
        """
        now = time.monotonic()
        if not self._end:
            return
        if now > self._end:
            self.over()
        elif now >= self._ask:
            self._ask = now + _ASK_S
            if back():
                self.over()


def _mark(server_folder: ServerFolder) -> Path:
    return server_folder.path / "starting"
