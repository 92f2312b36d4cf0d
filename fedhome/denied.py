"""What is said of a file or folder that the account that runs this may not look at, or cannot."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedhome.accounts import account_name
from fedhome.errors import FedHomeError

READ_ONLY = (
    "its disk is mounted for reading alone: name a folder on another one, or mount it for writing; "
    "where it was that before, `dmesg` shows what the disk complained of"
)
"""What to do about what cannot be written since its file system is read-only."""

_NUMBER = re.compile(r"^\[Errno -?\d+\] ")


def system_words(error: BaseException) -> str:
    """Return what the system says of a failure, without its number; else what kind it is.

    >>> system_words(OSError("[Errno 111] Connection refused")), system_words(TimeoutError())
    ('Connection refused', 'TimeoutError')

    Args:
        error: As a library passed it on.
    """
    return _NUMBER.sub("", str(error)) or type(error).__name__


@contextmanager
def paths_told(kind: type[FedHomeError], path: Path) -> Iterator[None]:
    """Turn what the system says against a path into an error in words.

    It is for looking a path up. What reads and writes there says itself what it cannot.

    Args:
        kind: Of the error, which takes a message and a hint.
        path: The path, where the system's error names none.
    """
    if "\0" in str(path):
        raise kind(f"{str(path)!r} is no path", hint="a path has no null character")
    try:
        yield
    except PermissionError as error:
        message, hint = told_denied(error)
        raise kind(message, hint=hint) from None
    except OSError as error:
        name = path if error.filename is None else Path(os.fsdecode(error.filename))
        raise kind(
            f"{name}: {error.strerror or error}", hint="check its name, and those of its folders"
        ) from None
    except RuntimeError:  # so says Python of a loop of links
        raise kind(
            f"{path} is a link that leads back to itself", hint="name the folder that is meant"
        ) from None


def check_ordinary(kind: type[FedHomeError], path: Path) -> None:
    """Refuse a pipe or a device before a library opens it, which would wait for one without end.

    Args:
        kind: Of the error, which takes a message and a hint.
        path: The path; one that is not there is for who opens it to tell.

    Raises:
        FedHomeError: It is no ordinary file.
        OSError: Nobody may look.
    """
    if path.exists() and not path.is_file():
        raise kind(f"{path} is no ordinary file", hint="see what lies there, and who put it there")


def told_denied(error: PermissionError) -> tuple[str, str]:
    """Return in words what was not permitted, and what to do about it.

    Args:
        error: Of the file or folder that it names.
    """
    here = account_name(os.geteuid())
    if error.filename is None:
        return f"{error.strerror or error}, to the account {here}", "run it as another account"
    path = Path(os.fsdecode(error.filename)).absolute()
    what = f"{path}: the account {here} may not look there, or not write"
    owner = _owner(path)
    if owner in {here, ""}:
        return what, "its permissions say who may: `ls -ld` shows them for each folder on the way"
    return what, f"it is {owner}'s: run the command as that account, such as by `sudo -u {owner}`"


def _owner(path: Path) -> str:
    """Return who owns a path, or the first folder above it of which that can be told."""
    for one in (path, *path.parents):
        try:
            return account_name(one.stat().st_uid)
        except OSError:
            continue
    return ""
