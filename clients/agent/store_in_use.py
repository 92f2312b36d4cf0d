"""How an agent opens its home's keys and state: a disk that is full now may have room later."""

from __future__ import annotations

import logging
import threading

from fedhome.clients.agent.status_report import StatusReport, in_words_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.one_place import forget_keys_of_elsewhere
from fedhome.errors import StateError
from fedhome.fleet.state_file import FileStore

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_DISK = frozenset({"disk-full", "not-writable"})
_log = logging.getLogger("fedhome.agent")


def open_store(
    home_folder: HomeFolder, stop: threading.Event, reporting: StatusReport
) -> FileStore | None:
    """Return the home's keys and state once the disk lets them be used; None: it is to stop.

    One-time keys of another place are gone from them. A disk that is full or cannot be written
    becomes usable without this process, and ends no sooner if it is started again and again.

    Args:
        home_folder: The home's folder.
        stop: Set when the agent is to stop.
        reporting: Takes what is waited for, and why the agent ends.

    Raises:
        StateError: Whatever else is wrong with them.
    """
    home, wait_s = home_folder.settings.home, _FIRST_PAUSE_S
    while not stop.is_set():
        try:
            return _opened(home_folder, home)
        except StateError as error:
            if error.reason not in _DISK:
                if error.reason != "in-use":  # the other one tells how it is
                    reporting.tell("stopped", in_words_of(error), reason=error.reason)
                raise
            _log.warning("%s: %s; again in %.1f s", error.reason, error, wait_s)
            reporting.tell("waiting", in_words_of(error), reason=error.reason)
        stop.wait(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_PAUSE_S)
    return None


def _opened(home_folder: HomeFolder, home: str) -> FileStore:
    store = FileStore.open(home_folder.path, home=home)
    try:
        forget_keys_of_elsewhere(home_folder, store)
    except BaseException:
        store.close()
        raise
    return store
