"""How a home sends a reply where the server takes no piece of it, or none any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedhome.clients.agent.resident import Agent
from fedhome.errors import LinkError
from fedhome.fleet.state_file import FileStore
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
    agent._send(wire, ANSWER)
    assert wire.announced == 2


def test_a_reply_that_is_too_large_is_given_up(agent: Agent) -> None:
    wire: Any = Wire("too-large", "too-large")
    with pytest.raises(LinkError) as given_up:
        agent._send(wire, ANSWER)
    assert (given_up.value.reason, wire.announced) == ("too-large", 2)
