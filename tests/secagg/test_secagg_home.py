"""What a home refuses to join, and what it does once only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedhome.errors import BundleError, ManifestError, OpeningError, ParameterError, WireError
from fedhome.secagg import HomeParty, HomeState, MemoryStore, Policy
from fedhome.secagg.directory import Signed
from helpers.secagg_sums import refused
from helpers.secagg_world import NOW, Sum, World, expected, form_of


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"turn": 3}, "replayed"),
        ({"turn": 2}, "replayed"),
        ({"expires": NOW}, "expired"),
        ({"expires": NOW + 86_401}, "expires-late"),
        ({"purpose": "evaluate"}, "purpose"),
        ({"settings": b"x" * 32}, "settings"),
        ({"plan": b"x" * 32}, "plan"),
        ({"groups": 2}, "groups"),
        ({"model_hash": b"x" * 32}, "model"),
        ({"form": form_of(layout=b"x" * 32)}, "layout"),
        ({"form": form_of(homes=7)}, "encoding"),
        ({"n_min": 9}, "roster"),
        ({"a_min": 4}, "a-min"),
        ({"a_min": 9}, "a-min"),
        ({"a_min": 5}, None),
        ({"a_min": 8}, None),
        ({"directory": b"x" * 32}, "other-directory"),
    ],
)
def test_a_home_refuses_a_manifest(changes: dict[str, Any], reason: str | None) -> None:
    world = World.of(8)
    home = world.homes["h00"]
    home.state = replace(home.state, sum_number=3)
    world.turn = 3
    bundles = world.pool.take(world.homes)
    signed = world.manifest(bundles, **{"turn": 4, **changes}).sign(world.server)
    before = (home.state, world.stores["h00"].data)

    def join() -> object:
        return home.join(signed, now=NOW, **expected(world.turn))

    if reason is None:
        join()
        return
    refused(ManifestError, reason, join)
    assert (home.state, world.stores["h00"].data) == before


def test_a_home_without_a_directory_refuses_everything() -> None:
    world = World.of(5)
    sum_ = world.draw_up()
    home = HomeParty(
        world.keys["h00"], world.authority.public, state=HomeState(), store=MemoryStore()
    )
    refused(BundleError, "no-directory", lambda: home.bundle(now=NOW))
    refused(BundleError, "no-directory", lambda: home.share_key(now=NOW))
    refused(BundleError, "no-directory", lambda: home.check(b"", now=NOW))
    refused(BundleError, "no-directory", lambda: home.show_key(b"", now=NOW))
    refused(
        ManifestError,
        "no-directory",
        lambda: home.join(sum_.signed, now=NOW, **expected(world.turn)),
    )
    refused(OpeningError, "no-directory", lambda: home.answer(b"", now=NOW))


def test_a_manifest_that_the_server_did_not_sign_is_refused() -> None:
    world = World.of(5)
    sum_ = world.draw_up()
    signed = Signed.from_bytes(sum_.signed)
    altered = replace(sum_.manifest, a_min=2).to_bytes()
    for data in (
        Signed(body=altered, signature=signed.signature).to_bytes(),
        sum_.manifest.sign(World.of(5).server),
    ):
        sum_.signed = data
        refused(ManifestError, "signature", lambda: sum_.join("h00"))
    sum_.signed = signed.body
    with pytest.raises(WireError):
        sum_.join("h00")


def test_a_roster_below_the_minimum_or_too_freely_chosen_is_refused() -> None:
    world = World.of(12, bundles=2)
    few = world.draw_up(list(world.homes)[:4])
    refused(ManifestError, "roster", lambda: few.join("h00"))
    half = world.draw_up(list(world.homes)[:5])
    refused(ManifestError, "share", lambda: half.join("h00"))


@pytest.mark.long
def test_a_sum_that_corrupt_homes_could_fill_is_refused() -> None:
    world = World.of(40, remember=True)  # 4 corrupt: 6 in a sum are the fewest
    sum_ = world.draw_up(a_min=5)
    refused(ManifestError, "a-min", lambda: sum_.join("h00"))


def test_a_clip_above_the_homes_own_is_refused() -> None:
    world = World.of(5, policy=Policy(most_clip=0.25))
    sum_ = world.draw_up()
    refused(ManifestError, "encoding", lambda: sum_.join("h00"))


def test_a_home_or_a_key_twice_in_a_roster_is_refused() -> None:
    world = World.of(6)
    bundles = world.pool.take(world.homes)
    manifest = world.manifest(bundles, turn=1)
    row = len(manifest.heads) // 6
    heads = [manifest.heads[n * row : (n + 1) * row] for n in range(6)]
    copied = heads[1][:32] + heads[2][32:]  # the key of another home
    for changes in (
        {"names": ("h00", "h01", "h01", "h03", "h04", "h05")},
        {"names": ("h00", "h02", "h01", "h03", "h04", "h05")},
        {"heads": b"".join([*heads[:2], copied, *heads[3:]])},
    ):
        sum_ = Sum(world, bundles, replace(manifest, **changes).sign(world.server))
        refused(ManifestError, "duplicate", lambda: sum_.join("h00"))  # noqa: B023 - called at once


def test_a_home_that_the_fleet_does_not_know_is_refused() -> None:
    world = World.of(6)
    bundles = world.pool.take(world.homes)
    manifest = world.manifest(bundles, turn=1)
    stranger = replace(manifest, names=(*manifest.names[:-1], "h99")).sign(world.server)
    home = world.homes["h00"]
    refused(
        ManifestError,
        "group",
        lambda: home.join(stranger, now=NOW, **expected(world.turn)),
    )


def test_a_home_that_is_not_in_the_roster_refuses() -> None:
    world = World.of(8)
    sum_ = world.draw_up(list(world.homes)[:7])
    refused(ManifestError, "not-listed", lambda: sum_.join("h07"))


def test_a_substituted_key_is_refused_by_its_owner_and_by_its_neighbours() -> None:
    world = World.of(6, bundles=2)
    bundles, others = world.pool.take(world.homes), world.pool.take(["h01"])
    forged = replace(bundles["h01"], public=others["h01"].public)
    altered = replace(bundles["h01"], commitment=others["h01"].commitment)
    reused = replace(bundles["h01"], serial=9)
    for wrong, own in ((forged, "own-bundle"), (altered, "own-bundle"), (reused, "bundle-used")):
        world.turn += 1
        sum_ = Sum(world, bundles, world.manifest({**bundles, "h01": wrong}).sign(world.server))
        refused(ManifestError, "neighbour-signature", lambda: sum_.join("h00"))  # noqa: B023
        refused(ManifestError, own, lambda: sum_.join("h01"))  # noqa: B023 - called at once


def test_a_neighbours_key_that_everyone_shares_is_refused() -> None:
    world = World.of(6)
    bundles = world.pool.take(world.homes)
    weak = replace(bundles["h01"], public=bytes(32))
    signature = world.keys["h01"].sign(weak.head.statement(world.directory.hash))
    bundles["h01"] = replace(weak, signature=signature)
    sum_ = Sum(world, bundles, world.manifest(bundles, turn=1).sign(world.server))
    refused(ManifestError, "public-key", lambda: sum_.join("h00"))


def test_a_bundle_serves_one_sum_and_older_ones_go_with_it() -> None:
    world = World.of(5, bundles=3)
    first = world.pool.take(world.homes)
    second = world.pool.take(world.homes)
    home = world.homes["h00"]
    for turn, bundles in ((1, second), (2, second), (3, first)):
        signed = world.manifest(bundles, turn=turn).sign(world.server)
        sum_ = Sum(world, bundles, signed)
        if turn == 1:
            sum_.join("h00")
            assert sorted(home.state.live) == [3]
        else:
            refused(ManifestError, "bundle-used", lambda: sum_.join("h00"))  # noqa: B023


def test_the_masks_of_a_sum_hide_one_vector_only() -> None:
    sum_ = World.of(5).draw_up()
    joined = sum_.join("h00")
    words = sum_.words("h00")
    refused(ParameterError, "shapes", lambda: joined.upload(words[:-1].copy()))
    refused(ParameterError, "shapes", lambda: joined.upload(words.astype(np.uint32)))
    joined.upload(words.copy())
    refused(BundleError, "used", lambda: joined.upload(words.copy()))
    assert "used" in repr(joined)
