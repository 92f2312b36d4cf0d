"""A process whose clock is wrong: what it asks the system for is answered by libfaketime.

``python -m fedhome.ops.processes PARENT fedhome.simulations.benchmarks.outages.other_clock FILE
MODULE ARGUMENT...`` becomes a process of ours whose wall clock differs from the machine's by what
the file says (:func:`set_clock`), and follows it within a second. It is Debian's package
libfaketime; nothing else of a process changes, and clocks that only rise are left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fedhome.errors import RunError

OTHER_CLOCK = "fedhome.simulations.benchmarks.outages.other_clock"
"""This module's name, as a command has it."""
_LIBRARY = "faketime/libfaketimeMT.so.1"


def library() -> Path | None:
    """Return where libfaketime is installed; None where it is not."""
    places = (place for root in ("/usr/lib", "/usr/local/lib") for place in Path(root).glob("*"))
    candidates = (Path("/usr/local/lib") / _LIBRARY, *(place / _LIBRARY for place in places))
    return next((path for path in candidates if path.exists()), None)


def set_clock(file: Path, ahead_s: int) -> None:
    """Let the clocks that a file keeps differ from the machine's.

    Args:
        file: The file.
        ahead_s: By how much they are ahead, s; negative: behind.
    """
    new = file.with_suffix(".new")
    new.write_text(f"{ahead_s:+d}\n", encoding="ascii")
    new.replace(file)


def main(arguments: Sequence[str]) -> NoReturn:
    """Become the process of a module of ours, under another clock.

    Raises:
        RunError: libfaketime is not installed.
    """
    file, *command = arguments
    found = library()
    if found is None:
        raise RunError("libfaketime is not installed", hint="`apt-get install faketime`")
    parent = str(os.getppid())
    start = [sys.executable, "-P", "-m", "fedhome.ops.processes", parent, *command]
    environment = os.environ | {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": file,
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    os.execve(start[0], start, environment)  # noqa: S606 - our own module
