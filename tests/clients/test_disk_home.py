"""A home whose disk is full or cannot be written: it says so once, and waits or goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from rich.markup import escape

from fedhome.cli.client_words import rows_of
from fedhome.clients.agent import resident as agent_module
from fedhome.clients.agent.message_wait import MessageWait
from fedhome.clients.agent.status_door import asked_status, status_door
from fedhome.clients.agent.status_report import StatusReport
from fedhome.clients.agent.store_in_use import open_store
from fedhome.clients.agent.worker import reason_of
from fedhome.clients.lean_process import LEAN
from fedhome.clients.membership.home_folder import AT_HAND, HomeFolder
from fedhome.errors import RunError, StateError
from fedhome.fleet.claims import installed_app
from fedhome.fleet.state_file import FileStore
from fedhome.flower.fleet_connection import Arrival, message_bytes, message_of
from fedhome.flower.messages import take_identity
from fedhome.reasons import PEOPLES, REFUSED
from fedhome.secagg.bundle import Secrets
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare
from fedhome.store import disk
from helpers.client_world import until
from helpers.living import tiny_plan
from helpers.patience import PATIENCE_S

pytestmark = pytest.mark.long

HOMES = 5
FULL = "No space left on device"


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, FULL)


def test_the_server_is_not_told_where_a_homes_state_lies() -> None:
    told = reason_of(StateError("/home/ada/state.fh: no room", reason="disk-full", hint="/home"))
    assert told == "disk-full"


class Stop(threading.Event):
    """Told to wait, it does not, and remembers for how long."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        if len(self.waits) == self._most:
            self.set()
        return self.is_set()


@pytest.fixture
def home(tmp_path: Path) -> HomeFolder:
    tables = generate(homes=HOMES, days=2, seed=3)
    return prepare(tmp_path, tiny_plan(HOMES, 1), tables)[1][0]


