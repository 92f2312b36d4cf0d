"""No picture of a process's memory is left where it crashes: its keys would be in that."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

_LEAST = 1  # byte
_PR_SET_DUMPABLE = 4


def leave_no_core() -> None:
    """Let this process, and what it starts, leave no memory dump.

    Linux may hand dumps to a program (``/proc/sys/kernel/core_pattern`` begins with a ``|``), and
    asks a limit of 0 about nothing then: core(5). It starts none at a limit of one byte, in which
    no file of a dump fits either. Where whoever started this process has forbidden any limit but 0,
    the process alone is marked as one to be dumped by nobody; what it starts marks itself.
    """
    if sys.platform == "win32":
        return
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    limit = _LEAST if most == resource.RLIM_INFINITY or most >= _LEAST else 0
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (limit, most))
    if limit == 0 and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
