"""Every round's model becomes a release, homes are given it, and take nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from flwr.app import Message
from registry_world import FLEET, LAYOUT, SERVER, Crash, Shelf, draft, failing, numbers

import clients.releases
from clients.place import Place as HomePlace
from clients.place import Settings as HomeSettings
from clients.releases import KEPT, Releases
from fedhome.door import RELEASE
from fedhome.enrolment import Anchor
from fedhome.errors import (
    DirectoryError,
    LinkError,
    RegistryError,
    ReleaseError,
    SecAggError,
    StateError,
    WireError,
)
from fedhome.events import Event, EventLog
from fedhome.fetching import MOST, Fetch
from fedhome.fleet import ANCHOR, DIRECTORY
from fedhome.flower import EXAMPLES, array_record, content_of, read_flat, reply
from fedhome.plan import Plan
from fedhome.processes import Processes
from fedhome.registry import Draft, Registry, Release
from fedhome.runs import RunFolder
from fedhome.secagg import Authority, Directory, HomeKeys, ServerKeys
from fedhome.secagg.directory import Signed
from fedhome.secagg.store import FileStore
from fedhome.update import Layout
from server import checkpoint
from server import releases as server_releases
from server.front import Front
from server.place import Place, Settings
from server.publishing import FAILED, MODELS, RELEASED, Publisher, registry_of
from server.rounds import Rounds
from server.strategies import strategy_of
from simulations.homes import generate
from simulations.processes import prepare, start

NEW = ServerKeys(b"n" * 32)
SMALL = Layout(("w",), ((2,),))
INITIAL = np.array([1.0, 2.0], np.float32)
STEPS = np.array([[4.0, 0.0], [0.0, 8.0], [-4.0, 4.0]], np.float32)
WEIGHTS = (1, 2, 1)
# A round adds the weighted mean of the steps: (4 - 4, 2 * 8 + 4) / 4.
MODEL_OF = {number: [1.0, 2.0 + 5.0 * number] for number in range(8)}

How = Callable[[Message, int], Message | None]


# The server: what becomes a release.


def home(message: Message, position: int) -> Message:
    """Add the home's own step to the model; the loss falls with each round."""
    flat = read_flat(SMALL, content_of(message)[0])
    if message.metadata.message_type == "train":
        metrics = {EXAMPLES: WEIGHTS[position]}
        return reply(message, metrics, array_record(SMALL, flat + STEPS[position]))
    return reply(message, {EXAMPLES: 1, "loss": float(-flat[1]), "score": 0.0})


def silent_in(*rounds: int) -> How:
    def answer(message: Message, position: int) -> Message | None:
        told = content_of(message)[1]
        silent = told["server-round"] in rounds and message.metadata.message_type == "train"
        return None if silent else home(message, position)

    return answer


def rising_after(best: int) -> How:
    """Answer with losses that rise from some round on."""

    def answer(message: Message, position: int) -> Message:
        number = content_of(message)[1]["server-round"]
        if message.metadata.message_type == "train":
            return home(message, position)
        return reply(message, {EXAMPLES: 1, "loss": abs(float(number) - best), "score": 0.0})

    return answer


class Server:
    """A run over three homes, and the registry in the folder beside it."""

    def __init__(self, folder: Path, how: How = home, **rounds: Any) -> None:
        self.how = how
        self.plan = tiny.plan(rounds={"count": 3, **rounds})
        self.run = RunFolder(folder / "run-1")
        self.models = folder / MODELS

    def play(self, *, resumed: bool = False, keep: int = 20, keys: ServerKeys = SERVER) -> Rounds:
        if not resumed:
            self.run = RunFolder.create(self.run.path)
            self.run.write_plan(self.plan.to_toml())
        with EventLog(self.run.events_path) as log:
            log.append("run-resumed" if resumed else "run-started")
            publisher = Publisher(
                self.models, fleet=FLEET, keys=keys, run=self.run, log=log, keep=keep
            )
            rounds = Rounds(
                plan=self.plan,
                strategy=strategy_of(self.plan, 3),
                grid=tiny.FakeGrid(3, self.how),
                layout=SMALL,
                initial=INITIAL,
                folder=self.run,
                log=log,
                publisher=publisher,
            )
            if resumed:
                rounds.resume()
            rounds.run()
        return rounds

    @property
    def registry(self) -> Registry:
        registry = Registry.open(self.models)
        assert registry.verify().faults == ()
        return registry

    def rounds(self) -> list[int]:
        """Return the round of each release, the oldest first."""
        return [release.manifest.round for release in self.registry.releases()]

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.run.read_events() if event.event == kind]


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
        patch.setattr(Publisher, "_tell", dying)
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


