"""What a server keeps and lays out of the bundles that it asks members about."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from fedhome.secagg import Bundle, ShareChecks
from fedhome.secagg.bundle import ROW_BYTES, rows_of_members
from fedhome.secagg.manifest import MOST_ROSTER
from fedhome.secagg.share_checks import CheckRequest
from helpers.secagg_world import NOW, World

SIZE = 8


def _made(world: World, home: str) -> Bundle:
    return Bundle.from_bytes(world.bundle(home))


def test_what_is_asked_of_many_bundles_is_not_held_for_one_that_stays() -> None:
    """Members that are away never answer, and a home that left takes no other bundle."""
    world = World.of(SIZE, bundles=0)
    real = _made(world, "h00")
    many = [replace(real, serial=serial) for serial in range(1, 2001)]
    ShareChecks(world.directory).requests(many)  # what bundles know of themselves is known
    checks = ShareChecks(world.directory)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert len(checks.requests(many)) == SIZE
        checks.forget(many[1:])
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < len(many) * SIZE * ROW_BYTES / 2
    assert checks.requests(many[:1]).keys() == {*world.directory.members}


def test_a_request_about_some_bundles_lays_out_no_other_members_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While one bundle is half checked, or in dispute, each member is asked by itself."""
    world = World.of(SIZE, bundles=0)
    bundles = [_made(world, "h00"), _made(world, "h01")]
    checks = ShareChecks(world.directory)
    first, *others = world.directory.members
    asked = checks.requests(bundles[:1])[first]
    checks.receive(first, world.homes[first].check(asked, now=NOW))
    laid_out = []

    def laying(some: Any) -> Any:
        laid_out.append(len(some))
        return rows_of_members(some)

    monkeypatch.setattr("fedhome.secagg.checking.rows_of_members", laying)
    monkeypatch.setattr("fedhome.secagg.share_checks.rows_of_members", laying, raising=False)
    requests = checks.requests(bundles)
    assert len(laid_out) <= 1
    assert CheckRequest.from_bytes(requests[first]).homes == ("h01",)
    for place, member in enumerate(others, 1):
        told = CheckRequest.from_bytes(requests[member])
        assert told.homes == ("h00", "h01")
        assert told.rows == b"".join([one.row(place) for one in bundles])


def test_more_bundles_than_a_request_may_hold_are_asked_about_in_turn() -> None:
    """Each home of a fleet of a hundred thousand may have some that wait."""
    world = World.of(SIZE, bundles=0)
    real = _made(world, "h00")
    many = [replace(real, serial=serial) for serial in range(1, MOST_ROSTER + 3)]
    checks = ShareChecks(world.directory)
    asked = checks.requests(many)
    assert asked.keys() == {*world.directory.members}
    for data in asked.values():
        assert CheckRequest.from_bytes(data).serials == tuple(range(1, MOST_ROSTER + 1))
    found = {one.serial for one in many[:MOST_ROSTER]}
    checks.sound = lambda bundle: bundle.serial in found  # type: ignore[method-assign]
    for data in checks.requests(many).values():
        assert CheckRequest.from_bytes(data).serials == (MOST_ROSTER + 1, MOST_ROSTER + 2)


def test_answers_to_what_all_are_asked_are_read_without_gathering_rows_bundle_by_bundle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bundles lie far apart: to gather a member's rows took as long as all of its signature."""
    world = World.of(SIZE, bundles=0)
    bundles = [_made(world, home) for home in ("h00", "h01", "h02")]
    checks = ShareChecks(world.directory)
    asked = checks.requests(bundles)
    found = {one: world.homes[one].check(data, now=NOW) for one, data in asked.items()}

    def gathered(*_: Any) -> bytes:
        raise AssertionError("rows were gathered anew")

    monkeypatch.setattr("fedhome.secagg.checking.rows_of_member", gathered)
    for member, answer in found.items():
        checks.receive(member, answer)
    assert all(map(checks.sound, bundles))
    assert not checks.disputes()


def test_who_answers_an_earlier_request_still_owes_the_rest_and_others_owe_all() -> None:
    world = World.of(SIZE, bundles=0)
    early, late = _made(world, "h00"), _made(world, "h01")
    checks = ShareChecks(world.directory)
    first, second, *_ = world.directory.members
    before = checks.requests([early])[first]
    both = checks.requests([early, late])
    checks.receive(first, world.homes[first].check(before, now=NOW))
    assert checks.found_right("h00", 1, first)
    assert not checks.found_right("h01", 1, first)
    again = checks.requests([early, late])
    assert CheckRequest.from_bytes(again[first]).homes == ("h01",)
    checks.receive(second, world.homes[second].check(both[second], now=NOW))
    assert checks.found_right("h00", 1, second)
    assert checks.found_right("h01", 1, second)
    checks.forget([early])  # what was found of the others stays where it belongs
    assert not checks.found_right("h00", 1, second)
    assert checks.found_right("h01", 1, second)
    assert not checks.found_right("h01", 1, first)
    checks.receive(first, world.homes[first].check(again[first], now=NOW))
    assert checks.found_right("h01", 1, first)
