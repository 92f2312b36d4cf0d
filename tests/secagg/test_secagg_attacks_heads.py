"""Homes that were told of different releases: their masks do not cancel. With the control."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.secagg import HomeParty
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import add_masks, self_seed
from helpers.secagg_attacker import Eve, eve_of, join, weaken, words_of
from helpers.secagg_world import World


def _added(world: World, salt: bytes | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Let half of the homes be told of one release and half of another; return sum, and words."""
    blinds = [home.state.live[1].blind for home in world.homes.values()]
    one = eve_of(world, release=7, release_hash=b"7" * 32)
    manifest = replace(one.manifest, release_hash=b"x" * 32)
    other = Eve(world, manifest.sign(world.server), one.bundles)
    words = words_of(manifest, 1)
    told = [one, other] * 3
    for place, (home, eve) in enumerate(zip(world.homes, told, strict=True)):
        eve.take(place, join(world, home, eve.signed).upload(words.copy()))
    added = sum((eve.words(place) for place, eve in enumerate(told)), start=np.zeros_like(words))
    # The most that the server could have: the secrets of all homes' own masks.
    salts = [salt or eve.manifest.digest for eve in told]
    add_masks(added, [], [self_seed(*pair) for pair in zip(blinds, salts, strict=True)])
    return added, words


def test_homes_that_were_told_of_two_releases_cannot_be_summed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    added, words = _added(World.of(6), None)
    assert np.mean(added == 6 * words) < 0.5  # of noise, one word in 65 536 is
    weaken(monkeypatch, HomeParty, "_seeds", "salt = manifest.digest", "salt = bytes(32)")
    added, words = _added(World.of(6), bytes(32))
    assert np.array_equal(added, 6 * words)


def test_a_manifest_says_which_release_is_the_newest() -> None:
    world = World.of(5)
    manifest = eve_of(world, release=7, release_hash=b"7" * 32).manifest
    again = Manifest.verify(manifest.sign(world.server), world.directory)
    assert (again.release, again.release_hash) == (7, b"7" * 32)
    assert replace(manifest, release=8).digest != manifest.digest
    assert replace(manifest, release_hash=b"8" * 32).digest != manifest.digest
    assert replace(manifest, release=8).subject == manifest.subject