# The door: who is given it.

HOMES = {name: HomeKeys(name, bytes([n]) * 32, bytes([n + 9]) * 32) for n, name in enumerate("abc")}
OWNER = Authority(b"o" * 32)


def directory_of(*names: str, epoch: int = 1, server: ServerKeys = SERVER) -> bytes:
    return OWNER.issue(
        Directory(
            fleet=FLEET,
            epoch=epoch,
            seed=b"s" * 32,
            server=server.public,
            committee=1,
            corrupt=0,
            threshold=1,
            homes=tuple(HOMES[name].entry() for name in names),
        )
    )


class Hub:
    """A server's folder with a door, and homes that ask at it."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder / "server")
        self.place.fleet.mkdir(parents=True)
        self.anchor = Anchor(fleet=FLEET, authority=OWNER.public)
        (self.place.fleet / ANCHOR).write_text(self.anchor.to_text())
        self.sign("a", "b")
        self.door = server_releases.Releases(self.place)
        self.asked: list[bytes] = []
        self.told: bytes | None = None  # what somebody in between tells instead

    def sign(self, *names: str, epoch: int = 1, server: ServerKeys = SERVER) -> None:
        new = self.place.fleet / "new"
        new.write_bytes(directory_of(*names, epoch=epoch, server=server))
        os.replace(new, self.place.fleet / DIRECTORY)  # noqa: PTH105

    def publish(self, number: int, keys: ServerKeys = SERVER) -> Registry:
        registry = registry_of(self.place.folder / MODELS, fleet=FLEET, keys=keys)
        registry.publish(draft(number), keys)
        return registry

    def ask(self, address: str, authorities: bytes, path: str, body: bytes) -> bytes:
        assert (address, authorities, path) == ("hub.example:1", b"pem", RELEASE)
        self.asked.append(body)
        try:
            answer = self.door.answer(body)
        except SecAggError as error:
            raise LinkError(error.message, reason=error.reason, hint=error.hint) from None
        return answer if self.told is None else self.told

    def home(self, folder: Path, *, epoch: int = 1, server: ServerKeys = SERVER) -> HomePlace:
        place = HomePlace(folder)
        if not folder.exists():
            folder.mkdir()
            settings = HomeSettings(home="a", server="hub.example:1", data="x")
            place.fill(settings, plan=Plan.load(), anchor=self.anchor, authorities=b"pem")
        place.keep_directory(directory_of("a", "b", epoch=epoch, server=server))
        return place


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path)
    monkeypatch.setattr(clients.releases, "ask", hub.ask)
    return hub


def question(name: str = "a", have: bytes | None = None, **changes: Any) -> bytes:
    fetch = replace(Fetch.of(HOMES[name], FLEET, have), **changes)
    return fetch.sign(HOMES[name])


def test_a_home_is_given_the_newest_release(hub: Hub) -> None:
    assert hub.door.answer(question()) == b""  # there is no registry yet
    registry = registry_of(hub.place.folder / MODELS, fleet=FLEET, keys=SERVER)
    assert hub.door.answer(question()) == b""  # nor a release
    for number in (1, 2):
        hub.publish(number)
        assert hub.door.answer(question()) == registry.package()
    first, second = (release.hash for release in registry.releases())
    assert hub.door.answer(question("b", first)) == registry.package()
    assert hub.door.answer(question("b", second)) == b""
    # A home that has what this server does not know is given the newest, and complains.
    assert hub.door.answer(question("b", b"x" * 32)) == registry.package()
    hub.publish(1, NEW)
    assert hub.door.answer(question("b", second)) == Registry.open(registry.folder).package()


def test_what_has_not_changed_is_not_read_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.publish(1)
    package = hub.door.answer(question())
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "open", lambda *_: pytest.fail("it was read again"))
        patch.setattr(Place, "directory", lambda _: pytest.fail("it was read again"))
        assert hub.door.answer(question()) == package
    hub.publish(2)
    assert hub.door.answer(question()) != package


def test_nobody_else_is_given_a_model(hub: Hub) -> None:
    hub.publish(1)
    forged = replace(Fetch.of(HOMES["b"], FLEET, None), home="a").sign(HOMES["b"])
    now = int(time.time())
    refused: dict[bytes, str] = {
        question("c"): "not-listed",
        forged: "signature",
        question(fleet=b"g" * 16): "fleet",
        question(time=now - 200): "clock",
        question(time=now + 200): "clock",
    }
    for body, reason in refused.items():
        with pytest.raises(DirectoryError) as caught:
            hub.door.answer(body)
        assert caught.value.reason == reason
    good = question()
    for place in range(len(good)):
        flipped = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        with pytest.raises((DirectoryError, WireError)):
            hub.door.answer(flipped)
    for body in (b"", good[:-1], good + b"\0", bytes(MOST + 1)):
        with pytest.raises(WireError):
            hub.door.answer(body)
    # What a home signed for another purpose is no request.
    body = Fetch.of(HOMES["a"], FLEET, None).to_bytes()
    bare = Signed(body=body, signature=HOMES["a"].sign(body)).to_bytes()
    with pytest.raises(DirectoryError, match="not signed"):
        hub.door.answer(bare)


def test_a_new_directory_counts_at_once(hub: Hub) -> None:
    hub.publish(1)
    hub.door.answer(question("b"))
    hub.sign("a", "c", epoch=2)
    assert hub.door.answer(question("c"))
    with pytest.raises(DirectoryError) as caught:
        hub.door.answer(question("b"))
    assert caught.value.reason == "not-listed"


def test_a_damaged_registry_is_no_answer(hub: Hub) -> None:
    hub.publish(1)
    (hub.place.folder / MODELS / "releases" / "00000001.model").write_bytes(b"x")
    for _ in range(2):
        with pytest.raises(RegistryError):
            hub.door.answer(question())


def test_the_front_has_the_door(tmp_path: Path) -> None:
    settings = Settings(host="127.0.0.1", port=1, link_port=2)
    front = Front(Place.create(tmp_path / "server", settings, names=["localhost"]))
    assert len(question()) <= front._doors[RELEASE].most == MOST


# The home: what it takes.


@pytest.fixture
def taken(hub: Hub, tmp_path: Path) -> Releases:
    """A home that has taken the second release."""
    hub.publish(1)
    hub.publish(2)
    releases = Releases(hub.home(tmp_path / "home"), HOMES["a"])
    assert releases.update() is not None
    return releases


def has(releases: Releases, number: int, seed: int | None = None) -> bool:
    """Return whether a home has a release, now and after it was started again."""
    again = Releases(releases._place, HOMES["a"])
    current = again.current()
    assert current is not None
    expected = numbers(number if seed is None else seed).tobytes()
    same = [one.model.flat.tobytes() == expected for one in (current, releases.current()) if one]
    return current.manifest.number == number and same == [True, True]


def refused(releases: Releases, **arguments: Any) -> str:
    with pytest.raises(ReleaseError) as caught:
        releases.update(**arguments)
    assert caught.value.hint
    return caught.value.reason


def test_a_home_keeps_up_with_its_server(hub: Hub, tmp_path: Path) -> None:
    place = hub.home(tmp_path / "home")
    releases = Releases(place, HOMES["a"])
    assert releases.update() is None
    assert releases.current() is None
    for number in (1, 2):
        hub.publish(number)
        manifest = releases.update()
        assert manifest is not None
        assert (manifest.number, manifest.round) == (number, number)
        assert has(releases, number)
        assert releases.update() is None
    for _ in range(3):  # releases that it misses
        registry = hub.publish(len(Registry.open(hub.place.folder / MODELS).releases()) + 1)
    again = Releases(place, HOMES["a"])
    assert again.update() == registry.find("latest").manifest
    assert has(again, 5)
    registry.rollback(1, SERVER)
    assert again.update() is not None
    assert has(again, 6, seed=1)
    # It is told nothing that it has.
    assert again.update(layout=LAYOUT.hash) is None
    assert Releases(place, HOMES["a"]).update() is None


def test_without_a_directory_nothing_can_be_checked(hub: Hub, tmp_path: Path) -> None:
    hub.publish(1)
    place = hub.home(tmp_path / "home")
    (place.folder / "directory.fh").unlink()
    assert Releases(place, HOMES["a"]).update() is None
    assert hub.asked == []


def test_a_home_that_is_no_more_in_the_fleet(hub: Hub, taken: Releases) -> None:
    hub.publish(3)
    hub.sign("b", epoch=2)
    with pytest.raises(LinkError) as caught:
        taken.update()
    assert caught.value.reason == "not-listed"
    assert has(taken, 2)


def test_what_does_not_hold_is_refused_and_the_model_stays(
    hub: Hub, taken: Releases, tmp_path: Path
) -> None:
    registry = hub.publish(3)
    good = registry.package()
    other = Shelf.of(tmp_path / "other", rounds=0).registry
    for number in (7, 8, 9):
        other.publish(draft(number), SERVER)
    foreign = Registry.create(tmp_path / "foreign", fleet=b"g" * 16, server=SERVER.public)
    foreign.publish(draft(1), SERVER)
    stranger = Registry.create(tmp_path / "stranger", fleet=FLEET, server=NEW.public)
    stranger.publish(draft(1), NEW)
    told: dict[bytes, str] = {
        good[:-1] + bytes([good[-1] ^ 1]): "altered",
        good[:300] + bytes([good[300] ^ 1]) + good[301:]: "signature",
        good[:-1]: "truncated",
        good[:20]: "truncated",
        b"nonsense": "foreign",
        registry.package(1): "older",
        other.package(8): "fork",
        other.package(9): "chain",
        foreign.package(): "fleet",
        stranger.package(): "signature",
    }
    before = {path.name: path.read_bytes() for path in (taken._folder).iterdir()}
    for data, reason in told.items():
        hub.told = data
        assert refused(taken) == reason
        assert has(taken, 2)
        assert {path.name: path.read_bytes() for path in taken._folder.iterdir()} == before
    hub.told = good
    assert refused(taken, layout=SMALL.hash) == "layout"
    assert has(taken, 2)
    assert taken.update(layout=LAYOUT.hash) is not None
    assert has(taken, 3)


@pytest.mark.parametrize("first", [False, True])
def test_a_home_that_ends_at_any_step_has_the_old_model_or_the_new(
    hub: Hub, tmp_path: Path, first: bool
) -> None:
    """It takes its first release, for which it makes the folder, or a later one."""
    begin = hub.home(tmp_path / "home")
    hub.publish(1)
    if not first:
        Releases(begin, HOMES["a"]).update()
    registry = hub.publish(2)
    found = set()
    for step in range(1, 40):
        folder = tmp_path / str(step)
        shutil.copytree(begin.folder, folder)
        releases = Releases(HomePlace(folder), HOMES["a"])
        ended = False
        with failing(step, Crash()):
            try:
                releases.update()
                ended = True
            except Crash:
                pass
        again = Releases(HomePlace(folder), HOMES["a"])
        current = again.current()
        number = 0 if current is None else current.manifest.number
        found.add(number)
        again.update()
        assert has(again, 2)
        # What came before is gone for good, wherever it ended.
        hub.told = registry.package(1)
        assert refused(again) == "older"
        hub.told = None
        if ended:
            break
    assert found == {0 if first else 1, 2}
    assert step > 6


def test_a_full_disk_at_home(hub: Hub, taken: Releases) -> None:
    hub.publish(3)
    for step in range(1, 9):
        with failing(step, OSError(errno.ENOSPC, "")), pytest.raises(StateError) as caught:
            taken.update()
        assert caught.value.reason == "disk-full"
        if (current := Releases(taken._place, HOMES["a"]).current()) is not None:
            assert current.manifest.number in {2, 3}
    taken.update()
    assert has(taken, 3)


def test_a_damaged_model_is_fetched_again(taken: Releases) -> None:
    path = taken._folder / KEPT
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole[::-1]):
        path.write_bytes(damaged)
        again = Releases(taken._place, HOMES["a"])
        with pytest.raises(ReleaseError):
            again.current()
        assert again.update() is not None
        assert has(again, 2)


def test_a_home_that_cannot_remember_takes_nothing(hub: Hub, taken: Releases) -> None:
    (seen,) = taken._folder.glob("*.seen")
    whole = seen.read_bytes()
    hub.publish(3)
    for damaged in (b"", whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        seen.write_bytes(damaged)
        assert refused(taken) == "seen"
        assert has(taken, 2)
    seen.rename(seen.with_name(f"{NEW.public.hex()}.seen"))
    (taken._folder / f"{SERVER.public.hex()}.seen").write_bytes(whole)
    shutil.copyfile(
        taken._folder / f"{SERVER.public.hex()}.seen", taken._folder / f"{NEW.public.hex()}.seen"
    )
    hub.home(taken._place.folder, epoch=2, server=NEW)
    assert refused(taken) == "seen"  # of another key than its name says


def test_a_new_server_key_begins_anew_and_no_old_release_comes_back(
    hub: Hub, taken: Releases
) -> None:
    place = taken._place
    old = Registry.open(hub.place.folder / MODELS).package(1)
    hub.publish(1, NEW)
    assert refused(taken) == "signature"  # the home has no directory that names the new key
    hub.home(place.folder, epoch=2, server=NEW)
    manifest = taken.update()
    assert manifest is not None
    assert manifest.number == 1
    assert has(taken, 1)
    hub.publish(2, NEW)
    taken.update()
    assert has(taken, 2)
    hub.told = Registry.open(hub.place.folder / MODELS).package(1)
    assert refused(taken) == "older"
    hub.told = old
    assert refused(taken) == "signature"
    # The owner goes back to the first key: its releases count from where they were.
    hub.home(place.folder, epoch=3)
    assert refused(taken) == "older"
    hub.told = None
    hub.publish(3)
    manifest = taken.update()
    assert manifest is not None
    assert manifest.number == 3
    assert has(taken, 3)


# Server and homes as real processes.

ROUNDS = 3


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, list[HomePlace]]]:
    """A run whose server was killed after its first round, and went on; the front still runs."""
    root = tmp_path_factory.mktemp("deployed")
    plan = Plan.load(
        name="tiny",
        seed=3,
        data={"homes": 5, "days": 10},
        model={"hidden": [8]},
        rounds={"count": ROUNDS, "deadline_s": 60},
        personalise={"name": "none"},
    )
    folder = RunFolder.create(root / "run")
    folder.write_plan(plan.to_toml())
    server, places = prepare(root / "fleet", plan, generate(homes=5, days=10, seed=3))
    with Processes() as processes:
        start(processes, server, places)
        arguments = ("server.deploy", str(server.folder), str(folder.path), "120")
        processes.start("run", *arguments, ends=(0, 1))
        index = server.folder / MODELS / "registry.fh"

        def begun() -> bool:
            return index.exists() and bool(Registry.open(index.parent).releases())

        processes.until(begun, what="the first release", timeout_s=120)
        process = processes.children["run"].process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        assert processes.wait("run") == 0
        yield server, places


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="as in test_up")
def test_homes_take_what_a_real_server_published(
    deployed: tuple[Place, list[HomePlace]], tmp_path: Path
) -> None:
    server, places = deployed
    registry = Registry.open(server.folder / MODELS)
    assert registry.verify().faults == ()
    assert [release.manifest.round for release in registry.releases()] == list(range(1, ROUNDS + 1))
    run = RunFolder(server.folder.parents[1] / "run")
    for place in places:
        copy = HomePlace(shutil.copytree(place.folder, tmp_path / place.folder.name))
        with FileStore.open(copy.folder, home=copy.settings.home) as store:
            releases = Releases(copy, store.keys)
            releases.update()  # it may have any of them by itself, or none
            assert releases.update() is None
            current = releases.current()
            assert current is not None
            assert current.manifest.round == ROUNDS
            for name, array in run.read_model().parameters.items():
                np.testing.assert_array_equal(current.model.parameters[name], array)
    stranger = HomePlace(tmp_path / places[0].folder.name)
    with pytest.raises(LinkError) as caught:
        Releases(stranger, HomeKeys.create("home-0001")).update()
    assert caught.value.reason == "signature"
