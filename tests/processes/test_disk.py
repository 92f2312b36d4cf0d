"""Disks that are full or cannot be written: a typed error, nothing is corrupted, and on it goes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pytest

import fedhome
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import EventLogError, RunError
from fedhome.fleet.state_file import FileStore
from fedhome.ops.processes import Child, Processes
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog, read_events
from fedhome.run.folder import RunFolder
from fedhome.run.written_whole import write_atomically
from fedhome.server.daemon.current_run import (
    BROKEN_OFF,
    DONE,
    FINISHED,
    PAUSED,
    RUNNING,
    Current,
    Runs,
)
from fedhome.server.daemon.interruptions import WhyFailed, why_failed
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.supervisor import Daemon
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.daemon_world import PASSPHRASE, World, agents, run, started, told
from helpers.living import assert_same_weights, lines_until, tiny_plan, wait_until_gone
from helpers.patience import PATIENCE_S

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system in memory")


def real(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test of real processes and a real disk."""
    marks = (pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("forked"), LINUX)
    for mark in marks:
        test = mark(test)
    return test


HOMES, ROUNDS, FEW = 5, 400, 4  # ROUNDS: more than there is time for
WAIT_S = 180
FULL = "No space left on device"


class Disk:
    """A small file system of its own, in memory.

    Args:
        folder: Where it is mounted.
        size: Bytes.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self._filler = folder, folder / "filler"
        folder.mkdir(parents=True, exist_ok=True)
        self._mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder))

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as full:
                    assert full.errno == errno.ENOSPC  # noqa: PT017 - how far it gets is no matter

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()

    def protect(self) -> None:
        """Let nobody write; whoever has a file open now is waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(self._remount("ro"), check=False, capture_output=True).returncode:
            assert time.monotonic() < deadline
        with pytest.raises(OSError, match="Read-only"):
            self._filler.touch()

    def unprotect(self) -> None:
        """Let everybody write again."""
        subprocess.run(self._remount("rw"), check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True, capture_output=True)

    def _remount(self, how: str) -> list[str]:
        return ["mount", "-o", f"remount,{how}", str(self.folder)]

    def _mount(self, *words: str) -> None:
        done = subprocess.run(["mount", *words], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def mounted() -> Iterator[Callable[[Path, int], Disk]]:
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root may mount a file system")
    with ExitStack() as stack:

        def mount(folder: Path, size: int) -> Disk:
            disk = Disk(folder, size)
            stack.callback(disk.unmount)
            return disk

        yield mount


def plan_of(rounds: int, **aggregation: object) -> Plan:
    return tiny_plan(HOMES, rounds, **aggregation)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("simulated") / "run"
    return fedhome.simulate(plan_of(FEW), out=out).folder


@dataclass
class Fleet:
    """A fleet of real processes, and the run that they work on."""

    processes: Processes
    server: ServerFolder
    places: list[HomeFolder]
    run: RunFolder

    def begin(self) -> Child:
        """Start the run, or go on with it."""
        return self.processes.start(
            "run",
            "fedhome.server.daemon.deploy",
            str(self.server.path),
            str(self.run.path),
            str(WAIT_S),
            log=self.server.logs / "run.log",
            ends=(DONE, BROKEN_OFF, PAUSED),
        )

    @property
    def closed(self) -> list[int]:
        """How many homes answered in each round that is closed."""
        events = self.run.read_events() if self.run.events_path.exists() else []
        return [
            int(str(event.data["homes_answered"]))
            for event in events
            if event.event == "round-closed"
        ]

    def log_of(self, name: str) -> str:
        path = self.server.logs / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait, as long as the run goes on."""
        ended = self.processes.children["run"].look
        self.processes.until(lambda: done() or ended() is not None, what=what, timeout_s=WAIT_S)
        assert done(), f"the run ended before {what}: {self.log_of('run')}"

    def until_round_of(self, homes: int) -> None:
        """Wait for another round that so many homes answer."""
        before = len(self.closed)
        self.until(lambda: homes in self.closed[before:], f"a round of {homes} homes")

    def finish(self) -> None:
        assert self.processes.wait("run") == DONE, self.log_of("run")
        assert self.run.finished


HOME = "home-0003"


@pytest.fixture
def disk(mounted: Callable[[Path, int], Disk], tmp_path: Path) -> Disk:
    """Where one home's folder lies."""
    return mounted(tmp_path / "deployment" / "homes" / HOME, 4 << 20)


@pytest.fixture
def fleet(disk: Disk, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose sums go on without one of its homes."""
    plan = plan_of(ROUNDS, min_cohort=3)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    run = RunFolder.create(tmp_path / "run")
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        start(processes, server, places)
        fleet = Fleet(processes, server, places, run)
        fleet.begin()
        fleet.until_round_of(HOMES)
        yield fleet
    assert disk.folder.exists()


def assert_sound(place: HomeFolder, copy: Path) -> None:
    """Open a copy of a home's state: it holds, and is the one that was saved last."""
    shutil.copytree(place.path, copy, ignore=shutil.ignore_patterns("filler", "model", "socket"))
    with FileStore.open(copy, home=place.path.name) as store:
        assert store.state.version > 0


@real
def test_a_homes_disk_is_full(fleet: Fleet, disk: Disk, tmp_path: Path) -> None:
    place = HomeFolder(disk.folder)
    disk.fill()
    fleet.until_round_of(HOMES - 1)
    log = fleet.log_of(HOME)
    assert "disk-full: " in log, log
    assert FULL in log
    assert "Traceback" not in log
    assert_sound(place, tmp_path / "copy")
    fleet.until_round_of(HOMES - 1)
    assert fleet.log_of(HOME).count("disk-full: ") == 1, "it is told once, not with each message"
    disk.free()
    fleet.until_round_of(HOMES)
    assert fleet.processes.children[HOME].starts == 1
    status = place.status
    assert status is not None
    assert (status.state, status.detail) == ("connected", "")
    told = fleet.log_of("run")
    assert "the home's disk is full: its state cannot be kept (disk-full)" in told
    assert str(disk.folder) not in told, "the server is not told where things lie"


@real
def test_a_homes_folder_becomes_read_only(fleet: Fleet, disk: Disk, tmp_path: Path) -> None:
    agent = fleet.processes.children[HOME]
    disk.protect()
    fleet.until_round_of(HOMES - 1)
    log = fleet.log_of(HOME)
    assert "not-writable: " in log
    assert "Traceback" not in log
    assert agent.starts == 1
    assert_sound(HomeFolder(disk.folder), tmp_path / "copy")
    assert agent.process is not None
    agent.process.kill()
    fleet.until(lambda: "; again in" in fleet.log_of(HOME), "the agent waits for its disk")
    fleet.until_round_of(HOMES - 1)
    assert agent.starts == 2, "it waits, and is not started again and again"
    assert "Traceback" not in fleet.log_of(HOME)
    disk.unprotect()
    fleet.until_round_of(HOMES)
    assert agent.starts == 2


@real
def test_the_disk_of_a_run_is_full(
    mounted: Callable[[Path, int], Disk], tmp_path: Path, simulated: RunFolder
) -> None:
    disk = mounted(tmp_path / "runs", 16 << 20)
    plan = plan_of(FEW)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    run = RunFolder.create(disk.folder / "run")
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        start(processes, server, places)
        fleet = Fleet(processes, server, places, run)
        fleet.begin()
        fleet.until(lambda: len(fleet.closed) > 0, "a round is closed")
        disk.fill()
        assert processes.wait("run") == PAUSED
        processes.children["run"].wait(0.0)
        log = fleet.log_of("run")
        assert FULL in log
        assert "\nerror: " in log
        assert "Traceback" not in log
        closed = len(fleet.closed)
        assert 0 < closed < FEW
        assert not run.finished
        assert not list(run.checkpoint_path.glob(".*.tmp"))
        disk.free()
        del processes.children["run"]
        fleet.begin()
        fleet.finish()
    assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES] * FEW
    assert_same_weights(run, simulated)
    assert run.report_path.exists()


@real
def test_the_disk_of_a_server_is_full(
    mounted: Callable[[Path, int], Disk],
    tmp_path: Path,
    simulated: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = mounted(tmp_path / "fleet" / "server", 32 << 20)
    monkeypatch.setattr("fedhome.simulations.local_fleet.secrets.token_hex", lambda _: PASSPHRASE)
    plan = plan_of(FEW)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, homes = prepare(tmp_path / "fleet", plan, tables)
    file = tmp_path / "plan.toml"
    file.write_text(plan.to_toml())
    world = World(server, homes, file)
    runs = Runs(server)
    with started(world) as daemon, agents(world):
        with told(*run(world, world.plan)) as watching:
            lines_until(watching, "round 1/")
            disk.fill()
            lines_until(daemon, "run tiny-1 pauses: ")
            assert getattr(runs.current, "state", "") == RUNNING
            disk.free()
            lines_until(watching, "report: ")
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
        wait_until_gone(server.path)
    assert getattr(runs.current, "state", "") == FINISHED
    folder = runs.folder("tiny-1")
    assert folder.read_rounds().column("homes_answered").to_pylist() == [HOMES] * FEW
    assert_same_weights(folder, simulated)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, FULL)


def read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_run_that_cannot_be_written_nor_tidied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(Path, "unlink", read_only)
        with pytest.raises(RunError, match=FULL):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    folder = RunFolder(tmp_path)
    assert list(tmp_path.glob(".*.tmp"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", read_only)
        folder.tidy()
    folder.tidy()
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


class HalfFull:
    """A file on a disk that takes half of a line, and then becomes read-only."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, line: bytes) -> int:
        return self._file.write(line[: len(line) // 2])

    truncate = staticmethod(read_only)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def test_half_a_line_that_cannot_be_undone_is_cut_off_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.append("run-started")
        with monkeypatch.context() as patch:
            patch.setattr(log, "_file", HalfFull(log._file))  # type: ignore[arg-type]
            with pytest.raises(EventLogError, match="cannot be written") as refused:
                log.append("round-closed", round=1)
    assert "make room" in refused.value.hint
    with EventLog(path) as log:
        log.append("run-resumed")
    kinds = [event.event for event in read_events(path)]
    assert kinds == ["run-started", "log-repaired", "run-resumed"]


def test_why_a_run_failed_that_could_not_write_it_down(tmp_path: Path) -> None:
    folder, log = RunFolder(tmp_path), tmp_path / "run.log"
    assert why_failed(folder, log).reason == "its process ended with an error"
    log.write_text("error: of an earlier one\nround 1/3\nerror: no room\n  hint: make some\n")
    with EventLog(folder.events_path) as events:
        events.append("round-closed", round=1)
        assert why_failed(folder, log) == WhyFailed(
            reason="no room", hint=f"{log} says more", again=True
        )
        events.append("run-failed", reason="it was told", hint="so", again=False)
    assert why_failed(folder, log) == WhyFailed(reason="it was told", hint="so")


def test_a_daemon_that_cannot_write_how_a_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    server = ServerFolder(tmp_path)
    daemon = Daemon(server, lines.append)
    (tmp_path / "runs").mkdir()
    Runs(server)._write(Current(run="mine"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert not daemon._settle("mine", DONE)
        assert not daemon._settle("mine", DONE)
    assert len(lines) == 1, "it is told once, not with each look"
    assert "that cannot be written down" in lines[0]
    daemon._settle_due = 0.0
    assert daemon._settle("mine", DONE)
    assert lines[1].startswith("run mine is finished: ")
    assert getattr(Runs(server).current, "state", "") == FINISHED
