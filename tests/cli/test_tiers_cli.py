"""A device says which slice it carries as it joins; its owner sees it, signs it, and changes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.clients.membership.consent_record import ConsentRecord
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DirectoryError, PlanError
from fedhome.fleet.owner_folder import CARD, PLAN, Fleet
from fedhome.secagg import HomeKeys
from fedhome.server.daemon.server_folder import ServerFolder
from helpers.client_world import PLAN as WHOLE
from helpers.client_world import World, fedhome, front_of, join, owned_in, refused, world_of

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks"),
    pytest.mark.long,
]

SLICED = WHOLE.change(
    model={"hidden": [8, 8]},
    aggregation={"weights": "equal", "min_cohort": 2},
    slicing={
        "tiers": [
            {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.5},
            {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
        ]
    },
)


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, ServerFolder]]:
    with owned_in(tmp_path_factory.mktemp("fleet")) as owned, front_of(owned[1]):
        yield owned


@pytest.fixture
def world(
    owned: tuple[Fleet, ServerFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    return world_of(owned, tmp_path, monkeypatch)


def test_a_device_joins_with_its_tier_and_its_people_are_told(world: World) -> None:
    invite = world.invite(plan=SLICED.to_toml())
    done = join(invite, "--tier", "hub", "--all")
    assert done.exit_code == 0, done.exception
    assert "172 parameters, 10 inputs" in done.output
    assert "hub: it carries 172 of them" in done.output
    assert "  device  carries what tier hub has" in done.output
    assert "which kind of device it is (hub): it stands beside them" in done.output
    place = HomeFolder(world.device / "oak")
    assert place.settings.tier == "hub"
    again = join(invite, answer=None)  # it is kept, and nobody is asked anew
    assert again.exit_code == 0, again.exception
    smaller = join(invite, "--tier", "sensor")
    assert smaller.exit_code == 0, smaller.exception
    assert "sensor: it carries 25 of them" in smaller.output
    assert place.settings.tier == "sensor"
    consent = ConsentRecord.of(place)
    assert consent is not None
    assert "change the model (25 numbers)" in consent.text
    entries = [
        world.fleet.check((world.server.path / "enrolments" / name).read_bytes()).entry
        for name in world.pending()
    ]
    assert [entry.tier for entry in entries] == ["sensor"]


def test_a_tier_that_the_plan_does_not_have_is_refused_before_anything_is_sent(
    world: World,
) -> None:
    sliced, whole = world.invite(plan=SLICED.to_toml()), world.invite("elm")
    refused(join(sliced), PlanError, "it is not said what this device carries")
    refused(join(sliced, "--tier", "plug"), PlanError, "there is no tier 'plug'")
    refused(join(whole, "--tier", "hub"), PlanError, "carry the whole model")
    assert world.pending() == []
    assert not (world.device / "oak").exists()


def _fleet(folder: Path, *words: str, typed: str = "") -> str:
    done = CliRunner().invoke(app, ["fleet", *words, "--fleet", str(folder)], input=typed)
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.mark.usefixtures("world")
def test_the_owner_sees_tiers_before_signing_and_changes_them(tmp_path: Path) -> None:
    folder, phrase = tmp_path / "owner", tmp_path / "phrase"
    phrase.write_text("correct horse")
    with Fleet.create(folder, "correct horse") as fleet:
        for home, tier in (("ash", "hub"), ("elm", "sensor"), ("fir", "lamp"), ("yew", "")):
            fleet.add(HomeKeys.create(home).entry(tier=tier))
    (folder / PLAN).write_text(SLICED.to_toml())
    shown = _fleet(folder, "show")
    assert "lamp: not in the plan, counts as sensor" in shown
    assert "no tier: not in the plan, counts as sensor" in shown
    _fleet(folder, "directory", "--passphrase-file", str(phrase), "--min-cohort", "2")
    told = _fleet(folder, "tier", "elm", "hub")
    assert told.startswith("elm carries what hub has, once you sign the next directory")
    assert "carries hub, and not sensor" in _fleet(folder, "show")
    homes = json.loads(_fleet(folder, "show", "--json"))["homes"]
    assert {one["home"]: one["tier"] for one in homes} == {
        "ash": "hub",
        "elm": "hub",
        "fir": "lamp",
        "yew": "",
    }
    signed = _fleet(folder, "directory", "--passphrase-file", str(phrase), "--min-cohort", "2")
    assert "carries hub, and not sensor" in signed
    with Fleet.open(folder) as fleet:
        directory = fleet.last()
        assert directory is not None
        assert directory.entries["elm"].tier == "hub"
        with pytest.raises(DirectoryError, match="no home 'oak' on the list"):
            fleet.set_tier("oak", "hub")
    unknown = CliRunner().invoke(app, ["fleet", "tier", "elm", "plug", "--fleet", str(folder)])
    refused(unknown, PlanError, "there is no tier 'plug'")


def test_a_fleet_without_slices_is_shown_as_it_was(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "owner"
    with Fleet.create(folder, "correct horse") as fleet:
        fleet.add(HomeKeys.create("ash").entry())
    (folder / PLAN).write_text(WHOLE.to_toml())
    assert "tier" not in _fleet(folder, "show")
    assert not (folder / CARD).exists()
    assert fedhome("tier", world.device, "hub").exit_code != 0  # no home is there


def test_an_invite_says_that_a_device_has_to_name_its_tier(world: World, tmp_path: Path) -> None:
    folder, plans = tmp_path / "owner", (tmp_path / "whole.toml", tmp_path / "sliced.toml")
    Fleet.create(folder, "correct horse").close()
    (folder / CARD).write_text(f"{world.card.to_text()}\n")
    for home, plan, path in zip(("ash", "elm"), (WHOLE, SLICED), plans, strict=True):
        path.write_text(plan.to_toml())
        told = _fleet(folder, "invite", home, "--plan", str(path), "--out", str(tmp_path))
        assert ("--data SOURCE --tier TIER`" in told) == (plan is SLICED)
