"""The worker: what it answers, when it goes, and what happens when it is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import fedhome.clients.agent.resident
from fedhome.clients.agent.dispatch import MessageDispatch
from fedhome.clients.agent.resident import Agent
from fedhome.clients.agent.status_report import StatusReport
from fedhome.clients.agent.work import InProcess, WorkerProcess
from fedhome.clients.agent.worker import reason_of
from fedhome.clients.home import real_home
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings, HomeStatus
from fedhome.clients.recorded.recording import Recorder
from fedhome.data.files.home_parquet import write_home
from fedhome.errors import (
    DataError,
    LinkError,
    ManifestError,
    PlanError,
    RunError,
    SourceError,
    StateError,
)
from fedhome.fleet.entries import Anchor, home_keys
from fedhome.fleet.state_file import FileStore
from fedhome.flower.fleet_connection import message_bytes, message_of
from fedhome.flower.messages import array_record, blobs_of, failure, take_identity, with_sum_record
from fedhome.plan.settings import Plan
from fedhome.questions.empty_handed import EMPTY_HANDED
from fedhome.questions.question_table import SUMMED
from fedhome.reasons import AT_HOME
from fedhome.secagg import FixedPoint, Form
from fedhome.simulations.homes import generate
from fedhome.wire.layout import Layout
from helpers.living import named
from helpers.patience import PATIENCE_S

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="hands a descriptor to a child"),
]

HOME = "home-0001"


def plan_of(mode: str) -> Plan:
    return named(
        Plan.load(
            name="tiny",
            seed=3,
            data={"homes": 5, "days": 6},
            model={"hidden": [4]},
            aggregation={"mode": mode},
            train={"epochs": 1},
        )
    )


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readings") / "readings.parquet"
    write_home(next(iter(generate(homes=1, days=6, seed=3))), path)
    return path


@pytest.fixture
def make(readings: Path, tmp_path: Path) -> Callable[[str], HomeFolder]:
    """Return what makes a home's folder, with keys and readings."""

    def made(mode: str) -> HomeFolder:
        place = HomeFolder(tmp_path / HOME)
        home_keys(HOME, place.path)
        data = tmp_path / "of-jane-doe.parquet"
        shutil.copyfile(readings, data)
        place.fill(
            HomeSettings(home=HOME, server="127.0.0.1:1", data=str(data), worker_idle_s=60.0),
            plan=plan_of(mode),
            anchor=Anchor(fleet=bytes(16), authority=bytes(32)),
            authorities=b"",
        )
        return place

    return made


@pytest.fixture
def place(make: Callable[[str], HomeFolder]) -> HomeFolder:
    return make("plain")


class Machine:
    """A home's part in secure sums without any cryptography: its words stay as they are."""

    def __init__(self, form: Form | None = None, *, on_join: Callable[[], object] = int) -> None:
        self.form, self.on_join = form, on_join
        self.asked: list[dict[str, Any]] = []

    def join(self, data: bytes, *, now: float, **expected: Any) -> Any:
        del now
        self.asked.append({"data": data, **expected})
        self.on_join()
        manifest = SimpleNamespace(form=self.form, round=7, a_min=5)
        return SimpleNamespace(manifest=manifest, upload=lambda words: words.tobytes())

    def bundle(self, *, now: float) -> bytes:
        assert now > 0
        return b"new keys"


def question(kind: str, content: RecordDict) -> Message:
    """Return a message as it comes over the wire."""
    take_identity(1)
    return message_of(message_bytes(Message(content, dst_node_id=5, message_type=kind)))


def train(place: HomeFolder) -> Message:
    home = real_home(Plan.load(place.plan_path), place.settings.data, name=HOME)
    learning = home.device.learning
    config = ConfigRecord({"server-round": 1})
    arrays = array_record(learning.layout, learning.initial)
    return question("train", RecordDict({"arrays": arrays, "config": config}))


def census_form(layout: Layout) -> Form:
    return Form(
        elements=0,
        layout=bytes.fromhex(layout.hash),
        fixed=FixedPoint(bits=24, clip=1.0, norm="linf", weight_cap=1),
        scalars=SUMMED["query.census"].lanes({}, Plan().personalise),
        homes=8,
    )


def numbers(message: Message) -> list[np.ndarray[Any, Any]]:
    (record,) = [r for r in message.content.values() if isinstance(r, ArrayRecord)]
    return [array.numpy() for array in record.values()]


def why(message: Message) -> str:
    return str(message.error.reason)


