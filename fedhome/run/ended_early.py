"""What a run leaves that ends before its time: refused by its plan or data, or by Ctrl-C."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from fedhome.errors import FedHomeError
from fedhome.run.folder import RunFolder

_AHEAD_OF_ROUNDS = {"note", "weights-counted"}
"""Events after ``fleet-ready`` that come before anything of a round."""


class Interrupted(KeyboardInterrupt):
    """A run was interrupted, and how it goes on.

    Args:
        hint: What to do to go on.
    """

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


@contextmanager
def resumable(folder: RunFolder) -> Iterator[None]:
    """Say how a run goes on if Ctrl-C ends it in here.

    Args:
        folder: The run's.

    Raises:
        Interrupted: Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        path = shlex.quote(str(folder.path))
        if folder.finished:  # only its report was not written
            raise Interrupted(f"the run is finished: `fedhome report {path}` shows it") from None
        raise Interrupted(f"`fedhome simulate --resume {path}` goes on with it") from None


@contextmanager
def nothing_left_of_nothing(folder: RunFolder) -> Iterator[None]:
    """Take a run's folder away again if it ends in here before it came to anything.

    The same command is then free to run again.

    Args:
        folder: The run's.

    Raises:
        Interrupted: Ctrl-C in a run that has come to something.
    """
    try:
        with resumable(folder):
            yield
    except Interrupted:
        if _has_begun(folder):
            raise
        folder.forget()
        raise KeyboardInterrupt from None
    except FedHomeError:
        if not _has_begun(folder):
            folder.forget()
        raise


def _has_begun(folder: RunFolder) -> bool:
    """Return whether a run has come to anything that is worth going on with, or looking into."""
    events = [event.event for event in folder.read_events()]
    later = events[events.index("fleet-ready") + 1 :] if "fleet-ready" in events else []
    return any(event not in _AHEAD_OF_ROUNDS for event in later)
