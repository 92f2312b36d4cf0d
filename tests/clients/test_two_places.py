"""Two copies of a home's folder at once, with a server that asks both what it likes."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedhome.clients import supernode
from fedhome.clients.agent.status_report import StatusReport
from fedhome.clients.agent.store_in_use import open_store
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.errors import ManifestError, OpeningError
from fedhome.fleet.entries import Anchor
from fedhome.fleet.state_file import FileStore
from fedhome.plan.settings import Plan
from fedhome.secagg import HomeParty
from helpers.secagg_attacker import Eve, eve_of, join, refused, send, words_of
from helpers.secagg_world import FLEET, World

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

HOME = "h00"


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file by which a home knows a start of its machine."""
    path = tmp_path / "boot_id"
    path.write_text("one\n")
    monkeypatch.setattr("fedhome.clients.membership.home_folder._BOOT", path)
    return path


def settled(world: World, folder: Path) -> HomeFolder:
    """Keep a home's keys and state in a folder, with a bundle that waits, and its node's key."""
    place = HomeFolder(folder)
    with FileStore.create(folder, world.keys[HOME], state=world.homes[HOME].state):
        place.fill(
            HomeSettings(home=HOME, server="hub.example:8443", data="readings.csv"),
            plan=Plan.load(),
            anchor=Anchor(fleet=FLEET, authority=world.authority.public),
            authorities=b"",
        )
        place.node_key()
    return place


@contextmanager
def started(world: World, folder: Path) -> Iterator[World]:
    """Start the home in a folder as its agent does, in a fleet of its own with the same others."""
    place = HomeFolder(folder)
    store = open_store(place, threading.Event(), StatusReport(place))
    assert store is not None
    with store:
        yield _with(world, store)


def _with(world: World, store: FileStore) -> World:
    machine = HomeParty(
        store.keys, world.authority.public, state=store.state, store=store, policy=world.policy
    )
    machine.renew(world.issued)
    return replace(world, homes={**world.homes, HOME: machine})


@pytest.mark.parametrize("how", ["copy", "card"])
def test_a_copy_joins_no_sum_with_keys_of_the_first(tmp_path: Path, boot: Path, how: str) -> None:
    world = World.of(6)
    place, other = settled(world, tmp_path / "oak"), tmp_path / "copy"
    eve = eve_of(world)
    shutil.copytree(place.path, other)
    with started(world, place.path) as first:
        join(first, HOME, eve.signed)  # the control: the first one is where it was
    if how == "card":  # the very same folder, on another machine: only its start differs
        shutil.copytree(other, place.path, dirs_exist_ok=True)
        other = place.path
        boot.write_text("two\n")
    with started(world, other) as second:
        refused(ManifestError, "bundle-used", lambda: join(second, HOME, eve.signed))
        # It makes others, under numbers that were never used.
        before = second.homes[HOME].state.serial
        second.refill([HOME])
        assert sorted(second.homes[HOME].state.live) == [before + 1]
        HomeFolder(other).node_key()
    with started(world, other) as again:  # and keeps these, as it is where it was
        assert sorted(again.homes[HOME].state.live) == [before + 1]


@pytest.mark.parametrize("found", ["nothing", "no text", "empty"])
def test_where_no_start_is_told_a_home_is_told_that(
    tmp_path: Path, boot: Path, found: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As on other systems than Linux, and where a container hides it: a card's copy is the home."""
    world = World.of(6)
    place = settled(world, tmp_path / "oak")
    with started(world, place.path):
        assert "no copy of it" not in caplog.text  # the control
    boot.unlink()
    if found != "nothing":
        boot.write_bytes(b"\xff" if found == "no text" else b"")
    with started(world, place.path) as again:
        assert "no copy of it" in caplog.text
        assert not again.homes[HOME].state.live  # another mark than before: erased, to be safe


@pytest.mark.usefixtures("boot")
def test_a_stock_supernode_of_a_copy_has_no_keys_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.of(6)
    place, other = settled(world, tmp_path / "oak"), tmp_path / "copy"
    eve = eve_of(world)
    shutil.copytree(place.path, other)
    monkeypatch.setattr(supernode, "check_consent", lambda _: None)
    with supernode.open_store(place) as store:
        join(_with(world, store), HOME, eve.signed)  # the control
    with supernode.open_store(HomeFolder(other)) as store:
        second = _with(world, store)
        refused(ManifestError, "bundle-used", lambda: join(second, HOME, eve.signed))


@pytest.mark.usefixtures("boot")
def test_two_vectors_of_copies_under_one_mask_show_their_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above; and what a copy that cannot know it costs (a snapshot)."""
    world = World.of(6)
    place, other = settled(world, tmp_path / "oak"), tmp_path / "copy"
    eve = eve_of(world)
    shutil.copytree(place.path, other)
    monkeypatch.setattr(HomeFolder, "is_elsewhere", False)
    words, sent = [], []
    for number, folder in enumerate((place.path, other)):
        with started(world, folder) as copy:
            sent.append(words_of(eve.manifest, number))  # readings went on between the two
            eve.take(0, join(copy, HOME, eve.signed).upload(sent[-1].copy()))
            words.append(eve.words(0))
    assert not np.array_equal(words[0], sent[0])
    assert np.array_equal(words[1] - words[0], sent[1] - sent[0])


@pytest.mark.usefixtures("boot")
@pytest.mark.parametrize("twice_there", [True, False], ids=["in both sums", "in one"])
def test_copies_in_two_sums_are_opened_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice_there: bool
) -> None:
    """Also where a copy cannot know that it is one: members open its keys once."""
    world = World.of(7)
    place, other = settled(world, tmp_path / "oak"), tmp_path / "copy"
    eve = eve_of(world)
    shutil.copytree(place.path, other)
    monkeypatch.setattr(HomeFolder, "is_elsewhere", False)
    with started(world, place.path) as first:
        eve.world = first
        send(eve, range(7))
        eve.ask(range(7))
        assert eve.secret(0, own_mask=True) is not None
    # A second sum, about another model: new keys of the others, the same of the copy.
    with started(world, other) as second:
        second.refill([home for home in world.homes if home != HOME])
        others = second.pool.take([home for home in world.homes if home != HOME])
        bundles = {HOME: eve.bundles[0], **others}
        signed = replace(second.manifest(bundles, turn=2, round=2), model_hash=b"x" * 32).sign(
            world.server
        )
        again = Eve(second, signed, list(bundles.values()), eve.loot)
        send(again, range(7), seed=50)
        with pytest.raises(OpeningError) as raised:
            again.ask(range(7) if twice_there else range(1, 7))
        assert raised.value.reason == "conflict"
        # Of its own mask she knows the secret; of the masks with others nothing.
        assert again.secret(0, own_mask=False) is None
        assert again.bare(0) is None
