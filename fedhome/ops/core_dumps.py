"""No picture of a process's memory is left where it crashes: its keys would be in that."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

if sys.platform != "win32":
    import resource

_LEAST = 1  # byte
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def leave_no_core() -> None:
    """Let this process, and what it starts, leave no memory dump.

    Linux may hand dumps to a program (``/proc/sys/kernel/core_pattern`` begins with a ``|``), and
    asks a limit of 0 about nothing then: core(5). It starts none at a limit of one byte, in which
    no file of a dump fits either. Where whoever started this process has forbidden any limit but
    0, or none can be set, the process alone is marked as one to be dumped by nobody; what it starts
    has to mark itself.
    """
    if sys.platform == "win32":
        return
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    limit = _LEAST if most == resource.RLIM_INFINITY or most >= _LEAST else 0
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (limit, most))
    except (ValueError, OSError):
        limit = 0
    if limit == 0 and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


@contextmanager
def own_files_in_proc() -> Iterator[None]:
    """Let this process write its own files in ``/proc``: while it is marked, they are root's.

    A crash meanwhile may be dumped: only for what has no key in its memory.
    """
    kernel = ctypes.CDLL(None) if sys.platform == "linux" else None
    if kernel is None or kernel.prctl(_PR_GET_DUMPABLE) != 0:
        yield
        return
    kernel.prctl(_PR_SET_DUMPABLE, 1)
    try:
        yield
    finally:
        kernel.prctl(_PR_SET_DUMPABLE, 0)
