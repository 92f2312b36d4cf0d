"""Whatever ends a run's process, the daemon goes on with the run; nothing of it sleeps here."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fedhome.errors import (
    EventLogError,
    FedHomeError,
    PlanError,
    RegistryError,
    RoundError,
    RunError,
    StateError,
)
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.written_whole import write_atomically
from fedhome.server.daemon import deploy
from fedhome.server.daemon.current_run import (
    BROKEN_OFF,
    CANCELLED,
    DONE,
    FAILED,
    FINISHED,
    PAUSED,
    RUNNING,
    Current,
    Runs,
)
from fedhome.server.daemon.interruptions import Interruptions
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.supervisor import Daemon
from fedhome.store import disk
from helpers import tiny


class _Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


# --- when


def test_pauses_grow_and_a_run_that_got_somewhere_begins_with_short_ones() -> None:
    clock = _Time()
    interruptions = Interruptions(clock)
    assert interruptions.over("mine"), "what this daemon did not see end is taken up at once"
    pauses = []
    for _ in range(9):
        pauses.append(interruptions.failed("mine"))
        assert not interruptions.over("mine")
        clock.now += pauses[-1]
        assert interruptions.over("mine")
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    clock.now += 4000  # its process worked for that long
    assert interruptions.failed("mine") == 60
    assert interruptions.over("another")
    assert interruptions.failed("another") == 60


def test_a_full_disk_is_looked_at_more_often() -> None:
    clock = _Time()
    interruptions, pauses = Interruptions(clock), []
    for _ in range(6):
        pauses.append(interruptions.full("mine"))
        clock.now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 60, 60]


# --- a full disk


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _not_allowed(*_: object, **__: object) -> None:
    raise OSError(errno.EACCES, "Permission denied")


def _put(path: Path) -> None:
    disk.put(path, b"x")


def _write(path: Path) -> None:
    write_atomically(path, b"x")


@pytest.mark.parametrize("write", [_put, _write])
def test_what_a_full_disk_led_to_is_known_from_the_error(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cause, full in ((_full, True), (_not_allowed, False)):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", cause)
            with pytest.raises(FedHomeError) as refused:
                write(tmp_path / "file")
        assert disk.is_full(refused.value) is full


def test_a_log_that_takes_half_a_line_is_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLog(tmp_path / "events.jsonl") as log:

        class Half:
            write = staticmethod(lambda line: len(line) // 2)
            truncate = staticmethod(lambda _: None)
            closed = False
            fileno = log._file.fileno

        with monkeypatch.context() as patch:
            patch.setattr(log, "_file", Half)
            with pytest.raises(EventLogError) as refused:
                log.append("note", text="half")
    assert disk.is_full(refused.value)


# --- the process of a run


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (PlanError(["no such strategy"]), False),
        (RoundError("no round for 100 s"), False),
        (RegistryError("it is damaged", reason="altered"), True),
        (StateError("it is in use", reason="in-use"), True),
        (RunError("the checkpoint cannot be read"), True),
        (ValueError("a fault of ours"), True),
    ],
)
def test_how_a_run_failed_says_whether_it_is_tried_again(
    error: Exception, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_plan(tiny.plan().to_toml())

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(deploy, "run", fails)
    monkeypatch.setattr(deploy, "end_on_sigterm", lambda: None)
    with pytest.raises(type(error)):
        deploy.main([str(tmp_path), str(folder.path), "1"])
    last = folder.read_events()[-1]
    assert (last.event, last.data["again"]) == ("run-failed", again)
    assert "a fault of ours" not in str(last.data), "the process's own log has what it says"


def test_a_run_whose_disk_is_full_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_plan(tiny.plan().to_toml())
    monkeypatch.setattr(deploy, "run", _full)
    monkeypatch.setattr(deploy, "end_on_sigterm", lambda: None)
    assert deploy.main([str(tmp_path), str(folder.path), "1"]) == PAUSED
    assert folder.read_events() == []
    assert capfd.readouterr().err.startswith("error: ")


# --- the daemon


class _Hub:
    """A daemon whose children are not started."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "runs").mkdir()
        (folder / "logs").mkdir()
        self.server = ServerFolder(folder)
        self.runs = Runs(self.server)
        self.lines: list[str] = []
        self.clock = _Time()
        self.begun: list[str] = []
        self.daemon = self.start()
        monkeypatch.setattr(Daemon, "_work_on", lambda _, run: self.begun.append(run))

    def start(self) -> Daemon:
        self.daemon = Daemon(self.server, self.lines.append)
        self.daemon._interruptions = Interruptions(self.clock)
        return self.daemon

    def fail(self, *, again: bool) -> None:
        folder = self.runs.folder("mine")
        folder.path.mkdir(exist_ok=True)
        with EventLog(folder.events_path) as log:
            log.append("run-failed", reason="it is damaged", hint="mend it", again=again)
        assert self.daemon._settle("mine", BROKEN_OFF)

    @property
    def state(self) -> str:
        return getattr(self.runs.current, "state", "")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Hub:
    hub = _Hub(tmp_path, monkeypatch)
    hub.runs._write(Current(run="mine"))
    return hub


