"""Real processes are killed at each step of a round: the run completes, with the same weights."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import fedhome
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.ops import processes as processes_of_ops
from fedhome.ops.processes import Child, Processes
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import BROKEN_OFF, DONE
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.living import assert_same_weights, number_of, tiny_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

HOMES, ROUNDS = 5, 16
STEPS = (
    ("train came", 1),  # before it learns
    ("train is answered", 1),  # it has learnt, and not sent
    ("train is sent", 1),  # it has uploaded
    ("query.help came", 1),  # as a member of the committee, that gives a key to seal shares for
    ("query.help came", 2),  # that checks its shares
    ("query.help came", 3),  # that votes
    ("query.help came", 4),  # that opens
    ("evaluate came", 1),
)
WAIT_S = 180


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan(HOMES, ROUNDS)


@pytest.fixture(scope="module")
def simulated(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fedhome.simulate(plan, out=tmp_path_factory.mktemp("simulated") / "run").folder


@dataclass
class Fleet:
    """A fleet of real processes, and the run that they work on."""

    processes: Processes
    server: ServerFolder
    places: list[HomeFolder]
    run: RunFolder

    @property
    def closed(self) -> int:
        """Rounds that are closed."""
        if not self.run.events_path.exists():
            return 0
        return self.run.events_path.read_text().count('"event":"round-closed"')

    def log_of(self, home: str) -> Path:
        return self.server.logs / f"{home}.log"

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait, as long as the run goes on."""
        self.processes.until(
            lambda: done() or self.child("run").look() is not None, what=what, timeout_s=WAIT_S
        )
        assert done(), f"the run ended before {what}"

    def until_step(self, home: str, mark: str, count: int) -> None:
        """Wait until a home's log says something that it did not say before."""
        path = self.log_of(home)
        before = path.read_text().count(mark)
        self.until(lambda: path.read_text().count(mark) >= before + count, f"{mark} ({home})")

    def child(self, name: str) -> Child:
        return self.processes.children[name]

    def kill(self, *names: str) -> None:
        """Kill processes, all at once."""
        for name in names:
            process = self.child(name).process
            assert process is not None
            process.kill()

    def go_on(self) -> None:
        """Wait until another round is closed."""
        before = self.closed
        self.until(lambda: self.closed > before, f"round {before + 1} is closed")

    def finish(self) -> None:
        """Wait for the run's end."""
        assert self.processes.wait("run") == DONE, (self.server.logs / "run.log").read_text()
        assert self.run.finished
        assert self.run.read_rounds().num_rows == ROUNDS


@pytest.fixture
def fleet(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    # What is killed soon after its start is started again after ever longer pauses, of half a
    # minute in the end: tests/ops holds that. Here it is no matter.
    monkeypatch.setattr(processes_of_ops, "_HEALTHY_S", 0.0)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    run = RunFolder.create(tmp_path / "run")
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        start(processes, server, places)
        processes.start(
            "run",
            "fedhome.server.daemon.deploy",
            str(server.path),
            str(run.path),
            str(WAIT_S),
            log=server.logs / "run.log",
            ends=(DONE, BROKEN_OFF),
        )
        fleet = Fleet(processes, server, places, run)
        fleet.go_on()
        yield fleet


@pytest.mark.parametrize("victim", ["link", "front", "run"])
def test_a_part_of_the_server_is_killed_at_each_step(
    fleet: Fleet, simulated: RunFolder, victim: str
) -> None:
    for mark, count in STEPS:
        fleet.until_step("home-0001", mark, count)
        fleet.kill(victim)
        fleet.go_on()
    fleet.finish()
    assert fleet.run.read_rounds().column("homes_answered").to_pylist() == [HOMES] * ROUNDS
    assert_same_weights(fleet.run, simulated)


def test_a_home_is_killed_at_each_step(fleet: Fleet) -> None:
    for number, (mark, count) in enumerate(STEPS):
        home = f"home-000{1 + number % HOMES}"
        fleet.until_step(home, mark, count)
        fleet.kill(home)
        fleet.go_on()
    fleet.finish()
    answered = fleet.run.read_rounds().column("homes_answered").to_pylist()
    assert answered[0] == HOMES
    assert answered.count(HOMES) >= ROUNDS - 2 * len(STEPS)


def test_a_worker_is_killed_while_it_learns(fleet: Fleet) -> None:
    for number in range(1, 4):
        place = fleet.places[number]
        fleet.until_step(place.path.name, "train came", 1)
        os.kill(
            number_of(place.path, "fedhome.clients.agent.worker", str(place.path)),
            signal.SIGKILL,
        )
        fleet.go_on()
    fleet.finish()


def test_everything_is_killed_at_once(fleet: Fleet, simulated: RunFolder) -> None:
    for mark, count in STEPS[::2]:
        fleet.until_step("home-0001", mark, count)
        fleet.kill(*fleet.processes.children)
        fleet.go_on()
    fleet.finish()
    if fleet.run.read_rounds().column("homes_answered").to_pylist() == [HOMES] * ROUNDS:
        assert_same_weights(fleet.run, simulated)
