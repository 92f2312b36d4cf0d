"""Waiting for what comes over a line: until it comes, or is not wanted any more."""

from __future__ import annotations

import asyncio
import math
from queue import SimpleQueue

import pytest
from flwr.app import Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree

from fedhome.clients.agent import heartbeat
from fedhome.clients.agent import message_wait as looking_module
from fedhome.clients.agent.message_wait import MessageWait
from fedhome.errors import LinkError
from fedhome.flower.fleet_connection import Arrival
from fedhome.flower.messages import failure, take_identity
from fedhome.ops.serving import gone, unless
from helpers.patience import PATIENCE_S

SOON_S = PATIENCE_S


def test_work_for_who_hangs_up_is_left() -> None:
    ended: list[str] = []

    async def work(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.append("left")
            raise
        return "done"

    async def hung_up() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def there() -> dict[str, str]:
        return await asyncio.sleep(SOON_S, {"type": "http.disconnect"})

    async def broken() -> None:
        raise ValueError("broken")

    assert asyncio.run(unless(work(SOON_S), gone(hung_up))) is None
    assert ended == ["left"]
    assert asyncio.run(unless(work(0.0), gone(there))) == "done"
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(unless(broken(), gone(there)))


class Line:
    """A connection whose questions the test answers."""

    def __init__(self) -> None:
        self.asked = self.closed = 0
        self.answers: SimpleQueue[Arrival | Exception | None] = SimpleQueue()

    def look(self) -> Arrival | None:
        self.asked += 1
        answer = self.answers.get(timeout=SOON_S)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


def test_a_home_waits_and_hears_what_else_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    take_identity(1)
    monkeypatch.setattr(looking_module, "_PAUSE_S", 0.01)
    line, arrival = Line(), Arrival(failure(Message(RecordDict(), 5, "query"), ""), ObjectTree())
    looking = MessageWait(line)
    assert looking.wait(0.01) is None
    looking.nudge()
    assert looking.wait(SOON_S) is None, "told to look up, it does"
    line.answers.put(arrival)
    assert looking.wait(SOON_S) is arrival
    assert line.asked == 1, "the next question waits until somebody wants its answer"
    line.answers.put(None)
    assert looking.wait(SOON_S) is None
    line.answers.put(LinkError("away", reason="unreachable"))
    with pytest.raises(LinkError, match="away"):
        looking.wait(SOON_S)
    assert line.asked == 3
    looking.close()
    assert line.closed == 1


def test_a_line_is_closed_when_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking_module, "_LEAVING_S", 0.01)
    monkeypatch.setattr(looking_module, "_PAUSE_S", 0.01)
    line = Line()
    looking = MessageWait(line)
    assert looking.wait(0.01) is None
    looking.close()
    assert line.closed == 0, "a question still waits there"
    line.answers.put(None)
    assert looking._thread is not None
    looking._thread.join(SOON_S)
    assert line.closed == 1
    unused = Line()
    MessageWait(unused).close()
    assert unused.closed == 1


class _Beats:
    """A line over which some heartbeats do not get through, and the pauses before each."""

    def __init__(self, *fates: str) -> None:
        self.fates, self.pauses = list(fates), list[float]()
        self.ended, self.quiet = False, list[float]()

    @property
    def quiet_s(self) -> float:
        return self.quiet.pop(0) if self.quiet else math.inf

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return self.ended or not self.fates

    def set(self) -> None:
        self.ended = True

    def beat(self) -> None:
        if fate := self.fates.pop(0):
            raise LinkError("no", reason=fate)


def test_a_heartbeat_that_does_not_get_through_is_tried_again_soon() -> None:
    beats = _Beats("", "unreachable", "failed", "", "node", "never reached")
    heartbeat.keep_alive(beats, beats)  # type: ignore[arg-type]
    usual = heartbeat.HEARTBEAT_S * 0.8
    assert beats.pauses == [usual, usual, 1.0, 1.0, usual, 1.0]
    assert beats.ended
    assert beats.fates == ["never reached"], "a refusal ends it"


def test_a_home_that_asks_or_sends_has_no_heartbeat() -> None:
    beats = _Beats("", "")
    usual = heartbeat.HEARTBEAT_S * 0.8
    beats.quiet = [0.0, 0.0, usual / 4, usual]  # its question waits twice; then it is at work
    heartbeat.keep_alive(beats, beats)  # type: ignore[arg-type]
    assert beats.pauses == [usual, usual, usual, usual * 3 / 4, usual, usual]
