"""A device chooses the name in its entry, and owners revoke by name: no two look the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fedhome.cli import app, fleet_admit
from fedhome.errors import DirectoryError
from fedhome.fleet.alike_names import alike_in, check_apart, look_of
from fedhome.fleet.entries import entry_text, read_entry
from fedhome.secagg import HomeKeys
from helpers.invite_world import (
    CARD,
    EXPIRES,
    NOW,
    PLAN,
    World,
    reason_of,
    stop_the_clock,
    world_of,
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    stop_the_clock(monkeypatch)
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ΝΙΚΗ", "νικη"),  # noqa: RUF001 - capitals look Latin, and small ones do not
        ("ΝΙΚΗ", "Νικη"),  # noqa: RUF001
        ("Һome", "һome"),  # noqa: RUF001
        ("Һome", "home"),
    ],
)
def test_names_in_letters_of_either_case_are_alike_in_other_alphabets_too(
    one: str, other: str
) -> None:
    for new, listed in ((one, other), (other, one)):
        with pytest.raises(DirectoryError, match="looks like"):
            check_apart([new], [listed])
        with pytest.raises(DirectoryError, match="looks like"):
            check_apart([listed, new], [])
        assert alike_in(["oak", listed, new]) == [(listed, new)]
    assert alike_in(["oak", "oak1", "elm"]) == []


def test_invites_of_before_that_look_the_same_hold_nobody_else_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an owner who upgrades could admit nobody as long as such a device waits."""
    names = ["Elm", "bay", "hub", "Hub"]  # elm is listed
    with monkeypatch.context() as before:
        before.setattr("fedhome.fleet.admission.check_apart", lambda *_: None)
        asked = [world.invite(name).enrolment(HomeKeys.create(name), NOW) for name in names]
    waiting = SimpleNamespace(enrolments=asked, notices=())
    found = fleet_admit._sort_waiting(world.owned, waiting)  # type: ignore[arg-type]
    assert [*found.new] == ["bay", "hub"]
    assert sum("looks like" in note for note in found.notes) == 2
    world.owned.admit(*(one.data for one in found.new.values()), now=NOW)
    assert {"bay", "hub"} < world.owned.homes.keys()


def test_an_owner_is_told_of_names_of_before_that_look_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> str:
        world.owned.close()
        done = CliRunner().invoke(app, ["fleet", "show", "--fleet", str(world.owned.folder)])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    with monkeypatch.context() as before:
        before.setattr("fedhome.fleet.owner_folder.check_apart", lambda *_: None)
        world.owned.add(HomeKeys.create("о\u0430k").entry())  # noqa: RUF001
    assert r"'oak' and '\u043e\u0430k' look the same" in shown()
    world.owned = type(world.owned).open(world.owned.folder)
    world.owned.revoke("о\u0430k")  # noqa: RUF001
    assert "look the same" not in shown()
