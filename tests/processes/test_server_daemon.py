"""The server's daemon with real homes: runs end as in a simulation, whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fedhome
from fedhome.clients.agent.announce import join
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import LinkError
from fedhome.fleet.entries import home_keys
from fedhome.fleet.owner_folder import Fleet
from fedhome.flower.node_key import NodeKey
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import FAILED, FINISHED, Runs
from fedhome.server.daemon.health import SERVICES
from fedhome.server.daemon.status import status_of
from fedhome.simulations import local_fleet as together
from fedhome.simulations.homes import generate
from helpers.daemon_world import PASSPHRASE, World, agents, run, started, told
from helpers.living import (
    assert_same_weights,
    lines_until,
    number_of,
    processes_of,
    tiny_plan,
    wait_until_gone,
)
from helpers.patience import PATIENCE_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

HOMES, ROUNDS = 5, 12
DIRECTORY = "directory.fh"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan(HOMES, ROUNDS)


@pytest.fixture(scope="module")
def simulated(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fedhome.simulate(plan, out=tmp_path_factory.mktemp("simulated") / "run").folder


@pytest.fixture
def world(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("fedhome.simulations.local_fleet.secrets.token_hex", lambda _: PASSPHRASE)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, homes = together.prepare(tmp_path / "fleet", plan, tables)
    monkeypatch.undo()
    file = tmp_path / "plan.toml"
    file.write_text(plan.to_toml())
    return World(server, homes, file)


def assert_finished(world: World, name: str, simulated: RunFolder) -> None:
    folder = RunFolder.open(world.server.runs / name)
    assert folder.finished
    assert folder.report_path.exists()
    rounds = folder.read_rounds()
    assert rounds.num_rows == ROUNDS
    if rounds.column("homes_answered").to_pylist() == [HOMES] * ROUNDS:
        assert_same_weights(folder, simulated)  # else a round was lost with its process
    assert getattr(Runs(world.server).current, "state", "") == FINISHED


def test_a_run_gives_what_a_simulation_gives(world: World, simulated: RunFolder) -> None:
    with started(world) as daemon, agents(world):
        with told("start", world.server.path) as second:
            assert "already" in "".join(lines_until(second, "error: "))
            assert second.wait(PATIENCE_S) == 1
        with told(*run(world, world.plan, "--name", "mine")) as watching:
            printed = "".join(lines_until(watching, "report: "))
            assert watching.wait(PATIENCE_S) == 0
        assert f"round {ROUNDS}/{ROUNDS}  {HOMES}/{HOMES} homes" in printed
        assert "personalised" in printed
        found = status_of(world.server)
        assert (found.running, found.front, found.link) == (True, True, True)
        assert found.connected == sorted(home.path.name for home in world.homes)
        assert found.run is not None
        assert (found.run.name, found.run.round, found.run.rounds) == ("mine", ROUNDS, ROUNDS)
        assert found.release is not None
        assert found.release.round == ROUNDS
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
        wait_until_gone(world.server.path)
    assert_finished(world, "mine", simulated)
    folder = RunFolder(world.server.runs / "mine")
    assert_same_weights(folder, simulated)


@pytest.mark.usefixtures("unforked")  # the kernel is to end what it started
def test_a_daemon_is_killed_in_mid_run(world: World, simulated: RunFolder) -> None:
    with agents(world):
        with started(world) as daemon:
            with told(*run(world, world.plan)) as watching:
                lines_until(watching, "round 1/")
            daemon.kill()
            daemon.wait()
            wait_until_gone(world.server.path)
        with started(world) as daemon:
            lines_until(daemon, "run tiny-1 goes on")
            with told(*run(world)) as watching:
                printed = lines_until(watching, "report: ")
            assert "going on with an interrupted run\n" in printed
            lines_until(daemon, "run tiny-1 is finished")
    assert_finished(world, "tiny-1", simulated)


def test_nobody_watches_and_a_run_is_cancelled_and_goes_on(
    world: World, simulated: RunFolder
) -> None:
    """A home stands still meanwhile, so that no run is over before it can be cancelled."""
    with started(world) as daemon, agents(world):
        with told(*run(world, world.plan)) as watching:
            lines_until(watching, "round 1/")
            with standing_still(world.homes[2]):
                watching.send_signal(signal.SIGINT)
                lines_until(watching, "tiny-1 goes on")
                assert watching.wait(PATIENCE_S) == 130
                be_refused_and_cancel(world)
        lines_until(daemon, "run tiny-1 was cancelled")
        left = processes_of(world.server.path).values()
        assert not any("fedhome.server.daemon.deploy" in words for words in left)
        assert any("fedhome.server.daemon.superlink_process" in words for words in left)
        with told(*run(world, "--resume", "tiny-1")) as watching:
            lines_until(watching, "report: ")
    assert_finished(world, "tiny-1", simulated)


def be_refused_and_cancel(world: World) -> None:
    """Begin a second run in vain, watch the first one again, and cancel it."""
    with told(*run(world, world.plan)) as second:
        lines_until(second, "error: the run tiny-1 is in progress")
        assert second.wait(PATIENCE_S) == 1
    with told(*run(world)) as watching:
        lines_until(watching, "round 1/")
        with told("cancel", world.server.path) as cancelling:
            lines_until(cancelling, "cancelled tiny-1")
            assert cancelling.wait(PATIENCE_S) == 0
        lines_until(watching, "error: tiny-1 was cancelled")
        assert watching.wait(PATIENCE_S) == 1


@contextmanager
def standing_still(home: HomeFolder) -> Iterator[None]:
    """Stop a home's agent, without which there is no sum, and let it go on in the end."""
    agent = number_of(home.path, "fedhome.clients.agent.resident")
    os.kill(agent, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(agent, signal.SIGCONT)


@pytest.mark.parametrize(
    "victim",
    [
        "fedhome.server.daemon.front",
        "fedhome.server.daemon.superlink_process",
        "fedhome.server.daemon.deploy",
    ],
)
def test_a_child_of_the_daemon_is_killed(world: World, simulated: RunFolder, victim: str) -> None:
    with started(world) as daemon, agents(world):
        with told(*run(world, world.plan)) as watching:
            lines_until(watching, "round 1/")
            os.kill(number_of(world.server.path, victim), signal.SIGKILL)
            lines_until(watching, "report: ")
        names = {module: name for name, module in SERVICES.items()}
        name = names.get(victim, "run")
        lines_until(daemon, f"{name} was killed (SIGKILL): it is started again")
    assert_finished(world, "tiny-1", simulated)


def test_a_run_waits_for_a_home_without_which_there_is_no_sum(world: World) -> None:
    """All five homes are needed; one of them stands still until the server has missed it."""
    with started(world), agents(world), told(*run(world, world.plan)) as watching:
        lines_until(watching, "round 1/")
        home = world.homes[2]
        with standing_still(home):
            waiting = lines_until(watching, "waiting since ")[-1]
            assert f"for {home.path.name}: 4 of 5 homes, 5 are needed" in waiting
            found = status_of(world.server).run
            assert found is not None
            assert waiting.startswith(f"{found.waits}; `fedhome server status` says whom the ")
        lines_until(watching, "enough are there")
        assert f"  {HOMES}/{HOMES} homes" in lines_until(watching, "round 3/")[-1]


def test_a_new_directory_in_mid_run(world: World, simulated: RunFolder) -> None:
    with Fleet.open(world.owner) as fleet:
        issued = fleet.sign(PASSPHRASE, corrupt=0.25, dropped=0.2, committee=None)
    with started(world) as daemon, agents(world), told(*run(world, world.plan)) as watching:
        lines_until(watching, "round 1/")
        new = world.server.fleet / "new"
        new.write_bytes(issued.data)
        new.replace(world.server.fleet / DIRECTORY)
        lines_until(daemon, f"new directory: epoch 2, {HOMES} homes")
        lines_until(watching, "report: ")
    for home in world.homes:
        assert home.directory == issued.data
    assert_finished(world, "tiny-1", simulated)


def test_a_server_without_a_directory_and_a_run_that_cannot_be(
    world: World, plan: Plan, tmp_path: Path
) -> None:
    server = world.server
    directory = server.fleet / DIRECTORY
    runs = Runs(server)
    runs.begin(plan, "broken")
    runs.folder("broken").plan_path.write_text("name = ")
    shutil.move(directory, tmp_path / DIRECTORY)
    with told("start", server.path) as daemon:
        assert lines_until(daemon, "ready at ")[-1].endswith("no directory yet, homes can enrol\n")
        lines_until(daemon, "run broken failed: ")
        ended = runs.current
        assert ended is not None
        assert ended.state == FAILED
        assert "TOML" in ended.reason
        with pytest.raises(LinkError) as refused:
            join(
                f"localhost:{server.settings.port}",
                server.card.authorities,
                fleet=server.anchor.fleet,
                keys=home_keys("home-0001", tmp_path / "keys")[0],
                node=NodeKey.create(),
                saves=0,
            )
        assert refused.value.reason == "no-directory"
        assert refused.value.hint
        with told(*run(world, world.plan)) as refusing:
            lines_until(refusing, "error: this fleet's server has no directory yet")
        shutil.move(tmp_path / DIRECTORY, directory)
        lines_until(daemon, f"new directory: epoch 1, {HOMES} homes")
        daemon.send_signal(signal.SIGINT)
        lines_until(daemon, "stopped")
        assert daemon.wait(PATIENCE_S) == 0
        wait_until_gone(server.path)
