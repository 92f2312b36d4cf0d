"""Where an agent says how it is, from memory: true also while the disk takes no file.

A socket in the home's folder, for its account alone. Whoever connects is sent the status as JSON,
and nothing is read from it.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from fedhome.clients.membership.home_folder import AGENT, HomeFolder, HomeStatus
from fedhome.errors import RunError, StateError
from fedhome.ops import local_socket
from fedhome.store import disk

_AGAIN_S = 5.0  # between two attempts to make the socket, on a disk that is full
_WAIT_S = 2.0  # for whoever asks; and for an agent that is asked
_MOST = 1 << 16
_log = logging.getLogger("fedhome.agent")


class StatusDoor:
    """Answers whoever asks how a home's agent is, in a thread of its own.

    Args:
        home_folder: The home's folder, which this process has locked or is about to lock.
        status: Returns what the agent does.
    """

    def __init__(self, home_folder: HomeFolder, status: Callable[[], HomeStatus]) -> None:
        self._folder, self._status = home_folder.path / AGENT, status
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        _asked(self._folder)  # so that it looks whether it is to end
        self._thread.join(_WAIT_S)

    def _serve(self) -> None:
        listener = self._listener()
        if listener is None:
            return
        with listener:
            while not self._end.is_set():
                # Whoever asks may be gone before it has an answer.
                with suppress(OSError):
                    self._answer(listener.accept()[0])
        with suppress(OSError):
            (self._folder / local_socket.SOCKET).unlink(missing_ok=True)

    def _listener(self) -> socket.socket | None:
        """Return the socket once the disk takes it; None if this ends before that."""
        told = False
        while not self._end.is_set():
            try:
                with disk.errors_of(self._folder):
                    self._folder.mkdir(mode=0o700, exist_ok=True)
                return local_socket.listen(self._folder, backlog=8)
            except (StateError, RunError) as error:
                if not told:
                    _log.warning("the status cannot be asked for: %s", error)
                told = True
            self._end.wait(_AGAIN_S)
        return None

    def _answer(self, asker: socket.socket) -> None:
        with asker:
            asker.settimeout(_WAIT_S)
            asker.sendall(json.dumps(asdict(self._status())).encode())


def asked_status(home_folder: HomeFolder) -> HomeStatus | None:
    """Return what a home's agent says of itself; None where none answers.

    Args:
        home_folder: The home's folder.
    """
    try:
        return HomeStatus(**json.loads(_asked(home_folder.path / AGENT)))
    except (ValueError, TypeError):
        return None


def _asked(folder: Path) -> bytes:
    """Return what is said at the socket in a folder; nothing where nobody is there."""
    said = b""
    with suppress(OSError, StateError, RunError), socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_WAIT_S)
        asking.connect(local_socket.address(folder))
        while len(said) < _MOST and (part := asking.recv(_MOST)):
            said += part
    return said
