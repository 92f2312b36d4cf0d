"""Every round's model becomes a release, whatever crashes, fills up or is damaged."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedhome.errors import RegistryError
from fedhome.registry import Draft, Registry, Release
from fedhome.registry.release import Privacy
from fedhome.run.events import SPENT, EventLog
from fedhome.run.folder import RunFolder
from fedhome.secagg import ServerKeys
from fedhome.server.daemon.publishing import FAILED, MODELS, RELEASED, Publisher, registry_of
from fedhome.server.rounds import checkpoint
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.wire.layout import Layout
from helpers.publishing import INITIAL, MODEL_OF, NEW, SMALL, Server, rising_after, silent_in
from helpers.registry_world import FLEET, SERVER, Crash, draft, failing


def test_every_round_is_a_release(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    registry = server.registry
    assert (registry.fleet, registry.server) == (FLEET, SERVER.public)
    assert server.rounds() == [1, 2, 3]
    for release in registry.releases():
        manifest = release.manifest
        assert registry.load(release).flat.tolist() == MODEL_OF[manifest.round]
        assert (manifest.homes, manifest.run, manifest.storage) == (3, "run-1", "float32")
        assert manifest.run_hash.hex() == server.run.read_events()[0].hash
    told = [(e.data["release"], e.data["round"], e.data["hash"]) for e in server.events(RELEASED)]
    assert told == [(r.number, r.number, r.hash.hex()) for r in registry.releases()]
    assert server.events(FAILED) == []


def test_a_release_says_what_its_run_has_spent(tmp_path: Path) -> None:
    server = Server(tmp_path)
    real = RoundLoop._round

    def spending(self: RoundLoop, number: int) -> dict[str, Any]:
        self.log.append(
            SPENT,
            epsilon=2.0 * number,
            delta=1e-5,
            mechanism="discrete-gaussian",
            noise_multiplier=6.5,
        )
        return real(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundLoop, "_round", spending)
        server.play()
    told = [release.manifest.privacy for release in server.registry.releases()]
    assert told == [
        (Privacy(mechanism="discrete-gaussian", noise=6.5, epsilon=2.0 * n, delta=1e-5),)
        for n in (1, 2, 3)
    ]
    with EventLog(server.run.events_path) as log:  # as a process that goes on with it
        again = Publisher(server.models, fleet=FLEET, keys=SERVER, run=server.run, log=log)
        assert again._privacy == told[-1][0]


def test_rounds_that_made_no_model_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path, silent_in(1, 3, 5), count=5)
    published: list[int] = []
    real = Registry.publish

    def publish(self: Registry, made: Draft, signer: ServerKeys) -> Release:
        published.append(made.round)
        return real(self, made, signer)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "publish", publish)
        server.play()
    assert published == [2, 4]
    assert server.registry.load(4).flat.tolist() == MODEL_OF[2]
    server.play(resumed=True)
    assert server.rounds() == [2, 4]


def test_only_what_is_durable_is_published(tmp_path: Path) -> None:
    # The sixth round is kept as the last one, and its model is the fifth's.
    server = Server(tmp_path, silent_in(6), count=6, checkpoint_every=2)
    server.play()
    assert server.rounds() == [2, 4, 5]
    assert server.registry.load(5).flat.tolist() == MODEL_OF[5]


def test_a_round_that_is_done_again_was_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, real = Server(tmp_path), checkpoint.save

    def save(folder: RunFolder, layout: Layout, state: checkpoint.Checkpoint) -> None:
        if state.round == 2:
            raise Crash
        real(folder, layout, state)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(Crash):
            server.play()
    assert server.rounds() == [1]
    server.how = silent_in(2)  # the second time it goes otherwise
    server.play(resumed=True)
    assert server.rounds() == [1, 3]
    assert server.registry.load().flat.tolist() == MODEL_OF[2]


def test_a_run_that_ends_early_goes_back_to_its_best(tmp_path: Path) -> None:
    server = Server(tmp_path, rising_after(2), count=9, patience=2)
    assert server.play().state.round == 4
    assert server.rounds() == [1, 2, 3, 4, 4]
    last = server.registry.find("latest").manifest
    assert last.restores == 2
    assert server.registry.load().flat.tolist() == MODEL_OF[2]
    server.play(resumed=True)  # nothing is left to do
    assert server.rounds() == [1, 2, 3, 4, 4]
    assert [e.data["restores"] for e in server.events(RELEASED)] == [0, 0, 0, 0, 2]


def test_a_best_model_that_is_the_last_one_needs_no_way_back(tmp_path: Path) -> None:
    server = Server(tmp_path, rising_after(3), patience=2)
    server.play()
    assert server.rounds() == [1, 2, 3]
    assert server.events(FAILED) == []


def test_a_best_model_that_was_never_published_is_told(tmp_path: Path) -> None:
    server = Server(tmp_path, rising_after(1), count=4, patience=4, checkpoint_every=2)
    server.play()
    assert server.rounds() == [2, 4]
    (failed,) = server.events(FAILED)
    assert (failed.data["round"], failed.data["reason"]) == (4, "unknown")


@pytest.mark.long
@pytest.mark.parametrize("when", [1, 2])
def test_a_crash_at_any_step_loses_and_doubles_nothing(tmp_path: Path, when: int) -> None:
    """The process ends at each step in turn of publishing round ``when``."""
    real, steps = Publisher.publish, 0

    def publish(self: Publisher, number: int, *arguments: Any) -> None:
        with failing(at if number == when else 0, Crash()) as calls:
            real(self, number, *arguments)
        if number == when:
            nonlocal steps
            steps = max(steps, len(calls))

    for at in range(40):
        server = Server(tmp_path / str(at))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Publisher, "publish", publish)
            if at == 0:
                server.play(keep=1)
            else:
                with pytest.raises(Crash):
                    server.play(keep=1)
        server.play(resumed=True, keep=1)
        assert server.rounds() == [1, 2, 3]
        assert [event.data["release"] for event in server.events(RELEASED)] == [1, 2, 3]
        assert server.registry.load().flat.tolist() == MODEL_OF[3]
        server.registry.prune(1)
        assert [release.kept for release in server.registry.releases()] == [False, False, True]
        if at == steps:
            break
    assert steps > 8


def test_a_crash_between_release_and_log_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)

    def dying(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "_log_release", dying)
        with pytest.raises(Crash):
            server.play()
    assert server.rounds() == [1]
    assert server.events(RELEASED) == []
    server.play(resumed=True)
    assert server.rounds() == [1, 2, 3]
    assert [event.data["release"] for event in server.events(RELEASED)] == [1, 2, 3]


def test_a_full_disk_costs_a_release_but_not_the_run(tmp_path: Path) -> None:
    real = Publisher.publish

    def publish(self: Publisher, number: int, *arguments: Any) -> None:
        with failing(step if number == 2 else 0, OSError(errno.ENOSPC, "")):
            real(self, number, *arguments)

    for step in range(1, 8):
        server = Server(tmp_path / str(step))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Publisher, "publish", publish)
            assert server.play().state.flat.tolist() == MODEL_OF[3]
        failed = [(e.data["round"], e.data["reason"]) for e in server.events(FAILED)]
        assert failed == [(2, "disk-full")]
        assert server.rounds() in ([1, 3], [1, 2, 3])  # once the index is in place, it is there
        assert server.registry.load().flat.tolist() == MODEL_OF[3]


def test_a_failed_release_is_made_up_for_where_no_newer_model_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, real, calls = Server(tmp_path, silent_in(3)), Publisher.publish, 0

    def publish(self: Publisher, number: int, *arguments: Any) -> None:
        nonlocal calls
        calls += number == 2
        with failing(1 if number == 2 and calls == 1 else 0, OSError(errno.ENOSPC, "")):
            real(self, number, *arguments)

    monkeypatch.setattr(Publisher, "publish", publish)
    server.play()
    assert calls == 2
    assert len(server.events(FAILED)) == 1
    assert server.rounds() == [1, 2]


def test_a_model_that_cannot_be_published_is_told(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.play()
    with EventLog(server.run.events_path) as log:
        publisher = Publisher(server.models, fleet=FLEET, keys=SERVER, run=server.run, log=log)
        publisher.publish(4, 3, np.array([np.nan, 1], np.float32), SMALL)
        publisher.publish(2, 3, INITIAL, SMALL)  # that round is another model already
    assert [event.data["reason"] for event in server.events(FAILED)] == ["not-finite", "round"]
    assert server.rounds() == [1, 2, 3]


def test_old_models_go_and_pinned_ones_stay(tmp_path: Path) -> None:
    server = Server(tmp_path, count=3)
    server.play()
    server.registry.pin(1)
    server.plan = server.plan.change(rounds={"count": 6})
    server.play(resumed=True, keep=2)
    kept = [release.kept for release in server.registry.releases()]
    assert kept == [True, False, False, False, True, True]
    names = sorted(path.name for path in (server.models / "releases").glob("*.model"))
    assert names == ["00000001.model", "00000005.model", "00000006.model"]


def test_old_models_that_cannot_go_do_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RegistryError("no", reason="disk")

    monkeypatch.setattr(Registry, "prune", refuse)
    server = Server(tmp_path)
    server.play(keep=1)
    assert server.rounds() == [1, 2, 3]
    assert len(server.events("note")) == 3
    assert server.events(FAILED) == []


@pytest.mark.parametrize("reason", ["altered", "missing"])
def test_a_registry_that_cannot_be_used_is_told_before_the_first_round(
    tmp_path: Path, reason: str
) -> None:
    registry_of(tmp_path / MODELS, fleet=FLEET, keys=SERVER)
    if reason == "missing":
        (tmp_path / MODELS / "registry.key").unlink()
    else:
        index = tmp_path / MODELS / "registry.fh"
        index.write_bytes(index.read_bytes()[:-1] + b"x")
    server = Server(tmp_path)
    with pytest.raises(RegistryError) as caught:
        server.play()
    assert caught.value.reason == reason
    assert server.events("round-closed") == []


def test_each_key_has_a_registry_of_its_own(tmp_path: Path) -> None:
    def of(keys: ServerKeys) -> Registry:
        registry = registry_of(tmp_path / MODELS, fleet=FLEET, keys=keys)
        assert registry.server == keys.public
        assert registry.folder == tmp_path / MODELS
        return registry

    of(SERVER).publish(draft(1), SERVER)
    assert of(NEW).releases() == ()
    of(NEW).publish(draft(1), NEW)
    of(NEW).publish(draft(2), NEW)
    old, new = (f"{MODELS}-{keys.public.hex()[:16]}" for keys in (SERVER, NEW))
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODELS, old]
    # A key that comes back goes on with its numbers: homes remember them.
    assert len(of(SERVER).releases()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODELS, new]
    assert of(SERVER).publish(draft(2), SERVER).number == 2


@pytest.mark.parametrize("back", [False, True])
def test_a_crash_while_registries_change_places(tmp_path: Path, back: bool) -> None:
    base = tmp_path / "base"
    base.mkdir()
    registry_of(base / MODELS, fleet=FLEET, keys=SERVER).publish(draft(1), SERVER)
    if back:
        registry_of(base / MODELS, fleet=FLEET, keys=NEW).publish(draft(1), NEW)
    keys = SERVER if back else NEW
    ended = False
    for step in range(1, 30):
        place = tmp_path / str(step)
        shutil.copytree(base, place)
        with failing(step, Crash()):
            try:
                registry_of(place / MODELS, fleet=FLEET, keys=keys)
                ended = True
            except Crash:
                pass
        registry = registry_of(place / MODELS, fleet=FLEET, keys=keys)
        assert len(registry.releases()) == back
        other = registry_of(place / MODELS, fleet=FLEET, keys=NEW if back else SERVER)
        assert len(other.releases()) == 1
        if ended:
            break
    assert step > 3
