"""A registry whose process ends at any step, or whose disk fails at any: nothing is half done."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedhome.errors import RegistryError
from fedhome.registry import Registry
from helpers.patience import PATIENCE_S
from helpers.registry_world import SERVER, Crash, Shelf, contents, draft, failing, numbers

pytestmark = pytest.mark.long

Act = Callable[[Registry], object]
ACTS: dict[str, Act] = {
    "publish": lambda registry: registry.publish(draft(4), SERVER),
    "rollback": lambda registry: registry.rollback(1, SERVER),
    "pin": lambda registry: registry.pin(1),
    "prune": lambda registry: registry.prune(1),
    "rotate": lambda registry: registry.rotate(),
}


def state(folder: Path) -> tuple[Any, ...]:
    """Return what a registry holds, whatever its files are."""
    registry = Registry.open(folder)
    report = registry.verify()
    assert report.faults == ()
    told = registry.releases()
    head = registry.load("latest").flat.tobytes()
    # Times differ between one run of an act and the next.
    facts = [(r.number, r.manifest.payload, r.pinned, r.kept) for r in told]
    return facts, head, len(report.leftovers)


def copies(folder: Path, act: Act) -> tuple[tuple[Any, ...], tuple[Any, ...], int]:
    """Return the state before an act, the state after it, and of how many steps it is."""
    before = state(folder)
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    registry = Registry.open(whole)
    with failing(0, Crash()) as calls:
        act(registry)
    return before, state(whole), len(calls)


def releases_of(folder: Path) -> dict[str, bytes]:
    files = contents(folder)
    return {name: data for name, data in files.items() if name.startswith("releases/0000000")}


@pytest.mark.parametrize("name", ACTS)
def test_a_crash_at_any_step(tmp_path: Path, name: str) -> None:
    folder, act = Shelf.of(tmp_path / "r").folder, ACTS[name]
    before, after, steps = copies(folder, act)
    assert steps > 5
    # A new key changes nothing that can be seen; of all else, both states must come up.
    ends = set()
    for step in range(1, steps + 1):
        place = tmp_path / str(step)
        shutil.copytree(folder, place)
        registry = Registry.open(place)
        with failing(step, Crash()), pytest.raises(Crash):
            act(registry)
        del registry
        found = state(place)
        assert found[:2] in (before[:2], after[:2])
        ends.add(found[:2] == after[:2])
        if name == "rotate":
            assert releases_of(place) == releases_of(folder)
        if name not in ("rollback", "pin") or found[:2] == before[:2]:
            act(Registry.open(place))
        assert state(place)[:2] == after[:2]
        Registry.open(place).prune(9)
        assert state(place) == (*after[:2], 0)
        assert not [file for file in contents(place) if file.endswith(".new")]
    assert ends == ({True} if name == "rotate" else {False, True})


@pytest.mark.parametrize("name", ACTS)
def test_a_disk_that_fails_at_any_step(tmp_path: Path, name: str) -> None:
    folder, act = Shelf.of(tmp_path / "r").folder, ACTS[name]
    before, after, steps = copies(folder, act)
    for step in range(1, steps + 1):
        place = tmp_path / str(step)
        shutil.copytree(folder, place)
        registry = Registry.open(place)
        number, reason = ((errno.ENOSPC, "disk-full"), (errno.EIO, "disk"))[step % 2]
        with failing(step, OSError(number, "")), pytest.raises(RegistryError) as caught:
            act(registry)
        assert caught.value.reason == reason
        assert state(place)[:2] in (before[:2], after[:2])
        # The very same registry goes on: it knows what is on the disk.
        registry.publish(draft(5), SERVER)
        assert registry.load().flat.tobytes() == numbers(5).tobytes()
        assert Registry.open(place).verify().faults == ()


def test_a_key_that_moves_to_another_file_or_a_passphrase(tmp_path: Path) -> None:
    folder = Shelf.of(tmp_path / "r").folder
    before = state(folder)
    moved: dict[str, dict[str, Any]] = {
        "file": {"key_file": "new.key"},
        "words": {"passphrase": "correct horse battery staple"},
    }
    for kind, key in moved.items():
        opened = set()
        for step in range(1, 20):
            place = tmp_path / f"{kind}{step}"
            shutil.copytree(folder, place)
            new = {name: place / v if name == "key_file" else v for name, v in key.items()}
            registry = Registry.open(place)
            done = False
            with failing(step, Crash()) as calls:
                try:
                    registry.rotate(**new)
                    done = True
                except Crash:
                    pass
            # Exactly one of the two keys is the right one.
            sound = []
            for arguments in ({}, new):
                try:
                    sound.append(Registry.open(place, **arguments))
                except RegistryError as error:
                    assert error.reason in ("wrong-key", "missing", "passphrase")  # noqa: PT017
                else:
                    opened.add(bool(arguments))
            (right,) = sound
            assert right.verify().faults == ()
            assert right.load().flat.tobytes() == before[1]
            if done:
                assert step == len(calls) + 1
                break
        else:
            pytest.fail("it never came to its end")
        assert opened == {False, True}


KILLED = """
import json, os, shutil, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from helpers.registry_world import SERVER, draft
from fedhome.registry import Registry

base = Path(sys.argv[1])
acts = {
    "publish": lambda r: r.publish(made, SERVER),
    "prune": lambda r: r.prune(1),
    "rotate": lambda r: r.rotate(),
}
made = draft(4)
told = {}
for name, act in acts.items():
    step = 0
    while True:
        step += 1
        place = base / f"{name}-{step}"
        shutil.copytree(base / "r", place)
        child = os.fork()
        if child == 0:
            left = step
            def counted(real):
                def call(*a, **k):
                    global left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*a, **k)
                return call
            for what in ("open", "fsync", "replace", "unlink"):
                setattr(os, what, counted(getattr(os, what)))
            act(Registry.open(place))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    told[name] = step
print(json.dumps(told))
"""


def test_a_process_that_is_killed_at_any_step(tmp_path: Path) -> None:
    folder = Shelf.of(tmp_path / "r").folder
    before = state(folder)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert set(told) == {"publish", "prune", "rotate"}
    for name, last in told.items():
        assert last > 5
        after = state(tmp_path / f"{name}-{last}")[:2]
        for step in range(1, last):
            place = tmp_path / f"{name}-{step}"
            assert state(place)[:2] in (before[:2], after)
            ACTS[name](Registry.open(place))
            assert state(place)[:2] == after
            if name == "rotate":
                assert releases_of(place) == releases_of(folder)
