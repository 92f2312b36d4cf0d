"""A run in which homes learn one after another says after a round how long the others take."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from fedhome.simulations.engines import first_round
from fedhome.simulations.engines.first_round import FirstRound
from fedhome.simulations.engines.grid import SequentialGrid
from helpers import tiny


def _told(rounds: int, moments: list[tuple[float, int]]) -> list[str]:
    told = list[str]()
    times = iter([at for at, number in moments if number])
    first = FirstRound(rounds, told.append, clock=lambda: next(times, 1e9))
    for _, number in moments:
        first.asked(number)
    return told


def test_the_rest_is_told_once_and_from_the_first_round_that_was_played() -> None:
    moments = [(0.0, 0), (100.0, 1), (130.0, 1), (150.0, 2), (999.0, 3)]
    (told,) = _told(10, moments)
    assert told.startswith(
        "round 1 took 50 s: what is left, 9 rounds, takes about 8 minutes"
    )  # 450 s
    (told,) = _told(10, [(0.0, 8), (3600.0, 9)])  # resumed
    assert told.startswith("round 8 took 60 minutes: what is left, 2 rounds, takes about 2 hours")


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_is_over_soon_is_not_told(rounds: int) -> None:
    assert _told(rounds, [(0.0, 1), (59.0, 2)]) == []


def test_a_grid_says_of_which_round_homes_are_asked() -> None:
    app, asked = ClientApp(), list[int]()

    @app.train()
    def train(message: Message, _: object) -> Message:
        return Message(RecordDict(), reply_to=message)

    grid = SequentialGrid(["oak"], app, [None], asked=asked.append)  # type: ignore[list-item]
    for content in ({"config": ConfigRecord({"server-round": 3})}, {}):
        message = grid.create_message(RecordDict(content), "train", 2, "")  # type: ignore[arg-type]
        list(grid.send_and_receive([message]))
    assert asked == [3, 0]


@pytest.mark.parametrize("mode", ["plain", "secure"])
def test_a_run_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(first_round, "_LONG_S", 0.0)
    notes = list[str]()
    plan = tiny.plan(
        engine={"name": "sequential"},
        rounds={"count": 3},
        aggregation={"mode": mode},
        data={"homes": 6},
    )
    tiny.run(plan, tiny.homes([(9, 3, 3)] * 6), tmp_path / "run", notes=notes)
    assert sum("what is left, 2 rounds, takes about" in note for note in notes) == 1
