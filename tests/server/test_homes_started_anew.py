"""Homes whose machines are started anew have no keys that the server counts on: runs go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import Message

from helpers.wired_fleet import WiredFleet, secure_plan

HOMES, ROUNDS = 7, 4


@pytest.mark.long
@pytest.mark.parametrize(
    ("started_anew", "answered"),
    [
        pytest.param(["h03"], [7, 6, 7, 7], id="one home"),
        pytest.param([f"h{n:02}" for n in range(HOMES)], [7, 0, 7, 7], id="all, by a power cut"),
    ],
)
def test_who_is_started_anew_misses_one_sum(
    tmp_path: Path, started_anew: list[str], answered: list[int]
) -> None:
    rounds = {"deadline_s": 3600, "evaluate_fraction": 0.0, "count": ROUNDS}
    fleet = WiredFleet(tmp_path, secure_plan(rounds=rounds), HOMES)
    trained: list[str] = []

    def starting(home: str, message: Message) -> bool:
        if message.metadata.message_type == "train":
            if len(trained) == HOMES:  # the second round begins
                for name in started_anew:
                    machine = fleet.parts[name].machine
                    machine._commit(machine.state.without_bundles())
            trained.append(home)
        return False

    fleet.wire.deaf = starting
    with fleet.run() as loop:
        loop.run()
        assert [row["homes_answered"] for row in loop.state.rows] == answered
    assert sorted(fleet.wire.refusals) == [(name, "bundle-used") for name in started_anew]
