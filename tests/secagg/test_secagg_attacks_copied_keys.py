"""A member that copies a key which waits for a sum: homes would refuse every roster with both.

Members check shares ahead of a sum, and so see public keys that wait. A roster that has a key twice
is refused by all homes, since a server could put itself into it so. Together one member alone could
stop all sums. The server takes no bundle with a key that another one has which waits.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedhome.errors import BundleError, ManifestError
from fedhome.secagg import Bundle, Pool
from fedhome.secagg.share_checks import HEAD_BYTES, CheckRequest
from fedhome.secagg.state import MOST_LIVE
from helpers.secagg_attacker import refused, weaken
from helpers.secagg_world import World

VICTIM, CHEAT = "h00", "h05"


def _copied(world: World, unused: int = 0) -> bytes:
    """Return a bundle of the cheat, signed by it, with the key that the victim's has.

    Args:
        world: The fleet.
        unused: What of the key's last byte is set besides, of which X25519 makes nothing.
    """
    waits = world.pool.waiting(VICTIM)[0]
    shown = CheckRequest.of([waits], world.directory.members.index(CHEAT))
    seen = CheckRequest.from_bytes(shown.to_bytes()).heads[:HEAD_BYTES]
    assert waits.public in seen, "what a member is shown holds the key"
    public = waits.public[:-1] + bytes([waits.public[-1] | unused])
    copy = replace(Bundle.from_bytes(world.bundle(CHEAT)), public=public)
    signature = world.keys[CHEAT].sign(copy.head.statement(world.directory.hash))
    return replace(copy, signature=signature).to_bytes()


def test_a_key_of_another_home_that_waits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.of(6, bundles=0)
    world.refill([home for home in world.homes if home != CHEAT])
    copy = _copied(world)
    refused(BundleError, "copied", lambda: world.pool.add(CHEAT, copy))
    assert world.pool.count(CHEAT) == 0
    world.refill([CHEAT])  # it may still send one of its own
    honest = world.draw_up()
    honest.join("h01")

    weaken(monkeypatch, Pool, "add", "maker is not None")  # the control: all homes refuse
    world.refill([home for home in world.homes if home != CHEAT])
    world.pool.add(CHEAT, _copied(world))
    spoilt = world.draw_up()
    for home in ("h01", "h02", "h03", "h04"):
        refused(ManifestError, "duplicate", lambda: spoilt.join(home))  # noqa: B023 - at once


def test_nor_is_it_in_other_bytes_that_are_the_same_key() -> None:
    world = World.of(6, bundles=0)
    world.refill([home for home in world.homes if home != CHEAT])
    copy = Bundle.from_bytes(_copied(world, unused=0x80))
    waits = world.pool.waiting(VICTIM)[0]
    assert copy.public != waits.public
    third = X25519PrivateKey.generate()
    one, other = (
        third.exchange(X25519PublicKey.from_public_bytes(key))
        for key in (copy.public, waits.public)
    )
    assert one == other, "the control: homes would share one secret with both"
    refused(BundleError, "public-key", lambda: world.pool.add(CHEAT, copy.to_bytes()))


def test_the_home_whose_key_was_copied_keeps_its_place() -> None:
    world = World.of(6, bundles=0)
    world.refill([VICTIM])
    waits = world.pool.waiting(VICTIM)
    refused(BundleError, "copied", lambda: world.pool.add(CHEAT, _copied(world)))
    assert world.pool.waiting(VICTIM) == waits


def test_keys_of_bundles_that_are_gone_are_forgotten() -> None:
    world = World.of(5, bundles=0)
    for _ in range(MOST_LIVE + 2):
        world.refill([VICTIM])
    assert world.pool.count(VICTIM) == MOST_LIVE
    assert len(world.pool._makers) == MOST_LIVE, "of the oldest two nothing is kept"
    world.pool.take([VICTIM])
    world.pool.drop(world.pool.waiting(VICTIM))
    assert not world.pool._makers
