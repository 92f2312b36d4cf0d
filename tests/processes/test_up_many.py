"""Fifty homes at once, each with a connection and readings of its own; what one agent takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.simulations.benchmarks.agent_memory import memory
from fedhome.simulations.benchmarks.many_homes import fleet_cost
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.living import named

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes that end with this one"),
]

HOMES, ROUNDS = 50, 2


def test_fifty_homes_answer(tmp_path: Path) -> None:
    plan = named(
        Plan.load(
            name="many",
            seed=3,
            data={"homes": HOMES, "days": 8},
            model={"hidden": [4]},
            rounds={"count": ROUNDS, "deadline_s": 120, "fraction": 1.0},
            personalise={"name": "none", "epochs": 1, "local_epochs": 1},
        )
    )
    tables = generate(homes=HOMES, days=8, seed=3)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    run = RunFolder.create(tmp_path / "run", name=plan.name)
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        start(processes, server, [])
        for number in range(2):
            folders = [str(place.path) for place in places[number::2]]
            log = server.logs / f"homes-{number}.log"
            processes.start(
                f"homes-{number}", "fedhome.simulations.light_agents", *folders, log=log
            )
        deploy = ("fedhome.server.daemon.deploy", str(server.path), str(run.path), "120")
        processes.start("run", *deploy, log=server.logs / "run.log", ends=(0, 1))
        assert processes.wait("run") == 0
        assert [child.starts for child in processes.children.values()] == [1] * 5
    assert run.finished
    assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES] * ROUNDS
    for place in places:
        status = place.status
        assert status is not None
        assert (status.state, status.epoch) == ("stopped", 1)
        assert status.answered >= 2 * ROUNDS


def test_an_agent_is_light_before_and_after_it_learns(tmp_path: Path) -> None:
    found = memory(homes=5, days=4, hidden=4, rounds=1, folder=tmp_path)
    assert found.idle <= 80
    assert 0 < found.worker <= 120, "it trains without torch"
    assert max(found.agent, found.after) <= found.idle + 16


def test_two_hundred_homes_join_at_once_and_take_part(tmp_path: Path) -> None:
    # Without masks: with them, two hundred homes on two cores compute for minutes a round. The
    # benchmark `many_homes` does that; what it costs the server is nearly the same.
    cost = fleet_cost(homes=200, rounds=1, idle_s=0.0, folder=tmp_path, mode="plain")
    assert cost.answered == [200]
    assert cost.files["link"] < 2 * 200 < cost.files["front"] + cost.files["link"] < 5 * 200
    assert {*cost.join_cpu_s} == {"front", "link"}