def empty_handed(message: Message, form: Form) -> bool:
    """Return whether a home added nothing but the flag that says so."""
    total = form.decode(np.frombuffer(blobs_of(message)["upload"], form.packing.dtype), 1)
    return {name for name, value in total.values.items() if value} == {EMPTY_HANDED.name}


def numbers_of(worker: WorkerProcess) -> list[int]:
    """Return a worker's process, if there is one."""
    return [] if worker.process is None else [worker.process]


@pytest.fixture
def worker(place: HomeFolder) -> Iterator[WorkerProcess]:
    with closing(WorkerProcess(place, Machine())) as made:  # type: ignore[arg-type]
        yield made


def test_a_worker_answers_as_the_agent_itself_would(
    place: HomeFolder, worker: WorkerProcess
) -> None:
    asked = train(place)
    here = InProcess(place, Machine()).answer(asked)  # type: ignore[arg-type]
    there = worker.answer(asked)
    assert vars(there.metadata).keys() == vars(here.metadata).keys()
    for name in ("run_id", "src_node_id", "dst_node_id", "reply_to_message_id", "message_type"):
        assert getattr(there.metadata, name) == getattr(here.metadata, name)
    for ours, theirs in zip(numbers(there), numbers(here), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    # Nothing was learnt from nothing: the parameters have moved.
    assert any(
        np.abs(a - b).max() > 1e-4 for a, b in zip(numbers(there), numbers(asked), strict=True)
    )


def test_the_agent_masks_what_the_worker_gives(make: Callable[[str], HomeFolder]) -> None:
    place = make("secure")
    home = real_home(Plan.load(place.plan_path), place.settings.data, name=HOME)
    form = census_form(home.device.learning.layout)
    asked = question("query.census", with_sum_record(RecordDict(), {"manifest": b"signed"}))
    machines = Machine(form), Machine(form)
    here = InProcess(place, machines[0]).answer(asked)  # type: ignore[arg-type]
    with closing(WorkerProcess(place, machines[1])) as masked:  # type: ignore[arg-type]
        assert masked.layout is None
        there = masked.answer(asked)
        # By this the home tells whether a release of the model is of its own kind.
        assert masked.layout == home.device.learning.layout.hash
    assert blobs_of(there) == blobs_of(here)
    assert blobs_of(there)["bundle"] == b"new keys"
    words = np.frombuffer(blobs_of(there)["upload"], form.packing.dtype)
    total = form.decode(words, 1)
    exponent = (int(home.counts[0]) - 1).bit_length()
    assert {name for name, value in total.values.items() if value} == {f"examples-{exponent}"}
    assert machines[1].asked == machines[0].asked
    assert machines[1].asked[0]["purpose"] == "census"


@pytest.mark.slow
def test_a_refusal_is_the_agents_own_and_costs_no_worker(make: Callable[[str], HomeFolder]) -> None:
    def refuse() -> None:
        raise refusal

    place = make("secure")
    refusal = ManifestError("more privacy than the home has left", reason="budget")
    machine = Machine(on_join=refuse)
    asked = question("query.census", with_sum_record(RecordDict(), {"manifest": b"signed"}))
    with closing(WorkerProcess(place, machine)) as refusing:  # type: ignore[arg-type]
        with pytest.raises(ManifestError) as raised:
            refusing.answer(asked)
        assert raised.value is refusal
        before = numbers_of(refusing)
        assert len(before) == 1
        assert refusing.answer(question("query", RecordDict())).has_content()
        assert numbers_of(refusing) == before


def test_a_worker_that_is_killed_in_the_middle_is_replaced(
    make: Callable[[str], HomeFolder], caplog: pytest.LogCaptureFixture
) -> None:
    def kill() -> None:
        (number,) = numbers_of(killed)
        os.kill(number, signal.SIGKILL)

    place = make("secure")
    asked = question("query.census", with_sum_record(RecordDict(), {"manifest": b"signed"}))
    form = census_form(Layout(("w",), ((2,),)))
    machine = Machine(form, on_join=kill)
    with closing(WorkerProcess(place, machine)) as killed:  # type: ignore[arg-type]
        answer = killed.answer(asked)
        assert empty_handed(answer, form)  # the server is not told; the home's log is
        assert re.search("the worker is lost: .*, signal 9", caplog.text)
        assert numbers_of(killed) == []
        assert killed.answer(question("query", RecordDict())).has_content()
        assert len(numbers_of(killed)) == 1


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(
    make: Callable[[str], HomeFolder], caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0

    def hang() -> None:
        nonlocal now
        (number,) = numbers_of(hanging)
        os.kill(number, signal.SIGSTOP)
        now = 3601.0

    place = make("secure")
    asked = question("query.census", with_sum_record(RecordDict(), {"manifest": b"signed"}))
    form = census_form(Layout(("w",), ((2,),)))
    machine = Machine(form, on_join=hang)
    with closing(WorkerProcess(place, machine, clock=lambda: now)) as hanging:  # type: ignore[arg-type]
        answer = hanging.answer(asked)
        assert empty_handed(answer, form)
        assert "it took longer than the 3600 s it may take" in caplog.text
        assert numbers_of(hanging) == []
        assert hanging.answer(question("query", RecordDict())).has_content()


@pytest.mark.slow
def test_a_worker_that_was_killed_while_idle_is_not_missed(worker: WorkerProcess) -> None:
    asked = question("query", RecordDict())
    first = worker.answer(asked)
    (before,) = numbers_of(worker)
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    again = worker.answer(asked)
    assert again.content == first.content
    assert numbers_of(worker) not in ([before], [])


@pytest.mark.slow
def test_an_idle_worker_goes_and_the_next_one_reads_the_readings_anew(place: HomeFolder) -> None:
    now = 0.0
    asked = question("query", RecordDict())
    data = Path(place.settings.data)
    with closing(WorkerProcess(place, Machine(), clock=lambda: now)) as idle:  # type: ignore[arg-type]
        idle.rest()
        assert numbers_of(idle) == []
        assert idle.answer(asked).has_content()
        (number,) = numbers_of(idle)
        now = 59.0
        idle.rest()
        assert numbers_of(idle) == [number]
        data.unlink()
        assert idle.answer(asked).has_content()
        now = 118.0
        idle.rest()
        assert numbers_of(idle) == [number], "it was used in between"
        now = 119.0
        idle.rest()
        assert numbers_of(idle) == []
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
        assert idle.answer(asked).has_error()


def test_a_worker_learns_from_the_store_and_a_new_run_from_what_came_since(
    place: HomeFolder, worker: WorkerProcess
) -> None:
    asked = train(place)
    before = worker.answer(asked)
    recorder = Recorder(place)
    recorder.begin()
    same = numbers(worker.answer(asked))
    for ours, theirs in zip(same, numbers(before), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    table = recorder.store.read().table
    middle = int(table.time_s[table.rows // 3])
    recorder.store.exclude(middle, middle + 86_400, (), "")
    # The run goes on with the readings that it began with; the next one has what is there then.
    for ours, theirs in zip(numbers(worker.answer(asked)), same, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    asked.metadata.__dict__["_run_id"] = asked.metadata.run_id + 1
    later = numbers(worker.answer(asked))
    assert any(not np.array_equal(a, b) for a, b in zip(later, same, strict=True))
    assert len(numbers_of(worker)) == 1
    here = InProcess(place, Machine()).answer(asked)  # type: ignore[arg-type]
    for ours, theirs in zip(later, numbers(here), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_what_a_worker_fails_at_is_told_to_its_home_alone(
    place: HomeFolder, worker: WorkerProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Path(place.settings.data)
    data.rename(data.with_suffix(".gone"))
    answer = worker.answer(question("query", RecordDict()))
    assert why(answer) == reason_of(DataError("")) == "readings"
    assert "of-jane-doe.parquet" in capfd.readouterr().err
    # What was wrong can be put right at any time.
    data.with_suffix(".gone").rename(data)
    assert worker.answer(question("query", RecordDict())).has_content()


def test_what_was_not_foreseen_is_told_by_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    assert reason_of(ValueError("Jane's 21.5 degrees")) == "failed"
    for error in (
        SourceError("/home/jane/readings.csv"),
        PlanError(["no such column"], where="/home/jane/plan.toml"),
        RunError("/home/jane/home.toml cannot be used"),
        StateError("/home/jane/state.fh: no room", reason="disk-full"),
    ):
        assert reason_of(error) in AT_HOME
    with pytest.raises(KeyError) as raised:
        dict[str, int]()["Jane"]
    reason_of(raised.value)
    assert "KeyError at test_worker.py:" in caplog.text
    assert "Jane" not in "".join(line for line in caplog.messages if "KeyError" in line)


def test_a_worker_that_cannot_start_is_an_error_reply(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    worker = WorkerProcess(place, Machine())  # type: ignore[arg-type]
    answer = worker.answer(question("query", RecordDict()))
    assert why(answer) == "worker"
    assert numbers_of(worker) == []


def test_a_lost_question_is_asked_anew_and_an_answer_is_kept(place: HomeFolder) -> None:
    class Work:
        def __init__(self) -> None:
            self.asked = 0

        def answer(self, message: Message) -> Message:
            self.asked += 1
            if self.asked == 1:
                return failure(message, "lost")
            return Message(RecordDict(), reply_to=message)

        def rest(self) -> None: ...

        def close(self) -> None: ...

    work, asked = Work(), question("query", RecordDict())
    with FileStore.open(place.path, home=HOME) as store:
        tasks = MessageDispatch(place, store, lambda *_: work)
        assert [tasks.answer(asked).has_error() for _ in range(3)] == [True, False, False]
    assert work.asked == 2


def test_a_reply_takes_nothing_from_flowers_task(monkeypatch: pytest.MonkeyPatch) -> None:
    # Agents are threads of one process in tests: there is one such task for all of them.
    asked = question("query", RecordDict())
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    assert failure(asked, "no").metadata.src_node_id == 5


def test_a_homes_process_loads_what_it_needs_alone() -> None:
    script = """
import sys
from fedhome.clients import lean_process
from fedhome.errors import RunError
try:
    lean_process.main(["fedhome.clients.agent.resident", "no-home-here"])
except RunError as error:
    print("home.toml" in error.message)
heavy = ("torch", "pyarrow", "grpc", "rich.progress", "flwr")
print([name for name in heavy if name in sys.modules])
import grpc, httpx._main
print(grpc.Server.__module__, httpx._main.main.name)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert told.stdout.splitlines() == ["True", "['flwr']", "grpc main"], told.stderr


def test_a_status_is_written_at_changes_and_now_and_then(place: HomeFolder) -> None:
    now = 100.0
    reporting = StatusReport(place, clock=lambda: now)

    def written() -> HomeStatus | None:
        status = place.status
        (place.path / "status.json").unlink(missing_ok=True)
        return status

    reporting.tell("waiting")
    first = written()
    assert first is not None
    assert (first.state, first.process, first.answered) == ("waiting", os.getpid(), 0)
    reporting.tell("waiting")
    reporting.keep()
    assert written() is None
    reporting.tell("connected", epoch=3)
    reporting.count_answer("train")
    reporting.keep()
    status = written()
    assert status is not None
    assert (status.state, status.epoch, status.answered) == ("connected", 3, 0)
    now = 105.0
    reporting.keep()
    status = written()
    assert status is not None
    assert (status.epoch, status.answered, status.last) == (3, 1, "train")
    now = 164.0
    reporting.keep()
    assert written() is None
    now = 165.0
    reporting.keep()
    assert written() is not None


def test_a_home_that_has_left_stays_away(place: HomeFolder) -> None:
    with FileStore.open(place.path, home=HOME) as store:
        agent = Agent(place, store)
        place.left = True
        with pytest.raises(RunError, match="has left its fleet"):
            agent.run()
        with pytest.raises(RunError, match="has left its fleet"):
            Agent(place, store)
    status = place.status
    assert status is not None
    assert (status.state, status.detail) == ("stopped", "it has left")


def test_a_paused_home_is_not_there_until_the_pause_ends(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def join(*_: object, **__: object) -> None:
        tried.set()
        raise LinkError("nobody is there", reason="unreachable")

    monkeypatch.setattr(fedhome.clients.agent.resident, "join", join)
    monkeypatch.setattr(fedhome.clients.agent.resident, "_POLL_S", 0.01)
    place.paused = True
    with FileStore.open(place.path, home=HOME) as store:
        agent = Agent(place, store)
        told = threading.Event()
        tell = StatusReport.tell

        def telling(self: StatusReport, state: str, *args: Any, **kwargs: Any) -> None:
            tell(self, state, *args, **kwargs)
            if state == "paused":
                told.set()

        monkeypatch.setattr(StatusReport, "tell", telling)
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            assert told.wait(PATIENCE_S)
            status = place.status
            assert status is not None
            assert status.state == "paused"
            assert not tried.is_set()
            place.paused = False
            assert tried.wait(PATIENCE_S)
        finally:
            agent.stop()
            thread.join(PATIENCE_S)
    status = place.status
    assert status is not None
    assert status.state == "stopped"
