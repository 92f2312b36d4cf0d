"""The server says, and signs, what is newest; and says it anew every hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.errors import DirectoryError, RegistryError
from fedhome.fleet.freshness import Freshness
from fedhome.registry import Registry
from fedhome.registry.release import NONE
from fedhome.registry.vault import INDEX
from fedhome.secagg.directory import Signed
from fedhome.server.daemon.newest import SAID_ANEW_S, Newest
from fedhome.server.daemon.publishing import MODELS, registry_folder, registry_of
from fedhome.server.rounds import masked_sums
from helpers.publishing import NEW, Hub, hub_in
from helpers.registry_world import FLEET, SERVER
from helpers.wired_fleet import WiredFleet, secure_plan

NOW = 1_800_000_000


class Server:
    """What is newest at a hub, by a clock that tests set."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.now = hub, float(NOW)
        self.newest = Newest(hub.place, keys=lambda: hub.key, clock=lambda: self.now)

    def says(self) -> Freshness:
        data = self.newest.statement()
        return Freshness.verify(data, self.newest.directory(), now=self.now)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(hub_in(tmp_path, monkeypatch))


def test_it_says_which_directory_and_release_are_the_newest(server: Server) -> None:
    directory = server.newest.directory()
    said = server.says()
    assert (said.fleet, said.epoch, said.directory) == (FLEET, 1, directory.hash)
    assert (said.number, said.release, said.time) == (0, NONE, NOW)
    registry = server.hub.publish(1)
    said = server.says()
    assert (said.number, said.release) == (1, registry.find("latest").hash)
    server.hub.sign("a", "b", epoch=2)
    assert server.says().epoch == 2


def test_it_says_the_same_for_an_hour(server: Server) -> None:
    first = server.newest.statement()
    server.now += SAID_ANEW_S
    assert server.newest.statement() == first
    server.now += 1
    assert server.says().time == server.now
    server.now -= 10  # its clock was set right
    assert server.says().time == server.now


def test_it_speaks_of_the_key_that_the_directory_names(server: Server) -> None:
    first = server.hub.publish(1)
    mine = first.find("latest").hash
    models = server.hub.place.path / MODELS
    server.hub.publish(2, NEW)  # the registry of the first key is set aside
    assert server.says().release == mine
    server.hub.sign("a", "b", epoch=2, server=NEW)
    assert server.says().release == Registry.open(models).find("latest").hash
    server.hub.sign("a", "b", epoch=3)
    assert server.says().release == mine
    registry_of(models, fleet=FLEET, keys=SERVER)
    assert server.says().release == mine
    assert registry_folder(models, b"k" * 32) is None


def test_a_server_with_another_key_than_the_directory_names_says_nothing(server: Server) -> None:
    server.hub.key = NEW
    with pytest.raises(DirectoryError) as caught:
        server.newest.statement()
    assert caught.value.reason == "server"
    assert caught.value.hint


def test_a_server_that_cannot_read_its_registry_says_nothing(server: Server) -> None:
    server.hub.publish(1)
    index = server.hub.place.path / MODELS / INDEX
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(RegistryError):
        server.newest.statement()


def test_a_word_has_one_form(server: Server) -> None:
    data = server.newest.statement()
    said = server.says()
    assert Freshness.from_bytes(Signed.from_bytes(data).body) == said
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(DirectoryError):
            Freshness.verify(flipped, server.newest.directory(), now=server.now)


def test_a_server_that_cannot_name_the_newest_release_asks_for_no_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> tuple[int, bytes]:
        raise RegistryError("the disk is gone", reason="disk", hint="bring it back")

    fleet = WiredFleet(tmp_path, secure_plan(rounds={"count": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(masked_sums, "no_release", fails)
        with fleet.run() as rounds:
            rounds.run()
    assert "the newest release cannot be named: the disk is gone" in fleet.events
    assert fleet.wire.refusals == []
