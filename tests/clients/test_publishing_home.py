"""A home takes the releases of its server, and nothing else."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from fedhome.clients.agent import kept_releases
from fedhome.clients.agent.kept_releases import RELEASE_FILE, ReleaseKeeper
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DirectoryError, LinkError, ReleaseError, StateError
from fedhome.registry import Registry
from fedhome.server.daemon import release_door
from fedhome.server.daemon.publishing import MODELS
from helpers.publishing import HOMES, NEW, SMALL, Hub, hub_in
from helpers.registry_world import FLEET, LAYOUT, SERVER, Crash, Shelf, draft, failing, numbers


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return hub_in(tmp_path, monkeypatch)


@pytest.fixture
def taken(hub: Hub, tmp_path: Path) -> ReleaseKeeper:
    """A home that has taken the second release."""
    hub.publish(1)
    hub.publish(2)
    releases = ReleaseKeeper(hub.home(tmp_path / "home"), HOMES["a"])
    assert releases.update() is not None
    return releases


def has(releases: ReleaseKeeper, number: int, seed: int | None = None) -> bool:
    """Return whether a home has a release, now and after it was started again."""
    again = ReleaseKeeper(releases._home_folder, HOMES["a"])
    current = again.current()
    assert current is not None
    expected = numbers(number if seed is None else seed).tobytes()
    same = [one.model.flat.tobytes() == expected for one in (current, releases.current()) if one]
    return current.manifest.number == number and same == [True, True]


def refused(releases: ReleaseKeeper, **arguments: Any) -> str:
    with pytest.raises((ReleaseError, DirectoryError)) as caught:
        releases.update(**arguments)
    assert caught.value.hint
    return caught.value.reason


def test_a_home_keeps_up_with_its_server(hub: Hub, tmp_path: Path) -> None:
    place = hub.home(tmp_path / "home")
    releases = ReleaseKeeper(place, HOMES["a"])
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
        registry = hub.publish(len(Registry.open(hub.place.path / MODELS).releases()) + 1)
    again = ReleaseKeeper(place, HOMES["a"])
    assert again.update() == registry.find("latest").manifest
    assert has(again, 5)
    registry.rollback(1, SERVER)
    assert again.update() is not None
    assert has(again, 6, seed=1)
    # It is told nothing that it has.
    assert again.update(layout=LAYOUT.hash) is None
    assert ReleaseKeeper(place, HOMES["a"]).update() is None


def test_without_a_directory_nothing_can_be_checked(hub: Hub, tmp_path: Path) -> None:
    hub.publish(1)
    place = hub.home(tmp_path / "home")
    (place.path / "directory.fh").unlink()
    assert ReleaseKeeper(place, HOMES["a"]).update() is None
    assert hub.asked == []


def test_a_home_that_was_away_for_long_walks_to_the_newest_release(
    hub: Hub, taken: ReleaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3, 13):
        hub.publish(number)
    monkeypatch.setattr(release_door, "MOST_MISSED", 4)
    asked = len(hub.asked)
    manifest = taken.update()
    assert manifest is not None
    assert has(taken, 12)
    assert len(hub.asked) - asked == 3  # 3 to 6, 7 to 10, and 11 with the twelfth


def test_what_was_walked_is_remembered_though_no_model_came(
    hub: Hub, taken: ReleaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3, 13):
        registry = hub.publish(number)
    monkeypatch.setattr(release_door, "MOST_MISSED", 4)
    monkeypatch.setattr(kept_releases, "_MOST_REQUESTS", 1)
    assert taken.update() is None
    assert has(taken, 2)
    hub.told = registry.package(5)
    assert refused(taken) == "older"
    hub.told = None
    assert taken.update() is None  # 7 to 10
    assert taken.update() is not None
    assert has(taken, 12)


def test_a_server_that_leaves_releases_out_or_never_arrives_is_refused(
    hub: Hub, taken: ReleaseKeeper
) -> None:
    for number in range(3, 6):
        registry = hub.publish(number)
    hub.told = registry.package()
    for missed, reason in (
        ((), "gap"),
        (registry.missed(4, 4), "gap"),
        (registry.missed(2, 2), "chain"),
        ((b"none",), "format"),
        (registry.missed(3, 3), "gap"),
    ):
        hub.missed = missed
        assert refused(taken) == reason
        assert has(taken, 2)
    hub.told, hub.missed = b"", registry.missed(4, 4) * 2  # the third was seen
    assert refused(taken) == "chain"
    hub.told, hub.missed = registry.package(), registry.missed(4, 4)
    assert taken.update() is not None
    assert has(taken, 5)


def test_what_is_no_answer_is_refused(
    taken: ReleaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_releases, "ask", lambda *_: b"nonsense")
    assert refused(taken) == "foreign"
    assert has(taken, 2)


def test_a_home_that_is_no_more_in_the_fleet(hub: Hub, taken: ReleaseKeeper) -> None:
    hub.publish(3)
    hub.sign("b", epoch=2)
    with pytest.raises(LinkError) as caught:
        taken.update()
    assert caught.value.reason == "not-listed"
    assert has(taken, 2)


def test_what_does_not_hold_is_refused_and_the_model_stays(
    hub: Hub, taken: ReleaseKeeper, tmp_path: Path
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


@pytest.mark.long
@pytest.mark.parametrize("first", [False, True])
def test_a_home_that_ends_at_any_step_has_the_old_model_or_the_new(
    hub: Hub, tmp_path: Path, first: bool
) -> None:
    """It takes its first release, for which it makes the folder, or a later one."""
    begin = hub.home(tmp_path / "home")
    hub.publish(1)
    if not first:
        ReleaseKeeper(begin, HOMES["a"]).update()
    registry = hub.publish(2)
    found = set()
    for step in range(1, 40):
        folder = tmp_path / str(step)
        shutil.copytree(begin.path, folder)
        releases = ReleaseKeeper(HomeFolder(folder), HOMES["a"])
        ended = False
        with failing(step, Crash()):
            try:
                releases.update()
                ended = True
            except Crash:
                pass
        again = ReleaseKeeper(HomeFolder(folder), HOMES["a"])
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


def test_a_full_disk_at_home(hub: Hub, taken: ReleaseKeeper) -> None:
    hub.publish(3)
    for step in range(1, 9):
        with failing(step, OSError(errno.ENOSPC, "")), pytest.raises(StateError) as caught:
            taken.update()
        assert caught.value.reason == "disk-full"
        if (current := ReleaseKeeper(taken._home_folder, HOMES["a"]).current()) is not None:
            assert current.manifest.number in {2, 3}
    taken.update()
    assert has(taken, 3)


def test_a_damaged_model_is_fetched_again(taken: ReleaseKeeper) -> None:
    path = taken._folder / RELEASE_FILE
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole[::-1]):
        path.write_bytes(damaged)
        again = ReleaseKeeper(taken._home_folder, HOMES["a"])
        with pytest.raises(ReleaseError):
            again.current()
        assert again.update() is not None
        assert has(again, 2)


def test_a_home_that_cannot_remember_takes_nothing(hub: Hub, taken: ReleaseKeeper) -> None:
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
    hub.home(taken._home_folder.path, epoch=2, server=NEW)
    assert refused(taken) == "seen"  # of another key than its name says


def test_a_new_server_key_begins_anew_and_no_old_release_comes_back(
    hub: Hub, taken: ReleaseKeeper
) -> None:
    place = taken._home_folder
    old = Registry.open(hub.place.path / MODELS).package(1)
    hub.publish(1, NEW)
    assert taken.update() is None  # the directory names the old key, whose releases it has
    hub.sign("a", "b", epoch=2, server=NEW)
    assert refused(taken) == "signature"  # the home has no directory that names the new key
    hub.home(place.path, epoch=2, server=NEW)
    manifest = taken.update()
    assert manifest is not None
    assert manifest.number == 1
    assert has(taken, 1)
    hub.publish(2, NEW)
    taken.update()
    assert has(taken, 2)
    hub.told = Registry.open(hub.place.path / MODELS).package(1)
    assert refused(taken) == "older"
    hub.told = old
    assert refused(taken) == "signature"
    # The owner goes back to the first key: its releases count from where they were.
    hub.sign("a", "b", epoch=3)
    hub.home(place.path, epoch=3)
    assert refused(taken) == "older"
    hub.told = None
    hub.publish(3)
    manifest = taken.update()
    assert manifest is not None
    assert manifest.number == 3
    assert has(taken, 3)
