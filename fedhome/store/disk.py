"""Files that hold secrets: replaced whole, readable by their owner alone, one process at a time."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from fedhome.denied import READ_ONLY
from fedhome.errors import StateError
from fedhome.keys.sealing import KEY_BYTES, SealedFile, SealingKey
from fedhome.store.own_folder import check_own

if sys.platform != "win32":
    import fcntl

NEW = ".new"
"""Ending of a staged file: one, so that a crash leaves one at most, and the next save ends it."""
HOME_KEY = "state.key"
"""The key file in a home's folder, by which all that is sealed there opens."""
FULL = "disk-full"
"""The reason of an error where a disk has no room."""
MOST_READ = 1 << 31
"""Bytes of the longest file that is read whole: an opened sum, or a home's state of years."""
_SOME_ROOM = 1 << 20
_PIECE = 1 << 16
_PAUSE_S = 0.02
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_NO_FILE = (errno.EISDIR,)


def put(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a power cut, sees the old one or the new one.

    Raises:
        StateError: ``disk-full``, ``not-writable``, ``missing`` (its folder) or ``disk``; the old
            file is untouched then.
    """
    commit(stage(path, data, mode=mode), path)


def stage(path: Path, data: bytes, *, mode: int = 0o600) -> Path:
    """Write a file durably beside the one that it will replace, and return its path.

    Raises:
        StateError: As `put`; nothing is left then.
    """
    new = path.with_name(path.name + NEW)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with errors_of(path):
        new.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(new, flags, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
    return new


def commit(new: Path, path: Path) -> None:
    """Move a staged file to its final path, durably.

    Raises:
        StateError: ``not-writable`` or ``disk``; either file may be in place then.
    """
    with errors_of(path):
        os.replace(new, path)  # noqa: PTH105 - a test lets every step fail
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder durable: a rename alone is not.

    Raises:
        StateError: ``missing`` or ``disk``.
    """
    with errors_of(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def discard(path: Path) -> None:
    """Remove what was staged for a file, by this process or by one that crashed.

    Raises:
        StateError: ``not-writable`` or ``disk``.
    """
    with errors_of(path):
        path.with_name(path.name + NEW).unlink(missing_ok=True)


def read(path: Path, *, most: int = MOST_READ, streams: bool = False) -> bytes:
    """Return the bytes of a file.

    It may lie in a folder that somebody else filled: a pipe there would be waited for without end,
    and a device or a hole of many gigabytes takes all memory.

    Args:
        path: The file.
        most: The most bytes that it may have.
        streams: Take a pipe too, as a shell makes one of ``<(command)``; not a device.

    Raises:
        StateError: ``missing``, ``not-readable`` or ``disk``; ``foreign``: it is no ordinary file,
            or a longer one.
    """
    later = 0 if streams else getattr(os, "O_NONBLOCK", 0)  # opening a pipe waits for its writer
    with (
        errors_of(path, refused="not-readable"),
        open(path, "rb", opener=lambda name, flags: os.open(name, flags | later)) as file,
    ):
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISREG(mode) or (streams and stat.S_ISFIFO(mode)):
            data = _at_most(file, most)
            if data is not None:
                return data
            what = f"longer than {most} bytes"
        else:
            what = "no ordinary file"
    raise StateError(
        f"{path} is {what}",
        reason="foreign",
        hint="an ordinary file of usual length is needed: see what lies there, and who put it so",
    )


def _at_most(file: BinaryIO, most: int) -> bytes | None:
    """Return what is left of a file; None: more than `most` bytes.

    As much memory is set aside as the file has bytes: to ask for all that it may have would take
    2 GB of a small device for a file of any size.
    """
    size = os.fstat(file.fileno()).st_size
    if size > most:
        return None
    pieces = [file.read(size + 1)]
    read = len(pieces[0])
    # A pipe, a file that grows, or one of /proc, which says 0 bytes: joined once, at their end, as
    # to join each piece takes time with the square of their length.
    while read <= most and (more := file.read(_PIECE)):
        pieces.append(more)
        read += len(more)
    return b"".join(pieces) if read <= most else None


def unlock(sealed: SealedFile, *, where: str, passphrase: str | None, key_file: Path) -> SealingKey:
    """Return the key for a sealed file: made from the passphrase, or read from the key file.

    Raises:
        StateError: ``passphrase``: one is needed, or none is; or as for `read_key`.
    """
    scrypt = sealed.head.scrypt
    if scrypt and passphrase is None:
        raise StateError(
            f"{where} needs its passphrase",
            reason="passphrase",
            hint="no key file opens it: it was made with a passphrase",
        )
    if not scrypt and passphrase is not None:
        raise StateError(
            f"{where} was not made with a passphrase",
            reason="passphrase",
            hint="a key file opens it; leave the passphrase out",
        )
    if passphrase is not None:
        return SealingKey.from_passphrase(passphrase, scrypt[0])
    return SealingKey(read_key(key_file))


def read_key(path: Path) -> bytes:
    """Return the key of a key file, 32 bytes.

    Raises:
        StateError: ``missing``, ``not-readable``, ``altered`` (another size) or ``permissions``:
            others than its owner may read it.
    """
    key = read(path)
    if len(key) != KEY_BYTES:
        raise StateError(
            f"{path} has not {KEY_BYTES} bytes: no key file",
            reason="altered",
            hint="bring it back from wherever a copy of it is kept",
        )
    check_private(path, hint="where the disk knows no owners, use a passphrase instead")
    return key


def check_private(path: Path, *, hint: str = "a disk that knows no owners is none for it") -> None:
    """Refuse a file with a secret that others than its owner may read.

    Args:
        path: The file.
        hint: What to do besides.

    Raises:
        StateError: ``permissions``; or ``missing``.
    """
    with errors_of(path):
        mode = path.stat().st_mode
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise StateError(
            f"{path} can be read by others",
            reason="permissions",
            hint=f"chmod 600 {path}; {hint}",
        )


def lock(folder: Path, *, wait_s: float = 0.0) -> int:
    """Lock a folder against other processes, and other stores in this one.

    A folder in which other accounts may replace what is in it is refused, for root too
    (:func:`fedhome.store.own_folder.check_own`).

    Args:
        folder: It.
        wait_s: How long to wait, in seconds, for whoever holds it.

    Returns:
        A file descriptor; closing it, or the end of the process, frees the folder.

    Raises:
        StateError: ``in-use``, ``missing``, ``not-readable``, ``permissions``, or ``disk``: no
            locks there.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            return _lock_now(folder)
        except StateError as error:
            if error.reason != "in-use" or time.monotonic() >= end:
                raise
        time.sleep(_PAUSE_S)


def is_locked(folder: Path) -> bool:
    """Return whether a process has locked a folder.

    Raises:
        StateError: As `lock`, without ``in-use``.
    """
    try:
        os.close(lock(folder))
    except StateError as error:
        if error.reason != "in-use":
            raise
        return True
    return False


def _lock_now(folder: Path) -> int:
    if sys.platform == "win32":
        raise StateError(
            "secret files need the locks of a POSIX system", reason="disk", hint="use WSL"
        )
    with errors_of(folder, refused="not-readable"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            check_own(folder, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            who = f"process {holder} (`ps -p {holder}` shows it)" if holder else "another process"
            raise StateError(
                f"{folder} is in use by {who}",
                reason="in-use",
                hint="one process at a time may use it; end the other one first",
            ) from None
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


_LOCKS = Path("/proc/locks")  # of Linux: 1: FLOCK ADVISORY WRITE PROCESS DEVICE:INODE 0 EOF


def _holder(descriptor: int) -> int:
    """Return the process that holds a folder's lock; 0 where the system does not tell it.

    Some file systems have another device number there than elsewhere, so it is found by its inode;
    of several that have the same one on several file systems, none is named: it would be ended.
    """
    found = set[int]()
    with suppress(OSError, ValueError):
        inode = str(os.fstat(descriptor).st_ino)
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            match line.split():
                case [_, "FLOCK", _, "WRITE", process, place, *_] if (
                    place.rpartition(":")[2] == inode
                ):
                    found.add(int(process))
    return max(0, found.pop()) if len(found) == 1 else 0


@contextmanager
def errors_of(path: Path, *, refused: str = "not-writable") -> Iterator[None]:
    """Turn an `OSError` about a file or a folder into a `StateError`.

    Args:
        path: Its name, for messages.
        refused: The reason where the system does not allow it.
    """
    try:
        yield
    except OSError as error:
        reason, hint = "disk", "check the disk; secret files belong on a local one"
        if error.errno in _FULL:
            reason, hint = FULL, "make room, then try again"
        elif error.errno == errno.EROFS:
            reason, hint = refused, READ_ONLY
        elif error.errno in _REFUSED:
            reason, hint = refused, "the folder must belong to the user that runs this"
        elif error.errno in _ABSENT:
            reason, hint = "missing", "check its name, and that of its folder"
        elif error.errno in _NO_FILE:
            hint = "this is a folder, and a file is needed: name the file"
        text = os.strerror(error.errno) if error.errno else "an error without a number"
        raise StateError(f"{path}: {text}", reason=reason, hint=hint) from None
    except ValueError:
        if "\0" not in str(path):
            raise
        raise StateError(
            f"{str(path)!r} is no path", reason="missing", hint="a path has no null character"
        ) from None


def has_room(folder: Path) -> bool:
    """Whether the disk of a folder takes anything more to speak of."""
    return shutil.disk_usage(folder).free >= _SOME_ROOM


def is_full(error: BaseException) -> bool:
    """Whether an error is there since a disk is full, or what led to it was."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if getattr(seen, "reason", "") == FULL:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


class FolderLock:
    """Holds a folder's lock until it is closed: a context manager.

    A subclass keeps the descriptor that `lock` returned in ``_lock``.
    """

    _lock: int

    def close(self) -> None:
        """Release the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
