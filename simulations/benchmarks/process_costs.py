"""What a process has cost so far, as Linux's ``/proc`` tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB_PER_MB = 1024
_USER_TIME = 11  # of the fields after a process's name, which may contain spaces


@dataclass(frozen=True, kw_only=True)
class ProcessCost:
    """What a process, and those of its children that have ended, took.

    Args:
        cpu_s: Processor time.
        peak_mb: Most resident memory, MB (2^20 bytes).
        files: Descriptors that are open.
        threads: Its threads.
    """

    cpu_s: float
    peak_mb: float
    files: int
    threads: int

    @classmethod
    def of(cls, number: int) -> ProcessCost:
        """Return what a process has cost so far; nothing if it has ended.

        Args:
            number: Its number.
        """
        folder = Path(f"/proc/{number}")
        cpu_s, peak_mb, threads, files = 0.0, 0.0, 0, 0
        with suppress(OSError):
            fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
            cpu_s = sum(map(int, fields[_USER_TIME : _USER_TIME + 4])) / _TICKS
            for line in (folder / "status").read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition(":")
                if name == "VmHWM":
                    peak_mb = int(value.split()[0]) / _KIB_PER_MB
                elif name == "Threads":
                    threads = int(value)
            files = len(list((folder / "fd").iterdir()))
        return cls(cpu_s=cpu_s, peak_mb=peak_mb, files=files, threads=threads)
