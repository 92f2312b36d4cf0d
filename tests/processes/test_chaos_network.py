"""Connections are reset in the middle, and homes are away for some rounds: the run completes."""

from __future__ import annotations

import itertools
import select
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

import fedhome
from fedhome.clients.lean_process import LEAN
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import BROKEN_OFF, DONE
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.living import assert_same_weights, tiny_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes as a server does"),
]

HOMES = 6
WAIT_S = 120


def plan_of(rounds: int) -> Plan:
    return tiny_plan(HOMES, rounds)


class Cutting(threading.Thread):
    """A way to the server on which every connection is reset after some bytes.

    Args:
        port: The server's.
        most: How many bytes pass from the server before the reset, for each connection in turn.
    """

    def __init__(self, port: int, most: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self._port, self._most = port, most
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0

    def run(self) -> None:
        for number in itertools.count():
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            most = self._most[number % len(self._most)]
            threading.Thread(target=self._carry, args=(here, most), daemon=True).start()

    def _carry(self, here: socket.socket, most: int) -> None:
        with (
            suppress(OSError),
            here,
            socket.create_connection(("127.0.0.1", self._port)) as there,
        ):
            while True:
                for ready in select.select([here, there], [], [])[0]:
                    data = ready.recv(4096)
                    if not data:
                        return
                    if ready is there:
                        most -= len(data)
                        if most < 0:
                            self.cuts += 1
                            reset = struct.pack("ii", 1, 0)
                            here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                            return
                    (there if ready is here else here).sendall(data)

    def close(self) -> None:
        self._listener.close()


def begin(processes: Processes, server: ServerFolder, run: RunFolder, plan: Plan) -> None:
    """Start the process of a run."""
    run.write_plan(plan.to_toml())
    processes.start(
        "run",
        "fedhome.server.daemon.deploy",
        str(server.path),
        str(run.path),
        str(WAIT_S),
        log=server.logs / "run.log",
        ends=(DONE, BROKEN_OFF),
    )


def test_connections_are_reset_in_the_middle(tmp_path: Path) -> None:
    plan = plan_of(3).change(personalise={"name": "none"})
    simulated = fedhome.simulate(plan, out=tmp_path / "simulated").folder
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    cutting = Cutting(server.settings.port, most=(14_000, 24_001, 40_000, 12_500))
    cutting.start()
    for place in places:
        settings = replace(place.settings, server=f"127.0.0.1:{cutting.port}")
        (place.path / "home.toml").write_text(tomli_w.dumps(vars(settings)))
    run = RunFolder.create(tmp_path / "run")
    try:
        with Processes() as processes:
            start(processes, server, places)
            begin(processes, server, run, plan)
            assert processes.wait("run") == DONE
    finally:
        cutting.close()
    assert cutting.cuts > HOMES
    assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES] * 3
    assert_same_weights(run, simulated)


def test_a_home_whose_connections_break_sets_nobodys_pace(tmp_path: Path) -> None:
    """It answers little questions and seldom gets a model: nobody waits for it to the deadline."""
    plan = plan_of(2).change(
        rounds={"close_least_s": 4.0, "deadline_s": 1000.0}, personalise={"name": "none"}
    )
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    cutting = Cutting(server.settings.port, most=(6_000,))
    cutting.start()
    settings = replace(places[2].settings, server=f"127.0.0.1:{cutting.port}")
    (places[2].path / "home.toml").write_text(tomli_w.dumps(vars(settings)))
    run = RunFolder.create(tmp_path / "run")
    try:
        with Processes() as processes:
            start(processes, server, places)
            begin(processes, server, run, plan)
            assert processes.wait("run") == DONE, "no question waited for its deadline"
    finally:
        cutting.close()
    answered = run.read_rounds().column("homes_answered").to_pylist()
    assert HOMES - 1 in answered
    assert set(answered) <= {HOMES, HOMES - 1}


def test_a_home_is_away_for_three_rounds_and_comes_back(tmp_path: Path) -> None:
    plan = plan_of(12)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    run, place = RunFolder.create(tmp_path / "run"), places[2]
    home = place.path.name

    def closed() -> list[int]:
        """Return how many homes answered in each round so far."""
        events = run.read_events()
        return [int(e.data["homes_answered"]) for e in events if e.event == "round-closed"]

    with Processes() as processes:

        def until(count: int) -> None:
            processes.until(lambda: len(closed()) >= count, what="rounds", timeout_s=WAIT_S)

        start(processes, server, places)
        begin(processes, server, run, plan)
        until(1)
        away = processes.children.pop(home)  # nobody starts it again
        away.wait(0.0)  # killed at once
        until(len(closed()) + 4)
        processes.start(
            home,
            LEAN,
            "fedhome.clients.agent.resident",
            str(place.path),
            log=server.logs / f"{home}.log",
        )
        assert processes.wait("run") == DONE
    answered = closed()
    assert answered[0] == HOMES
    assert answered.count(HOMES - 1) >= 3
    assert answered[-1] == HOMES
    assert set(answered) == {HOMES, HOMES - 1}
    assert run.finished
