"""Homes take what a real server published, though it was killed on the way."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedhome.clients.agent.kept_releases import ReleaseKeeper
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import LinkError
from fedhome.fleet.state_file import FileStore
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.registry import Registry
from fedhome.run.folder import RunFolder
from fedhome.secagg import HomeKeys
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.living import SOCKETS, named

ROUNDS = 3


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory,
    forked: None,
) -> Iterator[tuple[ServerFolder, list[HomeFolder]]]:
    """A run whose server was killed after its first round, and went on; the front still runs."""
    del forked  # in place before the first process
    root = tmp_path_factory.mktemp("deployed")
    plan = named(
        Plan.load(
            name="tiny",
            seed=3,
            data={"homes": 5, "days": 10},
            model={"hidden": [8]},
            rounds={"count": ROUNDS, "deadline_s": 60},
            personalise={"name": "none"},
        )
    )
    folder = RunFolder.create(root / "run")
    folder.write_plan(plan.to_toml())
    server, places = prepare(root / "fleet", plan, generate(homes=5, days=10, seed=3))
    with Processes() as processes:
        start(processes, server, places)
        arguments = ("fedhome.server.daemon.deploy", str(server.path), str(folder.path), "120")
        processes.start("run", *arguments, ends=(0, 1))

        def begun() -> bool:
            events = folder.read_events()
            return any(event.event == "round-closed" for event in events)

        processes.until(begun, what="the first round", timeout_s=120)
        process = processes.children["run"].process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        assert processes.wait("run") == 0
        processes.children["run"].wait(0.0)
        second = RunFolder.create(root / "second")
        second.write_plan(plan.to_toml())
        second.write_draw(2)
        arguments = (*arguments[:2], str(second.path), "120")
        processes.start("run", *arguments, ends=(0, 1))
        assert processes.wait("run") == 0
        yield server, places


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="as in test_up")
def test_homes_take_what_a_real_server_published(
    deployed: tuple[ServerFolder, list[HomeFolder]], tmp_path: Path
) -> None:
    server, places = deployed
    registry = Registry.open(server.path / MODELS)
    assert registry.verify().faults == ()
    first, *others = registry.releases()
    assert (first.manifest.run, first.manifest.round) == ("run", ROUNDS), "one of the whole run"
    run = RunFolder(server.path.parents[1] / "second")
    assert run.read_follows() == "run"
    events = {event.event: event.data for event in run.read_events()}
    assert events["begins-with"]["round"] == ROUNDS
    ended = {"model-released", "release-kept"}.intersection(events)
    assert ended == ({"model-released"} if others else {"release-kept"})
    if not others:
        run = RunFolder(server.path.parents[1] / "run")
    for place in places:
        copy = HomeFolder(shutil.copytree(place.path, tmp_path / place.path.name, ignore=SOCKETS))
        with FileStore.open(copy.path, home=copy.settings.home) as store:
            saves = store.state.version
            releases = ReleaseKeeper(copy, store.keys, saves=lambda saves=saves: saves)
            releases.update()  # it may have any of them by itself, or none
            assert releases.update() is None
            current = releases.current()
            assert current is not None
            assert current.manifest.round == ROUNDS
            for name, array in run.read_model().parameters.items():
                np.testing.assert_array_equal(current.model.parameters[name], array)
    stranger = HomeFolder(tmp_path / places[0].path.name)
    with pytest.raises(LinkError) as caught:
        ReleaseKeeper(stranger, HomeKeys.create("home-0001")).update()
    assert caught.value.reason == "signature"
