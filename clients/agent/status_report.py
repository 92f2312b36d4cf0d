"""What an agent reports of itself: `status.json` in the home's folder, kept current.

What counts is in memory (:attr:`StatusReport.now`): the file is the last that the disk took.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace

from fedhome.clients.membership.home_folder import HomeFolder, HomeStatus
from fedhome.errors import FedHomeError, RegistryError, SecAggError, StateError
from fedhome.installed_build import installed_build
from fedhome.printable import shown

_PAUSE_S = 5.0  # between two files that only count on
_SIGN_OF_LIFE_S = 60.0
_log = logging.getLogger("fedhome.agent")


class StatusReport:
    """Keeps a home's status.

    Args:
        home_folder: The home's folder.
        clock: Seconds, for how often it is written.
    """

    def __init__(
        self, home_folder: HomeFolder, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._home_folder, self._clock = home_folder, clock
        self._status = HomeStatus(state="waiting", process=os.getpid())
        self._new = True
        self._written = -_SIGN_OF_LIFE_S
        self._trouble = ""
        _log.info("this is fedhome %s", installed_build())

    @property
    def now(self) -> HomeStatus:
        """What the agent does, as of this moment."""
        return replace(self._status, disk=self._trouble, time=time.time())

    def tell(
        self, state: str, detail: str = "", *, reason: str = "", epoch: int | None = None
    ) -> None:
        """Say what the agent does; what is new is written at once.

        Args:
            state: As of :class:`fedhome.clients.membership.home_folder.HomeStatus`.
            detail: One sentence more.
            reason: The word for it, where it keeps the home from taking part.
            epoch: Epoch of the directory; None: as before.
        """
        epoch = self._status.epoch if epoch is None else epoch
        status = replace(self._status, state=state, detail=detail, reason=reason, epoch=epoch)
        if status != self._status or self._new:
            self._status = status
            self._write()

    def tell_trouble(self, error: SecAggError | RegistryError | None) -> None:
        """Tell once of what keeps a connected home from taking part, or from new models.

        Args:
            error: What that is; None: nothing does any more.
        """
        if error is None and self._status.reason:
            _log.info("it takes part again: %s is over", self._status.reason)
            self.tell("connected")
        elif error is not None and error.reason != self._status.reason:
            _log.warning("%s: %s", error.reason, error)
            self.tell("connected", in_words_of(error), reason=error.reason)

    def count_answer(self, kind: str) -> None:
        """Count an answer; :meth:`keep` writes it."""
        count = self._status.answered + 1
        self._status = replace(self._status, answered=count, last=kind, last_time=time.time())
        self._new = True

    def keep(self) -> None:
        """Write what has been counted, from time to time; and else a sign of life."""
        if self._clock() - self._written >= (_PAUSE_S if self._new else _SIGN_OF_LIFE_S):
            self._write()

    def _write(self) -> None:
        self._new, self._written = False, self._clock()
        try:
            self._home_folder.status = replace(self.now, disk="")
        except StateError as error:  # no reason to take no part
            if error.message != self._trouble:  # which may last for days
                _log.warning("the status cannot be written: %s", error.message)
            self._trouble, self._new = error.message, True
        else:
            self._trouble = ""


def in_words_of(error: FedHomeError) -> str:
    """Return what happened and what can be done about it, in one line that a terminal can show."""
    return shown(error.with_hint)