@pytest.mark.parametrize("reason", ["disk-full", "not-writable"])
def test_an_agent_waits_for_its_disk(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    stop, real = Stop(99), FileStore.open

    def opened(folder: Path, **named: str) -> FileStore:
        if len(stop.waits) < 9:
            raise StateError("no room", reason=reason)
        return real(folder, **named)

    monkeypatch.setattr(FileStore, "open", opened)
    reporting = StatusReport(home)
    store = open_store(home, stop, reporting)
    assert store is not None
    store.close()
    assert stop.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert home.status is not None
    assert (home.status.state, home.status.reason) == ("waiting", reason)
    assert home.status.detail == "no room"
    stop = Stop(2)
    assert open_store(home, stop, reporting) is None, "told to end, it does"


def test_an_agent_waits_for_a_disk_that_does_not_let_it_forget(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file fits on a full disk, so that it shows with the first save, after a reboot."""
    with FileStore.open(home.path, home=home.settings.home) as store:
        store.save(store.state.with_bundle(Secrets(key=bytes(32), blind=bytes(32))))
    home.retire_node_key()
    stop, real = Stop(99), disk.stage

    def stage(path: Path, data: bytes, *, mode: int = 0o600) -> Path:
        if data and path.name == "state.fh" and len(stop.waits) < 2:
            raise StateError(f"{path}: {FULL}", reason="disk-full")
        return real(path, data, mode=mode)

    monkeypatch.setattr(disk, "stage", stage)
    store_then = open_store(home, stop, StatusReport(home))
    assert store_then is not None
    with store_then:
        assert (store_then.state.live, store_then.state.serial) == ({}, 1)
    assert stop.waits == [0.5, 1.0]


def test_an_agent_does_not_wait_for_what_will_not_change(home: HomeFolder) -> None:
    (home.path / "state.fh").write_bytes(b"nonsense")
    with pytest.raises(StateError) as caught:
        open_store(home, Stop(1), StatusReport(home))
    assert caught.value.reason in PEOPLES
    assert home.status is not None
    assert (home.status.state, home.status.reason) == ("stopped", caught.value.reason)


def test_an_agent_that_nobody_need_start_again_says_so(home: HomeFolder) -> None:
    (home.path / "state.fh").write_bytes(b"nonsense")
    command = [LEAN, "fedhome.clients.agent.resident", str(home.path)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fedhome.ops.processes", "0", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(told)) == (REFUSED, 1), done.stderr
    assert home.status is not None
    assert home.status.state == "stopped"
    ((_, state), *_) = rows_of(home, time.time())
    assert state.startswith(f"not running: [bold red]{escape(home.status.detail)}")


def test_an_agent_says_how_it_is_while_its_disk_takes_nothing(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporting = StatusReport(home)
    reporting.tell("connected")
    assert asked_status(home) is None
    lock = disk.lock(home.path)  # as an agent does
    try:
        with status_door(home, lambda: reporting.now):
            until(lambda: asked_status(home) is not None)
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full)
                trouble = StateError("state.fh: no room", reason="disk-full", hint="make room")
                reporting.tell_trouble(trouble)
            rows = dict(rows_of(home, time.time()))
            assert (
                "connected: [bold red]state.fh: no room; make room[/] (disk-full)" in rows["state"]
            )
            assert FULL in rows["state"]
            assert home.status is not None
            assert home.status.reason == "", "the file is the last that the disk took"
            reporting.tell_trouble(None)
            said = asked_status(home)
            assert said is not None
            assert (said.state, said.reason, said.disk) == ("connected", "", "")
    finally:
        os.close(lock)
    assert asked_status(home) is None
    assert "not running" in dict(rows_of(home, time.time()))["state"]


def test_a_status_that_cannot_be_written_is_told_once(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    reporting = StatusReport(home, clock=lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for _ in range(5):
            reporting.tell("connected")
            now[0] += 10.0
            reporting.keep()
    assert len(caplog.records) == 1
    assert home.status is None
    reporting.keep()
    now[0] += 5.0
    reporting.keep()
    assert home.status is not None
    assert home.status.state == "connected"


def arrival(number: int) -> Arrival:
    take_identity(1)
    record = RecordDict({"config": ConfigRecord({"number": number})})
    message = Message(record, dst_node_id=5, message_type="query")
    return Arrival(message_of(message_bytes(message)), ObjectTree())


class Wire:
    """A connection that brings questions, and takes every answer."""

    def __init__(self) -> None:
        self.asked = self.sent = 0

    def look(self) -> Arrival:
        self.asked += 1
        return arrival(self.asked)

    def app_of(self, _: int) -> tuple[str, ...]:
        return tuple(installed_app())

    def fetch(self, arrival: Arrival) -> Message:
        return arrival.message

    def announce(self, answer: Message) -> Message:
        return answer

    def push(self, _: Message) -> None:
        self.sent += 1


class Refusing:
    """Work that the disk may not take."""

    layout: str | None = None
    disk_says: StateError | None = None

    def answer(self, message: Message) -> Message:
        if self.disk_says is not None:
            raise self.disk_says
        return Message(RecordDict(), reply_to=message)

    def rest(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("refused", ["the message", "the state"])
def test_a_home_tells_once_of_its_disk_whatever_is_refused(
    home: HomeFolder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refused: str,
) -> None:
    work, real = Refusing(), disk.put
    where = home.path / (AT_HAND if refused == "the message" else "state.fh")

    def put(path: Path, data: bytes) -> None:
        if path.name == AT_HAND:
            raise StateError(f"{path}: {FULL}", reason="disk-full")
        real(path, data)

    def told() -> tuple[int, str]:
        status = home.status
        assert status is not None, home
        return sum("disk-full: " in line for line in caplog.messages), status.detail

    with FileStore.open(home.path, home=home.settings.home) as store:
        agent = agent_module.Agent(home, store, lambda *_: work)
        wire: Any = Wire()

        def ask() -> None:
            agent._answer(wire, wire.look())

        with monkeypatch.context() as patch:
            if refused == "the message":
                patch.setattr(disk, "put", put)
            else:
                work.disk_says = StateError(f"{where}: {FULL}", reason="disk-full")
            ask()
            ask()
            assert told() == (1, f"{where}: {FULL}")
        work.disk_says = None
        ask()
        assert told() == (1, "")


class Saving(Refusing):
    """Work that saves the home's state, as making one-time keys does."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def answer(self, message: Message) -> Message:
        self._store.save(self._store.state.with_bundle(Secrets(key=bytes(32), blind=bytes(32))))
        return super().answer(message)


def test_an_agent_ends_when_it_does_not_know_what_the_disk_holds(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire: Any = Wire()

    def lost(new: Path, path: Path) -> None:
        raise StateError(f"{path} instead of {new}: input/output error", reason="disk")

    with FileStore.open(home.path, home=home.settings.home) as store:
        agent = agent_module.Agent(home, store, lambda *_: Saving(store))
        with monkeypatch.context() as patch:
            patch.setattr(disk, "commit", lost)
            with pytest.raises(RunError, match="nobody knows how much") as ended:
                agent._serve(wire, MessageWait(wire), threading.Event())
    assert (wire.asked, wire.sent) == (1, 1), "the server is told, and nothing else is answered"
    assert "started again" in ended.value.hint
    with FileStore.open(home.path, home=home.settings.home) as store:
        store.save(store.state.with_bundle(Secrets(key=bytes(32), blind=bytes(32))))


@pytest.mark.parametrize(("node", "answers"), [(5, 1), (6, 0)])
def test_only_the_node_that_was_asked_answers_after_a_restart(
    home: HomeFolder, node: int, answers: int
) -> None:
    take_identity(1)
    wire: Any = Wire()
    asked = Message(RecordDict(), 5, "query")
    with FileStore.open(home.path, home=home.settings.home) as store:
        agent = agent_module.Agent(home, store, lambda *_: Refusing())
        home.at_hand = message_bytes(asked)
        agent._finish_last(wire, node)
    assert (wire.sent, home.at_hand) == (answers, None)
