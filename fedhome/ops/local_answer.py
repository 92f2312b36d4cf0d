"""How a resident process says how it is, from memory, at a socket in its folder.

True also while the disk takes no file, and quick, since what it takes to tell is loaded there
already. Whoever connects is sent the answer, and nothing is read from it. The folder and the socket
let no other account in.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from fedhome.errors import FedHomeError, RunError, StateError
from fedhome.ops import local_socket
from fedhome.store import disk

_AGAIN_S = 5.0  # between two attempts to make the socket, on a disk that is full
_WAIT_S = 10.0  # for whoever asks; and for a process that is asked
_MOST = 1 << 24


class LocalAnswer:
    """Answers whoever connects, in a thread of its own.

    Args:
        folder: Of the socket; it belongs to this process, which has locked what is around it.
        answer: Returns what is said.
        log: Takes what goes wrong.
    """

    def __init__(self, folder: Path, answer: Callable[[], bytes], log: logging.Logger) -> None:
        self._folder, self._answer, self._log = folder, answer, log
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        with suppress(OSError, StateError, RunError):  # so that it looks whether it is to end
            _connected(self._folder).close()
        self._thread.join(_WAIT_S)

    def _serve(self) -> None:
        listener = self._listener()
        if listener is None:
            return
        with listener:
            while not self._end.is_set():
                # Whoever asks may be gone before it has an answer.
                with suppress(OSError):
                    self._respond(listener.accept()[0])
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
                    self._log.warning("the status cannot be asked for: %s", error)
                told = True
            self._end.wait(_AGAIN_S)
        return None

    def _respond(self, asker: socket.socket) -> None:
        with asker:
            asker.settimeout(_WAIT_S)
            if self._end.is_set():
                return
            try:
                answer = self._answer()
            except FedHomeError as error:  # whoever asks finds out by itself, and is told
                self._log.warning("the status cannot be told: %s", error)
                return
            asker.sendall(answer)


def asked(folder: Path) -> bytes:
    """Return what a process says at the socket in a folder; nothing where none answers."""
    said = b""
    with suppress(OSError, StateError, RunError), _connected(folder) as asking:
        while len(said) < _MOST and (part := asking.recv(1 << 16)):
            said += part
    return said


def _connected(folder: Path) -> socket.socket:
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(_WAIT_S)
    try:
        asking.connect(local_socket.address(folder))
    except BaseException:
        asking.close()
        raise
    return asking
