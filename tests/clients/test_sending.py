"""How a home sends a reply where the server takes no piece of it, or none any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedhome.clients.agent.resident import Agent
from fedhome.clients.agent.sent_answer import send_answer
from fedhome.errors import LinkError
from fedhome.fleet.claims import installed_app
from fedhome.fleet.state_file import FileStore
from fedhome.reasons import NOT_KEPT, NOTHING
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare
from helpers.living import tiny_plan

ANSWER: Any = object()


class Wire:
    """A connection whose pushes end as a test says."""

    def __init__(self, *ends: str) -> None:
        self._ends = list(ends)
        self.announced = 0

    def announce(self, answer: object) -> object:
        assert answer is ANSWER
        self.announced += 1
        return answer

    def push(self, _: object) -> None:
        if reason := self._ends.pop(0):
            raise LinkError("the server takes nothing", reason=reason)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    root: Path = tmp_path_factory.mktemp("sending")
    home = prepare(root, tiny_plan(5, 1), generate(homes=5, days=2, seed=3))[1][0]
    work: Any = SimpleNamespace(close=lambda: None)
    with FileStore.open(home.path, home=home.settings.home) as store:
        yield Agent(home, store, lambda *_: work)


@pytest.mark.parametrize("reason", ["session", "too-large"])
def test_a_reply_is_announced_anew(agent: Agent, reason: str) -> None:
    wire: Any = Wire(reason, "")
    send_answer(wire, ANSWER, agent._insist)
    assert wire.announced == 2


def test_a_reply_that_is_too_large_is_given_up(agent: Agent) -> None:
    wire: Any = Wire("too-large", "too-large")
    with pytest.raises(LinkError) as given_up:
        send_answer(wire, ANSWER, agent._insist)
    assert (given_up.value.reason, wire.announced) == ("too-large", 2)


def test_a_reply_that_no_session_ends_is_given_up_aloud(agent: Agent) -> None:
    wire: Any = Wire(*["session"] * 5)
    with pytest.raises(LinkError, match="announced 5 times") as given_up:
        send_answer(wire, ANSWER, agent._insist)
    assert (given_up.value.reason, wire.announced) == (NOT_KEPT, 5)
    assert "superlink.log" in given_up.value.hint


def test_the_server_hears_of_it_with_the_next_claim(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ShutError(Exception):
        """Ends the agent's loop."""

    claims: list[str] = []

    def join_and_serve() -> None:
        claims.append(agent._refused)
        if len(claims) == 3:
            raise ShutError
        agent._refused = NOTHING
        if len(claims) == 1:
            wire: Any = Wire(*["session"] * 5)
            send_answer(wire, ANSWER, agent._insist)
        raise LinkError("gone", reason="unreachable")

    monkeypatch.setattr(agent, "_join_and_serve", join_and_serve)
    monkeypatch.setattr("fedhome.clients.agent.resident._FIRST_BACK_OFF_S", 0.0)
    monkeypatch.setattr("fedhome.clients.agent.resident._LONGEST_BACK_OFF_S", 0.0)
    with pytest.raises(ShutError):
        agent.run()
    assert claims == [NOTHING, NOT_KEPT, NOTHING]


@pytest.mark.parametrize(("told", "answered"), [(NOT_KEPT, 1), (NOTHING, 3)])
def test_a_home_whose_answers_are_kept_again_joins_anew_to_say_so(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, told: str, answered: int
) -> None:
    """Else the server's status would name it for as long as it stays connected: for months."""
    gone = threading.Event()
    message: Any = SimpleNamespace(metadata=SimpleNamespace(run_id=1, message_type="train"))
    arrival: Any = SimpleNamespace(message=message, stub=b"")

    class Served(Wire):
        def app_of(self, _: int) -> tuple[str, str]:
            return installed_app()

        def fetch(self, _: object) -> object:
            if self.announced == 2:
                gone.set()
            return message

    wire: Any = Served("", "", "")
    looking: Any = SimpleNamespace(wait=lambda _: arrival)
    monkeypatch.setattr(agent, "_told", told)
    monkeypatch.setattr(agent, "_stop", threading.Event())
    tasks = SimpleNamespace(answer=lambda _: ANSWER, trouble=None)
    monkeypatch.setattr(agent, "_tasks", tasks)
    monkeypatch.setattr(agent, "_is_time", lambda *_: True)
    monkeypatch.setattr(agent, "_newer", SimpleNamespace(hope=int, many_are_named=bool))
    monkeypatch.setattr(agent, "_report_trouble", lambda _: None)
    agent._serve(wire, looking, gone)
    assert wire.announced == answered