def test_a_run_that_failed_is_taken_up_again_after_a_pause(hub: _Hub) -> None:
    hub.fail(again=True)
    assert hub.state == FAILED
    assert hub.lines[-1] == (
        "run mine failed: it is damaged; it is tried again in 60 s, unless it is cancelled"
    )
    hub.daemon._tend_run()
    assert hub.begun == []
    hub.clock.now = 60
    hub.daemon._tend_run()
    assert (hub.begun, hub.state) == (["mine"], RUNNING)
    hub.fail(again=True)
    assert "in 120 s" in hub.lines[-1]


def test_a_daemon_that_is_started_again_takes_it_up_at_once(hub: _Hub) -> None:
    hub.fail(again=True)
    hub.start()._tend_run()
    assert hub.begun == ["mine"]


def test_what_has_failed_for_good_stays_so(hub: _Hub) -> None:
    hub.fail(again=False)
    assert hub.lines[-1] == "run mine failed: it is damaged"
    hub.clock.now = 1e6
    hub.start()._tend_run()
    assert (hub.begun, hub.state) == ([], FAILED)


def test_a_run_that_waits_to_be_tried_again_can_be_cancelled_or_followed_by_another(
    hub: _Hub,
) -> None:
    hub.fail(again=True)
    assert hub.runs.end("mine", CANCELLED) is not None
    hub.clock.now = 1e6
    hub.daemon._tend_run()
    assert hub.begun == []
    assert hub.runs.end("mine", FINISHED) is None, "it is over"
    hub.runs._write(Current(run="mine"))
    hub.fail(again=True)
    hub.runs._write(Current(run="another"))
    hub.daemon._tend_run()
    assert hub.begun == ["another"]


def test_a_full_disk_pauses_the_run_and_changes_nothing_that_is_written(
    hub: _Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hub.runs.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _full)
        assert hub.daemon._settle("mine", PAUSED)
        hub.daemon._tend_run()
    assert hub.begun == []
    assert hub.runs.path.read_bytes() == before
    assert "make room, and it goes on by itself: it is tried again in 5 s" in hub.lines[-1]
    hub.clock.now = 5
    hub.daemon._tend_run()
    assert hub.begun == ["mine"]


def test_a_run_that_cannot_be_taken_up_as_the_disk_is_full_is_taken_up_later(
    hub: _Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fail(again=True)
    hub.clock.now = 60
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _full)
        hub.daemon._tend_run()
        hub.daemon._tend_run()
    assert [line for line in hub.lines if "cannot be taken up" in line] == hub.lines[1:]
    assert len(hub.lines) == 2, "it is told once, not with each look"
    hub.clock.now += 1000
    hub.daemon._tend_run()
    assert hub.begun == ["mine"]


def test_a_new_directory_may_be_what_was_missing(
    hub: _Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.daemon, "_end", lambda *_: None)
    hub.fail(again=True)
    hub.daemon._begin_anew()
    hub.daemon._tend_run()
    assert hub.begun == ["mine"]


def test_a_finished_run_is_not_taken_up(hub: _Hub) -> None:
    assert hub.daemon._settle("mine", DONE)
    hub.start()._tend_run()
    assert (hub.begun, hub.state) == ([], FINISHED)


def test_the_state_of_a_run_of_an_earlier_release_is_read(hub: _Hub) -> None:
    hub.runs.path.write_text('{"run": "old", "state": "failed", "reason": "x", "hint": ""}')
    now = hub.runs.current
    assert now is not None
    assert not now.is_open
    assert Plan.load().rounds.give_up_s is None
