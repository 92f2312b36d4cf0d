"""What tests of publishing share: a run that publishes, a server's door, homes that ask at it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

import fedhome.clients.agent.kept_releases
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.errors import LinkError, SecAggError
from fedhome.fleet.entries import Anchor
from fedhome.fleet.freshness import Freshness
from fedhome.fleet.front_requests import RELEASE
from fedhome.fleet.owner_folder import ANCHOR, DIRECTORY
from fedhome.fleet.release_request import Fetch, ReleaseResponse
from fedhome.flower.messages import EXAMPLES, array_record, content_of, read_flat, reply
from fedhome.plan.settings import Plan
from fedhome.registry import Registry
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.secagg import Authority, Directory, HomeKeys, ServerKeys
from fedhome.server.daemon.beginning import Beginning
from fedhome.server.daemon.home_marks import HomeMarks
from fedhome.server.daemon.newest import Newest
from fedhome.server.daemon.publishing import MODELS, Publisher, registry_of
from fedhome.server.daemon.release_door import ReleaseDoor
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.run_plan import end_with
from fedhome.server.strategies import strategy_of
from fedhome.wire.layout import Layout
from helpers import tiny
from helpers.registry_world import FLEET, SERVER, draft, on_another_machine

NEW = ServerKeys(b"n" * 32)
SMALL = Layout(("w",), ((2,),))
INITIAL = np.array([1.0, 2.0], np.float32)
STEPS = np.array([[4.0, 0.0], [0.0, 8.0], [-4.0, 4.0]], np.float32)
WEIGHTS = (1, 2, 1)
# A round adds the weighted mean of the steps: (4 - 4, 2 * 8 + 4) / 4.
MODEL_OF = {number: [1.0, 2.0 + 5.0 * number] for number in range(12)}

HOMES = {name: HomeKeys(name, bytes([n]) * 32, bytes([n + 9]) * 32) for n, name in enumerate("abc")}
OWNER = Authority(b"o" * 32)

How = Callable[[Message, int], Message | None]


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

    def next_run(self, how: How | None = None, *, fresh: bool = False) -> RoundLoop:
        """Play another run over the same homes."""
        number = int(self.run.path.name.removeprefix("run-")) + 1
        self.run = RunFolder(self.run.path.with_name(f"run-{number}"))
        self.how = how or self.how
        return self.play(fresh=fresh, draw=number)

    def play(
        self,
        *,
        resumed: bool = False,
        keep: int = 20,
        keys: ServerKeys = SERVER,
        fresh: bool = False,
        draw: int = 0,
    ) -> RoundLoop:
        if not resumed:
            self.run = RunFolder.create(self.run.path)
            self.run.write_plan(self.plan.to_toml())
            self.run.write_draw(draw)
            if fresh:
                self.run.write_fresh()
        with EventLog(self.run.events_path) as log:
            log.append("run-resumed" if resumed else "run-started")
            publisher = Publisher(
                self.models, fleet=FLEET, keys=keys, run=self.run, log=log, keep=keep
            )
            beginning = Beginning(
                self.plan,
                SMALL,
                folder=self.run,
                publisher=publisher,
                log=log,
                resumed=resumed,
            )
            start = self.run.read_start()
            rounds = RoundLoop(
                plan=self.plan,
                strategy=strategy_of(self.plan, 3),
                grid=tiny.FakeGrid(3, self.how),
                layout=SMALL,
                initial=INITIAL if start is None else SMALL.flatten(start.parameters),
                warm=start is not None,
                folder=self.run,
                log=log,
            )
            if resumed:
                rounds.resume()
            rounds.run()
            end_with(publisher, beginning, rounds)
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


def directory_of(
    *names: str, epoch: int = 1, server: ServerKeys = SERVER, expires: int = 2**40
) -> bytes:
    return OWNER.issue(
        Directory(
            fleet=FLEET,
            epoch=epoch,
            expires=expires,
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
        self.place = ServerFolder(folder / "server")
        self.place.fleet.mkdir(parents=True)
        self.anchor = Anchor(fleet=FLEET, authority=OWNER.public)
        (self.place.fleet / ANCHOR).write_text(self.anchor.to_text())
        self.key = SERVER
        self.sign("a", "b")
        self.newest = Newest(self.place, keys=lambda: self.key)
        self.door = ReleaseDoor(self.newest, HomeMarks(self.place.fleet))
        self.asked: list[bytes] = []
        self.told: bytes | None = None  # the release that is told instead
        self.missed: tuple[bytes, ...] = ()  # and the manifests with it
        self.said: bytes | None = None  # and the server's word on what is newest

    def sign(self, *names: str, epoch: int = 1, server: ServerKeys = SERVER) -> None:
        self.key = server
        new = self.place.fleet / "new"
        new.write_bytes(directory_of(*names, epoch=epoch, server=server))
        os.replace(new, self.place.fleet / DIRECTORY)  # noqa: PTH105

    def publish(self, number: int, keys: ServerKeys = SERVER) -> Registry:
        registry = registry_of(self.place.path / MODELS, fleet=FLEET, keys=keys)
        registry.publish(draft(number), keys)
        return registry

    def ask(self, address: str, authorities: bytes, path: str, body: bytes) -> bytes:
        assert (address, authorities, path) == ("hub.example:1", b"pem", RELEASE)
        self.asked.append(body)
        try:
            with on_another_machine():
                answer = self.door.answer(body)
        except SecAggError as error:
            raise LinkError(error.message, reason=error.reason, hint=error.hint) from None
        if self.told is None:
            return answer
        said = self.said or ReleaseResponse.from_bytes(answer).freshness
        return ReleaseResponse(freshness=said, missed=self.missed, release=self.told).to_bytes()

    def says(self, number: int, release: bytes, **changes: Any) -> bytes:
        """Return the server's signed word on what is newest, whatever is."""
        directory = self.newest.directory()
        said = Freshness.of(directory, now=time.time(), number=number, release=release)
        return replace(said, **changes).sign(self.key)

    def home(self, folder: Path, *, epoch: int = 1, server: ServerKeys = SERVER) -> HomeFolder:
        place = HomeFolder(folder)
        if not folder.exists():
            folder.mkdir()
            settings = HomeSettings(home="a", server="hub.example:1", data="x")
            place.fill(settings, plan=Plan.load(), anchor=self.anchor, authorities=b"pem")
        place.keep_directory(directory_of("a", "b", epoch=epoch, server=server))
        return place


def hub_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Return a hub at which homes ask instead of over a link."""
    hub = Hub(folder)
    monkeypatch.setattr(fedhome.clients.agent.kept_releases, "ask", hub.ask)
    return hub


def newest(data: bytes) -> bytes:
    """Return the release in a server's answer."""
    return ReleaseResponse.from_bytes(data).release


def question(name: str = "a", have: bytes | None = None, **changes: Any) -> bytes:
    fetch = replace(Fetch.of(HOMES[name], FLEET, have), **changes)
    return fetch.sign(HOMES[name])
