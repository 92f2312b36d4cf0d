"""A run begins where another has ended: real homes answer about each model once, all the same."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from fedhome.errors import StateError
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.beginning import Beginning, take_over
from fedhome.server.daemon.publishing import Publisher
from fedhome.server.rounds.run_plan import end_with
from fedhome.store import disk
from helpers.registry_world import Crash
from helpers.wired_fleet import WiredFleet, secure_plan


def _play(fleet: WiredFleet, name: str) -> list[int]:
    """Play a run as the server's process does; return how many homes were in each round."""
    fleet.name = name
    folder, layout = RunFolder(fleet.folder / name), fleet.learning.layout
    if not folder.plan_path.exists():
        RunFolder.create(folder.path).write_plan(fleet.plan.to_toml())
    with EventLog(folder.events_path) as log:
        log.append("run-started")
        keys = fleet.world.server
        fleet_id = fleet.world.directory.fleet
        publisher = Publisher(
            fleet.folder / "models", fleet=fleet_id, keys=keys, run=folder, log=log
        )
        beginning = Beginning(
            fleet.plan, layout, folder=folder, publisher=publisher, log=log, resumed=False
        )
    start = folder.read_start()
    if start is not None:
        fleet.learning.initial = layout.flatten(start.parameters)
    with fleet.run() as rounds:
        rounds.run()
        publisher = Publisher(
            fleet.folder / "models", fleet=fleet_id, keys=keys, run=folder, log=rounds.log
        )
        end_with(publisher, beginning, rounds)
        return [row["homes_answered"] for row in rounds.state.rows]


@pytest.mark.long
def test_runs_that_follow_each_other_are_refused_nothing(tmp_path: Path) -> None:
    """One ends and is released; one is cut off in its first round; one goes on from there."""
    fleet = WiredFleet(tmp_path, secure_plan(rounds={"count": 2}))
    assert _play(fleet, "first") == [7, 7]

    def kill(_home: str, message: Message) -> bool:
        if message.metadata.message_type == "evaluate":
            raise Crash
        return False

    fleet.wire.deaf = kill
    with pytest.raises(Crash):
        _play(fleet, "second")
    fleet.wire.deaf = lambda _home, _message: False
    fleet.wire.away = {"h06"}
    assert _play(fleet, "third") == [7, 6], "its first sum is the one that was opened before"
    assert fleet.wire.refusals == []
    assert "was opened before, and is taken again" in fleet.events
    starts = [RunFolder(tmp_path / name).read_start() for name in ("second", "third")]
    flats = [fleet.learning.layout.flatten(one.parameters) for one in starts if one is not None]
    np.testing.assert_array_equal(flats[0], flats[1])


def test_sums_that_a_full_disk_does_not_take_are_taken_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums, new = tmp_path / "first" / "sums", tmp_path / "second" / "sums"
    sums.mkdir(parents=True)
    for name in ("a.sum", "b.sum", "tries.json"):
        (sums / name).write_bytes(name.encode())
    written = list[int]()

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StateError, match="second/sums") as refused:
            take_over(sums, new)
    # By that word the server knows that it has but to wait for room.
    assert refused.value.reason == disk.FULL
    take_over(sums, new)
    kept = {path.name: path.read_bytes() for path in new.iterdir()}
    assert kept == {name: name.encode() for name in ("a.sum", "b.sum", "tries.json")}
