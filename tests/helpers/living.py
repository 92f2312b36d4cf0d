"""What tests of real processes share: who is there, what they print, which weights they give."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np

from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from helpers.patience import PATIENCE_S


def tiny_plan(homes: int, rounds: int, **aggregation: object) -> Plan:
    """Return a plan whose rounds take next to no arithmetic."""
    return Plan.load(
        name="tiny",
        seed=3,
        data={"homes": homes, "days": 10, "history_days": 10},
        model={"hidden": [8]},
        rounds={"count": rounds, "deadline_s": 60, "quorum": 0.5},
        personalise={"epochs": 2, "local_epochs": 2},
        engine={"name": "sequential"},
        aggregation=aggregation,
    )


def processes_of(folder: Path) -> dict[int, list[str]]:
    """Return the arguments of the processes that work in a folder, by their numbers."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if any(str(folder) in word for word in words):
            found[int(entry.name)] = words
    return found


def number_of(folder: Path, *parts: str) -> int:
    """Return the process whose arguments end with some words."""
    (number,) = [
        number
        for number, words in processes_of(folder).items()
        if all(any(word.endswith(part) for word in words) for part in parts)
    ]
    return number


def wait_until_gone(folder: Path) -> None:
    """Wait until no process works in a folder any more."""
    deadline = time.monotonic() + PATIENCE_S
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        os.sched_yield()


def lines_until(process: subprocess.Popen[str], mark: str) -> list[str]:
    """Return the lines that a process prints, up to one that begins with a mark."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(mark):
            return lines
    raise AssertionError("".join(lines))


def assert_same_weights(found: RunFolder, expected: RunFolder, *, again: int = 0) -> None:
    """Hold two models against each other.

    Args:
        found: A run's folder.
        expected: The folder of the run that it should be the same as.
        again: How many rounds may have been asked again. Homes answer about one model once, so the
            last digits of such a round's model are changed and its updates are rounded anew: each
            by up to a step, 1 of 2^15 of the clip of 1.
    """
    ours, theirs = found.read_model().parameters, expected.read_model().parameters
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=1e-5 + again / 2**15)
