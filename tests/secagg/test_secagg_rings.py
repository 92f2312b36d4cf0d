"""For which members' keys a home seals shares, and for which it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedhome.errors import BundleError
from fedhome.secagg import Bundle, HomeKeys, KeyRing, Policy, ShareKey
from fedhome.secagg.bundle import SEALED_BYTES
from fedhome.secagg.share_keys import PERIOD_S
from fedhome.secagg.sum_messages import MISSING, Answer, Request
from helpers.secagg_attacker import refused
from helpers.secagg_world import NOW, World

LATER = NOW + 2 * PERIOD_S


def _signed(world: World, key: ShareKey, keys: HomeKeys | None = None) -> ShareKey:
    owner = world.keys[key.member] if keys is None else keys
    return replace(key, signature=owner.sign(key.statement))


def _changed(ring: KeyRing, **changes: Any) -> KeyRing:
    return KeyRing(keys=(replace(ring.keys[0], **changes), *ring.keys[1:]))


def _forged(world: World) -> KeyRing:
    """The server signs, or another member does."""
    ring = world.ring()
    first, second = ring.keys[:2]
    return KeyRing(keys=(_signed(world, first, world.keys[second.member]), *ring.keys[1:]))


def _outside(world: World) -> KeyRing:
    """A home that is on no committee signs a key of its own."""
    name = next(home for home in world.homes if home not in world.directory.members)
    ring = world.ring()
    own = _signed(world, replace(ring.keys[0], member=name))
    return KeyRing(keys=(own, *ring.keys[1:]))


def _unusable(world: World) -> KeyRing:
    """A member signs a key with which everybody has the same secret."""
    first, *others = world.ring().keys
    return KeyRing(keys=(_signed(world, replace(first, key=bytes(32))), *others))


def _elsewhere(world: World) -> KeyRing:
    """A member's key of another directory."""
    first, *others = world.ring().keys
    return KeyRing(keys=(_signed(world, replace(first, directory=b"d" * 32)), *others))


def _mixed(world: World) -> KeyRing:
    """One key of the ring is of another time."""
    _, *others = world.ring().keys
    return KeyRing(keys=(world.ring(now=LATER).keys[0], *others))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: KeyRing(keys=w.ring().keys[::-1]), "ring"),
        (lambda w: KeyRing(keys=(w.ring().keys[1], w.ring().keys[0], *w.ring().keys[2:])), "ring"),
        (lambda w: KeyRing(keys=(w.ring().keys[0], *w.ring().keys)), "ring"),
        (lambda _: KeyRing(keys=()), "ring-size"),
        (lambda w: KeyRing(keys=w.ring().keys[: w.directory.threshold - 1]), "ring-size"),
        (lambda w: KeyRing(keys=w.ring().keys[: w.directory.threshold]), None),
        (lambda w: KeyRing(keys=w.ring().keys[-w.directory.threshold :]), None),
        (lambda w: _changed(w.ring(), key=b"x" * 32), "ring"),
        (lambda w: _changed(w.ring(), signature=bytes(64)), "ring"),
        (lambda w: _changed(w.ring(), period=w.ring().keys[0].period + 1), "ring"),
        (lambda w: _changed(w.ring(), directory=b"x" * 32), "ring"),
        (lambda w: _changed(w.ring(), member="h99"), "ring"),
        (_forged, "ring"),
        (_outside, "ring"),
        (_unusable, "ring"),
        (_elsewhere, "ring"),
        (lambda w: w.ring(now=NOW + PERIOD_S), None),
        (lambda w: w.ring(now=NOW - PERIOD_S), None),
        (lambda w: w.ring(now=LATER), "ring-period"),
        (lambda w: w.ring(now=NOW - 2 * PERIOD_S), "ring-period"),
        (_mixed, "ring-period"),
    ],
)
def test_a_home_refuses_a_ring(change: Callable[[World], KeyRing], reason: str | None) -> None:
    world = World.of(12, committee=8, corrupt=1, policy=Policy(corrupt=0.0), bundles=0)
    ring = world.ring()
    home = next(home for home in world.homes if home not in world.directory.members)
    party = world.homes[home]
    party.bundle(ring.to_bytes(), now=NOW)
    before = (party.state, world.stores[home].data)
    other = change(world).to_bytes()
    if reason is None:
        assert Bundle.from_bytes(party.bundle(other, now=NOW)).serial == 2
        assert party.state.ring == other
        return
    refused(BundleError, reason, lambda: party.bundle(other, now=NOW))
    assert (party.state, world.stores[home].data) == before
    # It goes on with the ring that it had.
    made = Bundle.from_bytes(party.bundle(now=NOW))
    assert made.ring == ring.hash


def test_a_home_seals_for_nobody_before_it_has_a_ring_and_after_that_is_over() -> None:
    world = World.of(6, bundles=0)
    home = world.homes["h00"]
    refused(BundleError, "no-ring", lambda: home.bundle(now=NOW))
    ring = world.ring()
    home.bundle(ring.to_bytes(), now=NOW)
    home.bundle(now=NOW + PERIOD_S)
    world.restart("h00").bundle(now=NOW + PERIOD_S)  # the ring outlives a restart
    home = world.homes["h00"]
    refused(BundleError, "no-ring", lambda: home.bundle(now=LATER))
    refused(BundleError, "no-ring", lambda: home.bundle(ring.to_bytes(), now=LATER))
    assert home.state.serial == 3


def test_only_members_have_a_share_key() -> None:
    world = World.of(12, committee=8, corrupt=1, policy=Policy(corrupt=0.0), bundles=0)
    for name, home in world.homes.items():
        if name in world.directory.members:
            key = ShareKey.from_bytes(home.share_key(now=NOW))
            key.check(world.directory)
            assert home.share_key(now=NOW + 1) == key.to_bytes()  # one for the whole period
        else:
            refused(BundleError, "ring", lambda: home.share_key(now=NOW))  # noqa: B023


def test_a_member_that_is_not_in_the_ring_gets_no_share_and_the_sum_opens_without_it() -> None:
    world = World.of(8, bundles=0)
    ring, absent = world.ring(), world.directory.members[2]
    without = KeyRing(keys=tuple(key for key in ring.keys if key.member != absent)).to_bytes()
    for home in world.homes:
        made = world.homes[home].bundle(without, now=NOW)
        assert Bundle.from_bytes(made).recipients == [n != 2 for n in range(8)]
        world.pool.add(home, made)
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.vote()
    request = Request.from_bytes(sum_.aggregator.requests()[absent])
    answer = Answer.from_bytes(world.homes[absent].answer(request.to_bytes(), now=NOW))
    assert answer.shares == MISSING * 8
    sum_.answer()
    assert np.array_equal(sum_.open().words, sum_.expected)
    assert sum_.aggregator.wrong == ()


def test_a_share_is_there_also_if_its_keys_name_is_zeros() -> None:
    world = World.of(8, bundles=0)
    bundle = Bundle.from_bytes(world.homes["h00"].bundle(world.ring().to_bytes(), now=NOW))
    nothing = bytes(SEALED_BYTES)
    rows = [nothing, nothing[1:] + b"\1", b"\1" + nothing[1:]]
    assert replace(bundle, shares=b"".join(rows)).recipients == [False, True, True]
