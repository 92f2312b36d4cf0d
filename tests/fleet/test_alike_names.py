"""A device chooses the name in its entry, and owners revoke by name: no two look the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.errors import DirectoryError
from fedhome.fleet.alike_names import check_apart, look_of
from fedhome.fleet.entries import entry_text, read_entry
from fedhome.secagg import HomeKeys
from helpers.invite_world import CARD, EXPIRES, PLAN, World, cheap_scrypt, reason_of, world_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    cheap_scrypt(monkeypatch)
    return world_of(tmp_path)


ALIKE = ("Oak", "OAK", "о\u0430k", "Οak", "ｏａｋ", "oaК")  # noqa: RUF001 - that is what is tried


@pytest.mark.parametrize("name", ALIKE)
def test_an_entry_that_looks_like_a_listed_home_is_not_listed(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name != "oak"
    entry = read_entry(entry_text(HomeKeys.create(name)))
    before = world.owned.homes
    assert reason_of(world.owned.add, entry) == "name-alike"
    assert reason_of(world.owned.add_trial, name) == "name-alike"
    assert not (world.owned.folder / "homes").exists()
    assert reason_of(world.invite, name) == "name-alike"
    assert world.owned.homes == before
    monkeypatch.setattr("fedhome.fleet.owner_folder.check_apart", lambda *_: None)
    world.owned.add(entry)
    assert {name, "oak"} < world.owned.homes.keys(), "the control: the owner would read oak twice"


def test_two_invites_that_look_the_same_are_not_given_out(world: World) -> None:
    world.invite("hub")
    world.invite("hub")  # a second one for the same home ends the first
    assert reason_of(world.invite, "Hub") == "name-alike"
    world.owned.revoke("hub")
    world.invite("Hub")
    added = HomeKeys.create("bay").entry(), HomeKeys.create("Bay").entry()
    assert reason_of(world.owned.add, *added) == "name-alike"


def test_a_listed_home_keeps_its_name_and_gets_another_plan(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fleets from before may have two such names: neither is refused afterwards."""
    with monkeypatch.context() as before:
        before.setattr("fedhome.fleet.owner_folder.check_apart", lambda *_: None)
        world.owned.add(HomeKeys.create("Oak").entry())
    world.owned.invite("Oak", card=CARD, plan=PLAN, expires=EXPIRES, again=True)
    world.owned.set_tier("oak", "small")
    world.sign()
    world.owned.revoke("Oak")
    assert reason_of(world.invite, "Oak") == "name-alike"


def test_names_that_people_tell_apart_are_apart() -> None:
    names = [
        "home-1",
        "home-l",
        "home-10",
        "o",
        "0",
        "küche",
        "kuche",
        "дом",
        "дом-2",
        "ö",
        "σπίτι",
    ]
    check_apart(names, ["home-2", "flat"])
    assert len({*map(look_of, names)}) == len(names)
    with pytest.raises(DirectoryError, match="looks like 'home-2'"):
        check_apart(["HOME-2"], [*names, "home-2"])
    check_apart(["home-2"], ["home-2"])
