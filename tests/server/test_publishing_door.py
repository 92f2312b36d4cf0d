"""The server's door gives the newest release to homes of its fleet, and to nobody else."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from fedhome.errors import DirectoryError, RegistryError, WireError
from fedhome.fleet.front_requests import RELEASE
from fedhome.fleet.release_request import MOST, Fetch, ReleaseResponse
from fedhome.registry import Registry
from fedhome.secagg.directory import Signed
from fedhome.server.daemon import release_door
from fedhome.server.daemon.front import Front
from fedhome.server.daemon.publishing import MODELS, registry_of
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from helpers.publishing import HOMES, NEW, Hub, hub_in, newest, question
from helpers.registry_world import FLEET, SERVER


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return hub_in(tmp_path, monkeypatch)


def test_a_home_is_given_the_newest_release(hub: Hub) -> None:
    assert newest(hub.door.answer(question())) == b""  # there is no registry yet
    registry = registry_of(hub.place.path / MODELS, fleet=FLEET, keys=SERVER)
    assert newest(hub.door.answer(question())) == b""  # nor a release
    for number in (1, 2):
        hub.publish(number)
        assert newest(hub.door.answer(question())) == registry.package()
    first, second = (release.hash for release in registry.releases())
    assert newest(hub.door.answer(question("b", first))) == registry.package()
    assert newest(hub.door.answer(question("b", second))) == b""
    # A home that has what this server does not know is given the newest, and complains.
    assert newest(hub.door.answer(question("b", b"x" * 32))) == registry.package()
    # Of a key that the directory does not name nothing is given: the registry that it names lies
    # aside then, until its key is in use again.
    package = registry.package()
    hub.publish(1, NEW)
    assert newest(hub.door.answer(question("b", first))) == package
    assert newest(hub.door.answer(question("b", second))) == b""
    hub.sign("a", "b", epoch=2, server=NEW)
    package = Registry.open(registry.folder).package()
    assert newest(hub.door.answer(question("b", second))) == package


def test_a_home_that_missed_releases_gets_their_manifests(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 8):
        registry = hub.publish(number)
    manifests = [release.signed.to_bytes() for release in registry.releases()]
    for most, expected in (
        (5, manifests[1:6]),  # 2 to 6, and the seventh whole
        (4, manifests[1:5]),  # more than fit: the home asks again
        (1, manifests[1:2]),
    ):
        monkeypatch.setattr(release_door, "MOST_MISSED", most)
        response = ReleaseResponse.from_bytes(hub.door.answer(question(seen=1)))
        assert response.missed == tuple(expected)
        assert response.release == (registry.package() if most == 5 else b"")
    monkeypatch.undo()
    # One that knows none begins with the newest; one that knows all, or more, misses none.
    for seen in (0, 6, 7, 9, 2**62):
        response = ReleaseResponse.from_bytes(hub.door.answer(question(seen=seen)))
        assert (response.missed, response.release) == ((), registry.package())


def test_what_has_not_changed_is_not_read_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.publish(1)
    package = newest(hub.door.answer(question()))
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "open", lambda *_: pytest.fail("it was read again"))
        patch.setattr(ServerFolder, "directory", lambda _: pytest.fail("it was read again"))
        assert newest(hub.door.answer(question())) == package
    hub.publish(2)
    assert newest(hub.door.answer(question())) != package


def test_nobody_else_is_given_a_model(hub: Hub) -> None:
    hub.publish(1)
    forged = replace(Fetch.of(HOMES["b"], FLEET, None), home="a").sign(HOMES["b"])
    now = int(time.time())
    refused: dict[bytes, str] = {
        question("c"): "not-listed",
        forged: "signature",
        question(fleet=b"g" * 16): "fleet",
        question(time=now - 86_400): "clock",
        question(time=now + 86_400): "clock",
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
    assert newest(hub.door.answer(question("c")))
    with pytest.raises(DirectoryError) as caught:
        hub.door.answer(question("b"))
    assert caught.value.reason == "not-listed"


def test_a_damaged_registry_is_no_answer(hub: Hub) -> None:
    hub.publish(1)
    (hub.place.path / MODELS / "releases" / "00000001.model").write_bytes(b"x")
    for _ in range(2):
        with pytest.raises(RegistryError):
            hub.door.answer(question())


def test_the_front_has_the_door(tmp_path: Path) -> None:
    settings = ServerSettings(host="127.0.0.1", port=1)
    front = Front(ServerFolder.create(tmp_path / "server", settings, names=["localhost"]))
    assert len(question()) <= front._routes[RELEASE].most == MOST
