"""A home that records, excludes and gets models, killed at one write after the other.

python -m helpers.crash_points FOLDER       prints a line of JSON for each point

FOLDER holds a home (:mod:`helpers.kept_home`) and the models ``a.model`` and ``b.model``. For every
write that the whole story takes, a process is forked that dies there: before it, or, where what was
written is made durable, with half of it lost, as by a power cut.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedhome.cli.client_predict import predicted
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.recorded import reading_store
from fedhome.clients.recorded.recording import Recorder
from fedhome.data.table import HomeTable

NOW: Final = 1_700_006_400 + 86_400 * 6
_KILLED = 9
_WRITES = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")

Told = Callable[[str], None]


def rows(day: int, hours: list[int], load: float, **more: float) -> HomeTable:
    """Return rows of one day, all alike."""
    columns = {name: np.full(len(hours), value) for name, value in {"load": load, **more}.items()}
    times = 1_700_006_400 + 86_400 * day + 3600 * np.array(hours)
    return HomeTable(home="kitchen", time_s=times, columns=columns)


BATCHES: Final = {
    "first": rows(3, [0, 1], 1.0, outdoor=5.0),
    "again": rows(3, [1, 2], 2.0, outdoor=6.0),
    "new column": rows(4, [0, 1], 3.0, outdoor=7.0, damp=1.0),
    "late": rows(1, [30], 4.0),
    "many parts": rows(3, [3], 5.0),
    "and old days go": rows(5, [0], 6.0),
}


def story(place: HomeFolder, models: tuple[bytes, bytes], told: Told) -> None:
    """Live through all that a home writes; each step is told once it is acknowledged."""
    recorder = Recorder(place, clock=lambda: float(NOW))
    recorder.begin()
    told("begun")
    own = OwnModels(place.path, "kitchen")
    for place_in, (name, batch) in enumerate(BATCHES.items()):
        keep_days = 5.0 if name == "and old days go" else 0.0
        recorder.store.append(batch, now_s=NOW, keep_days=keep_days)
        told(name)
        if place_in % 2:
            number = place_in // 2 % 2
            own.replace(models[number])
            told("ab"[number])
    if not recorder.store.excluded:
        recorder.store.exclude(NOW - 86_400, NOW, ("damp",), "wet")
        told("excluded")


@dataclass
class Killer:
    """Ends the process at a write.

    Args:
        at: Which one, from 1; 0: none.
        torn: Whether half of what was written is lost, where it is to be made durable.
    """

    at: int
    torn: bool
    writes: int = 0
    kinds: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Stand before everything that writes."""
        for name in _WRITES:
            setattr(os, name, self._guarded(name, getattr(os, name)))
        opened = os.open

        def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            if flags & os.O_CREAT:
                self._count("open", None)
            return opened(path, flags, *rest, **named)

        os.open = open_

    def _guarded(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*given: Any, **named: Any) -> Any:
            file = name == "fsync" and stat.S_ISREG(os.fstat(given[0]).st_mode)
            self._count("fsync of a file" if file else name, given[0] if file else None)
            return real(*given, **named)

        return guarded

    def _count(self, name: str, descriptor: int | None) -> None:
        self.writes += 1
        self.kinds.append(name)
        if self.writes != self.at:
            return
        if self.torn and descriptor is not None:
            os.truncate(f"/proc/self/fd/{descriptor}", os.fstat(descriptor).st_size // 2)
        os._exit(_KILLED)


def forked(place: HomeFolder, models: tuple[bytes, bytes], killer: Killer) -> tuple[int, list[str]]:
    """Live the story in a process of its own; return how it ended, and what was acknowledged."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        with os.fdopen(reading) as stream:
            told = stream.read().splitlines()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told
    status = 1
    try:
        os.close(reading)
        killer.install()
        story(place, models, lambda what: os.write(writing, f"{what}\n".encode()) and None)
        os.write(writing, f"{','.join(killer.kinds)}\n".encode())
        status = 0
    finally:
        os._exit(status)


def faults_of(place: HomeFolder, models: dict[str, str], told: list[str]) -> list[str]:
    """Return what a home lost that it had acknowledged, or cannot do any more.

    Args:
        place: Its folder.
        models: The run of each model, by its letter.
        told: What was acknowledged.
    """
    faults: list[str] = []
    found = predicted(place, at=None, source=None, now_s=float(NOW))[0]
    letters = [what for what in told if what in models]
    following = {"": "b", "a": "ab", "b": "ab"}[letters[-1] if letters else ""]
    allowed = (
        {models[one] for one in (*letters[-1:], *following)} if letters else set(models.values())
    )
    if found.model.run not in allowed:
        faults.append(f"predicts by {found.model.run}")
    if not reading_store.ReadingStore.there(place.path):
        return [*faults, "the store is gone"] if "begun" in told else faults
    store = reading_store.ReadingStore.of(place.path, "kitchen")
    whole, notes = store.everything()
    faults += notes
    values = {
        (int(time), name): float(cell)
        for name, cells in whole.columns.items()
        for time, cell in zip(whole.time_s, cells, strict=True)
    }
    good = _allowed(told)
    faults += [
        f"{name} at {time} is lost"
        for (time, name), cells in good.items()
        if values.get((time, name)) not in cells
    ]
    if "excluded" in told and len(store.excluded) != 1:
        faults.append("a period counts again")
    return faults


def _allowed(told: list[str]) -> dict[tuple[int, str], set[float]]:
    """Return the readings that a store must have, each with what it may be.

    It is what was acknowledged last, or what comes next: that may be there already.
    """
    done = [name for name in BATCHES if name in told]
    found: dict[tuple[int, str], set[float]] = {}
    for name in list(BATCHES)[: len(done) + 1]:
        table = BATCHES[name]
        for column, cells in table.columns.items():
            for time, cell in zip(table.time_s, cells, strict=True):
                place = (int(time), column)
                if name in done:
                    found[place] = {float(cell)}
                elif place in found:
                    found[place].add(float(cell))
    return found


def main(root: Path) -> None:
    """Kill at every point, and print what is left each time."""
    reading_store._MOST_PARTS = 2
    pristine, folder = root / "pristine", root / "kitchen"
    models = ((root / "a.model").read_bytes(), (root / "b.model").read_bytes())
    runs = json.loads((root / "runs.json").read_text())
    shutil.copytree(folder, pristine)

    def anew() -> HomeFolder:
        shutil.rmtree(folder)
        shutil.copytree(pristine, folder)
        return HomeFolder(folder)

    status, told = forked(anew(), models, Killer(0, torn=False))
    kinds = told.pop().split(",")
    assert status == 0, told
    whole = vars(reading_store.ReadingStore.of(folder, "kitchen").everything()[0])
    for at, kind in enumerate(kinds, 1):
        for torn in (False, True) if kind == "fsync of a file" else (False,):
            place = anew()
            status, told = forked(place, models, Killer(at, torn=torn))
            faults = faults_of(place, runs, told) if status == _KILLED else [f"status {status}"]
            status, _ = forked(place, models, Killer(0, torn=False))  # it comes again
            if status:
                faults.append(f"status {status} after it")
            else:
                after = vars(reading_store.ReadingStore.of(folder, "kitchen").everything()[0])
                try:
                    np.testing.assert_equal(after, whole)
                except AssertionError:
                    faults.append("what comes again does not heal it")
            point = {"at": at, "kind": kind, "torn": torn, "faults": faults}
            sys.stdout.write(f"{json.dumps(point)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
