"""When answers leave: what their time tells of how long a home computed, paced or not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import flwr.app.message.message as flower_message
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree

from fedhome.clients.agent.reply_pace import FOR_WORK, ReplyPace
from fedhome.clients.agent.resident import Agent
from fedhome.clients.agent.work import WorkerProcess
from fedhome.clients.membership.consent import Invitation, consent_text
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.outgoing.tables import markdown, tables_of
from fedhome.errors import PlanError
from fedhome.fleet.claims import installed_app
from fedhome.fleet.state_file import FileStore
from fedhome.flower import messages
from fedhome.flower.fleet_connection import Arrival, message_bytes, message_of
from fedhome.flower.messages import take_identity
from fedhome.plan.protocol import terms_hash
from fedhome.plan.settings import Plan
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare
from helpers.living import tiny_plan

AFTER_S = 30.0
START = 1_700_000_000.0


class Clock:
    """What all clocks show; who waits moves it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = START
        for module in (messages, flower_message):
            monkeypatch.setattr(module, "now", lambda: datetime.fromtimestamp(self.time, UTC))

    def __call__(self) -> float:
        return self.time

    def wait(self, seconds: float | None) -> bool:
        self.time += seconds or 0.0
        return False


class Sent(NamedTuple):
    """All that the server sees of when an answer was made."""

    came: float
    created: float
    ttl: float


class Wire:
    """A connection that brings one question, and takes the answer."""

    def __init__(self, clock: Clock) -> None:
        take_identity(1)
        self.clock, self.sent = clock, list[Sent]()
        content = RecordDict({"config": ConfigRecord({"number": 1})})
        asked = Message(content, dst_node_id=5, message_type="train", ttl=3600.0)
        self.question = Arrival(message_of(message_bytes(asked)), ObjectTree())

    def app_of(self, _: int) -> tuple[str, ...]:
        return tuple(installed_app())

    def fetch(self, arrival: Arrival) -> Message:
        return arrival.message

    def announce(self, answer: Message) -> Message:
        made = answer.metadata
        self.sent.append(Sent(self.clock.time, made.created_at, made.ttl))
        return answer

    def push(self, _: Message) -> None: ...


class Busy:
    """Work that takes some time, and may fail then."""

    layout: str | None = None

    def __init__(self, clock: Clock, takes_s: float, *, fails: bool = False) -> None:
        self.clock, self.takes_s, self.fails, self.count = clock, takes_s, fails, 0

    def answer(self, message: Message) -> Message:
        self.count += 1
        self.clock.wait(self.takes_s)
        if self.fails:
            return messages.failure(message, "malformed")
        return Message(RecordDict(), reply_to=message)

    def rest(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def home(tmp_path: Path) -> HomeFolder:
    tables = generate(homes=5, days=2, seed=3)
    return prepare(tmp_path, tiny_plan(5, 1), tables)[1][0]


def answered(
    home: HomeFolder,
    clock: Clock,
    takes_s: float,
    after_s: float,
    *,
    times: int = 1,
    fails: bool = False,
) -> tuple[list[Sent], int]:
    """Return what a server sees of a home's answers, and how often the home worked."""
    clock.time = START
    wire: Any = Wire(clock)
    work = Busy(clock, takes_s, fails=fails)
    with FileStore.open(home.path, home=home.settings.home) as store:
        agent = Agent(home, store, lambda *_: work)
        plan = Plan.load(home.plan_path).change(rounds={"reply_after_s": after_s})
        agent._pace = ReplyPace(plan, clock=clock)
        agent._stop.wait = clock.wait  # type: ignore[method-assign]
        for _ in range(times):
            agent._answer(wire, wire.question)
    return wire.sent, work.count


@pytest.mark.long
def test_the_time_of_an_answer_tells_nothing_of_how_long_it_took(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    ((quick,), _), ((slow,), _) = (answered(home, clock, s, AFTER_S) for s in (0.25, 26.5))
    assert quick == slow == (START + AFTER_S, START + AFTER_S, 3600.0 - AFTER_S)
    # The control: as soon as it is done, all three tell how long it took.
    ((quick,), _), ((slow,), _) = (answered(home, clock, s, 0.0) for s in (0.25, 26.5))
    assert quick == (START + 0.25, START + 0.25, 3599.75)
    assert slow == (START + 26.5, START + 26.5, 3573.5)


@pytest.mark.long
def test_what_is_late_all_the_same_leaves_at_the_next_multiple(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sent,), _ = answered(home, Clock(monkeypatch), 61.0, AFTER_S)
    assert sent.came == START + 3 * AFTER_S


@pytest.mark.long
def test_a_question_that_comes_again_is_answered_at_once(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, worked = answered(home, Clock(monkeypatch), 1.0, AFTER_S, times=3)
    assert worked == 1
    assert [one.came for one in sent] == [START + AFTER_S] * 3


@pytest.mark.long
def test_a_question_that_is_worked_on_again_waits_again(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left at once: a worker that had to read the readings anew told how many they are."""
    sent, worked = answered(home, Clock(monkeypatch), 1.0, AFTER_S, times=3, fails=True)
    assert worked == 3
    assert [one.came for one in sent] == [START + AFTER_S * number for number in (1, 2, 3)]


@pytest.mark.long
def test_a_home_that_is_told_to_end_sends_nothing_early(
    home: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(Clock, "wait", lambda *_: True)
    assert answered(home, clock, 1.0, AFTER_S) == ([], 1)
    assert home.at_hand is not None, "the server hears of it when the home starts again"


@pytest.mark.parametrize("kind", ["query.bundle", "query.help"])
def test_keys_and_help_do_not_wait(kind: str) -> None:
    take_identity(1)
    pace = ReplyPace(Plan.load(sets=["rounds.reply_after_s=30"]), clock=lambda: 5.0)
    assert pace.left_s(Message(RecordDict(), 5, kind), 4.0) == 0.0
    assert pace.left_s(Message(RecordDict(), 5, "evaluate"), 4.0) == 29.0


@pytest.mark.long
def test_work_has_nine_tenths_of_the_time(home: HomeFolder) -> None:
    plan = Plan.load(home.plan_path).change(rounds={"reply_after_s": AFTER_S})
    home.plan_path.write_text(plan.to_toml())
    worker = WorkerProcess(home, None)  # type: ignore[arg-type]
    assert worker._patience_s == FOR_WORK * AFTER_S == 27.0


def test_a_plan_binds_homes_to_it_and_people_are_told() -> None:
    plan = Plan.load(sets=["rounds.reply_after_s=30"])
    assert terms_hash(plan) != terms_hash(Plan.load())
    with pytest.raises(PlanError, match="= 20: all would be"):
        Plan.load(sets=["rounds.reply_after_s=30", "rounds.deadline_s=20"])
    told, other = (
        " ".join(
            consent_text(Invitation(home="oak", fleet=bytes(16), server="hub:1", plan=one)).split()
        )
        for one in (plan, Plan.load())
    )
    assert "how long this home computes" in other
    assert "how long this home computes" not in told
    assert "30 s after its question" in markdown(list(tables_of(plan, 10)))
