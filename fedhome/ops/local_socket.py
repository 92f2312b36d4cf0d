"""A socket in a folder of one's own: an entrance that other accounts of a machine do not have.

A port on loopback is open to every local account. A Unix socket is a file: the kernel lets only
those connect who may enter its folder and write to it, so nobody has to know a secret.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from functools import cache
from pathlib import Path

from fedhome.errors import RunError, StateError
from fedhome.store import disk

SOCKET = "socket"
"""The socket's name in its folder."""

_MOST_PATH = 100  # bytes; the kernel takes 107 (Linux) or 103 (macOS)
_OTHERS = 0o077


def listen(folder: Path, backlog: int = 2048) -> socket.socket:
    """Return a socket in a folder that only this process's account, and root, can connect to.

    A socket that an earlier process left behind is replaced: whoever calls this has locked what
    the folder belongs to.

    Args:
        folder: It is made accessible to its owner alone.
        backlog: Connections that wait to be accepted, at most.

    Raises:
        StateError: The folder cannot be used.
        RunError: The folder's path is too long for a socket on this system.
    """
    path = folder / SOCKET
    with disk.errors_of(path):
        if stat.S_IMODE(folder.stat().st_mode) & _OTHERS:
            folder.chmod(0o700)
        path.unlink(missing_ok=True)
        where = address(folder)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # From its first moment on, also if the folder's mode is changed later.
        mask = os.umask(0o177)
        try:
            listener.bind(where)
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(mask)
        listener.listen(backlog)
    return listener


def address(folder: Path) -> str:
    """Return the address of the socket in a folder, for this process alone.

    An address holds some hundred bytes, and folders may have longer paths. Linux knows a folder
    that is open by a short path, too.

    Raises:
        StateError: The folder is not there.
        RunError: Its path is too long for a socket on this system.
    """
    path = str(folder / SOCKET)
    if len(os.fsencode(path)) <= _MOST_PATH:
        return path
    if sys.platform != "linux":
        raise RunError(
            f"{folder} has too long a path for a socket: {len(os.fsencode(path))} bytes, "
            f"and {_MOST_PATH} fit",
            hint="move the server's folder to a shorter path",
        )
    try:
        return f"/proc/self/fd/{_opened(folder)}/{SOCKET}"
    except OSError as error:
        raise StateError(
            f"{folder} cannot be entered: {error.strerror}", reason="missing"
        ) from None


def is_open(folder: Path) -> bool:
    """Whether a process listens at the socket in a folder, and this one may connect to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(address(folder))
        except (OSError, StateError):
            return False
    return True


@cache
def _opened(folder: Path) -> int:
    """Return a descriptor of a folder, which stays open for as long as this process lives."""
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)
