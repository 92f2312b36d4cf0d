"""Shares that were sealed in this process are known there, and every other row is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from fedhome.secagg import Bundle, seals
from fedhome.secagg.bundle import KEY_NAME_BYTES, NONCE_BYTES, ROW_BYTES
from fedhome.secagg.one_time import OneTime
from fedhome.secagg.opening import hashes_told
from fedhome.secagg.seals import OpenedRows, Seals, make_bundle, unsealed
from fedhome.secagg.sharing import HASHES_BYTES, hashes_of, share_hashes
from fedhome.simulations.engines import shared_seals
from fedhome.simulations.engines.shared_seals import KnownSeals, SharedSeals
from helpers.secagg_world import World

HOMES, MEMBER = 5, 2


class _Scene(NamedTuple):
    """A member, and what homes sealed for it: all but the last one in its process."""

    world: World
    shared: SharedSeals
    bundles: list[Bundle]
    bounds: list[tuple[str, bytes] | None]

    @classmethod
    def of(cls, *, here: int = HOMES) -> _Scene:
        world, shared = World.of(HOMES, bundles=0), SharedSeals()
        bundles = [
            world_bundle(world, home, KnownSeals(world.keys[home], world.directory, shared))
            if place < here
            else world_bundle(world, home, Seals(world.keys[home], world.directory))
            for place, home in enumerate(world.homes)
        ]
        directory = world.directory.hash
        bounds = [(one.home, one.head.associated_data(directory)) for one in bundles]
        return cls(world, shared, bundles, [*bounds])

    @property
    def name(self) -> str:
        """The member's."""
        return self.world.directory.members[MEMBER]

    @property
    def periods(self) -> Mapping[int, bytes]:
        """The member's secrets."""
        return self.world.homes[self.name].state.periods

    @property
    def rows(self) -> bytes:
        """The member's, one after the other."""
        return b"".join(one.row(MEMBER) for one in self.bundles)

    def opened(self, rows: bytes, periods: Mapping[int, bytes] | None = None) -> OpenedRows:
        """Return what the member finds, which is what it would find alone."""
        periods = self.periods if periods is None else periods
        keys, directory = self.world.keys[self.name], self.world.directory
        alone = Seals(keys, directory).open_all(periods, self.bounds, rows)
        found = KnownSeals(keys, directory, self.shared).open_all(periods, self.bounds, rows)
        np.testing.assert_array_equal(found.shares, alone.shares)
        assert found.why == alone.why
        if found.hashes is not None:
            assert found.hashes.tobytes() == hashes_of(alone.shares)
        return found


def world_bundle(world: World, home: str, of_home: Seals, **more: Any) -> Bundle:
    """Return a bundle that a home seals by its seals."""
    return make_bundle(
        world.keys[home],
        world.directory,
        of_home,
        1,
        secret=os.urandom(32),
        ring=world.ring(),
        **more,
    )[0]


@pytest.fixture
def decrypted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the rows that are opened, each by whoever opens it."""
    rows: list[bytes] = []

    def counted(cipher: Any, nonce: bytes, sealed: bytes, bound: bytes) -> Any:
        rows.append(sealed)
        return unsealed(cipher, nonce, sealed, bound)

    monkeypatch.setattr(seals, "unsealed", counted)
    return rows


def test_what_was_sealed_here_needs_no_opening(decrypted: list[bytes]) -> None:
    scene = _Scene.of()
    found = scene.opened(scene.rows)
    assert found.why == [None] * HOMES
    assert found.hashes is not None
    mine = slice(MEMBER * HASHES_BYTES, (MEMBER + 1) * HASHES_BYTES)
    told = [one.hashes[mine] for one in scene.bundles]
    assert found.hashes.tobytes() == b"".join(told)
    assert len(told[0]) == HASHES_BYTES
    assert len(decrypted) == HOMES  # by the member that knows nothing


@pytest.mark.parametrize("at", [0, NONCE_BYTES, NONCE_BYTES + KEY_NAME_BYTES, ROW_BYTES - 1])
def test_a_row_that_is_altered_is_opened_and_the_others_are_known(
    at: int, decrypted: list[bytes]
) -> None:
    scene = _Scene.of()
    rows = bytearray(scene.rows)
    rows[3 * ROW_BYTES + at] ^= 1
    for _ in range(2):  # what was refused is refused again
        decrypted.clear()
        found = scene.opened(bytes(rows))
        assert [place for place, why in enumerate(found.why) if why is not None] == [3]
        named = at in range(NONCE_BYTES, NONCE_BYTES + KEY_NAME_BYTES)
        # Of another key by its name, none is left to open it with; nor any of another public key.
        assert len(decrypted) == HOMES - 1 + (0 if named else 2)


def test_rows_of_two_homes_that_are_exchanged_do_not_open() -> None:
    scene = _Scene.of()
    rows = [scene.rows[at : at + ROW_BYTES] for at in range(0, len(scene.rows), ROW_BYTES)]
    rows[0], rows[4] = rows[4], rows[0]
    assert scene.opened(b"".join(rows)).why == ["wrong", None, None, None, "wrong"]


def test_a_member_that_has_erased_its_key_opens_nothing() -> None:
    scene = _Scene.of()
    assert scene.opened(scene.rows, {}).why == ["erased"] * HOMES
    assert scene.opened(scene.rows, {7: b"other" * 6 + b"!!"}).why == ["erased"] * HOMES
    both = {7: b"other" * 6 + b"!!", **scene.periods}
    assert scene.opened(scene.rows, both).why == [None] * HOMES


def test_a_bundle_that_its_home_did_not_sign_is_not_opened() -> None:
    scene = _Scene.of()
    scene.bounds[1] = None
    assert scene.opened(scene.rows).why == [None, "erased", None, None, None]


def test_what_was_sealed_elsewhere_is_opened(decrypted: list[bytes]) -> None:
    scene = _Scene.of(here=3)
    assert scene.opened(scene.rows).why == [None] * HOMES
    assert len(decrypted) == HOMES + 2
    decrypted.clear()
    scene = _Scene.of(here=0)
    assert scene.opened(scene.rows).why == [None] * HOMES
    assert len(decrypted) == 2 * HOMES


def test_a_home_that_is_no_member_opens_nothing() -> None:
    scene = _Scene.of()
    world = World.of(HOMES, committee=4, bundles=0)
    (guest,) = set(world.homes).difference(world.directory.members)
    own = KnownSeals(world.keys[guest], world.directory, scene.shared)
    periods = world.homes[guest].state.periods
    assert own.open_all(periods, scene.bounds, scene.rows).why == ["erased"] * HOMES


def test_who_has_no_key_in_the_ring_is_sealed_nothing() -> None:
    scene = _Scene.of()
    world, shared = scene.world, SharedSeals()
    ring = world.ring()
    kept = type(ring)(keys=tuple(one for one in ring.keys if one.member != scene.name))
    home = next(iter(world.homes))
    of_home = KnownSeals(world.keys[home], world.directory, shared)
    bundle = make_bundle(
        world.keys[home], world.directory, of_home, 1, secret=os.urandom(32), ring=kept
    )[0]
    bounds = [(home, bundle.head.associated_data(world.directory.hash))]
    own = KnownSeals(world.keys[scene.name], world.directory, shared)
    assert own.open_all(scene.periods, bounds, bundle.row(MEMBER)).why == ["erased"]


def test_what_was_sealed_longest_ago_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, decrypted: list[bytes]
) -> None:
    scene = _Scene.of()
    size = next(iter(scene.shared._sealed.values())).size
    assert scene.shared._held == HOMES * size
    monkeypatch.setattr(shared_seals, "_MOST_BYTES", 3 * size)
    again = world_bundle(
        scene.world,
        scene.bundles[0].home,
        KnownSeals(scene.world.keys[scene.bundles[0].home], scene.world.directory, scene.shared),
    )
    assert scene.shared._held == 3 * size
    assert len(scene.shared._sealed) == 3
    assert scene.opened(scene.rows).why == [None] * HOMES
    assert len(decrypted) == HOMES + 3  # the first three are opened
    scene.bundles[0] = again
    scene.bounds[0] = again.home, again.head.associated_data(scene.world.directory.hash)
    decrypted.clear()
    assert scene.opened(scene.rows).why == [None] * HOMES
    assert len(decrypted) == HOMES + 2


def test_what_is_sealed_twice_takes_its_room_once() -> None:
    scene = _Scene.of()
    bound, sealed = next(iter(scene.shared._sealed.items()))
    held = scene.shared._held
    scene.shared.keep(bound, sealed)
    assert scene.shared._held == held == sum(one.size for one in scene.shared._sealed.values())


def test_a_home_that_deals_the_same_again_hashes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, hashed = _Scene.of(here=0), list[int]()

    def counted(shares: Any) -> bytes:
        hashed.append(len(shares))
        return hashes_of(shares)

    monkeypatch.setattr(shared_seals, "hashes_of", counted)
    world, home = scene.world, scene.bundles[0].home
    drawn = OneTime.drawn(world.directory)
    of_home = KnownSeals(world.keys[home], world.directory, scene.shared)
    for _ in range(3):
        world_bundle(world, home, of_home, draw=lambda _: drawn)
    assert hashed == [HOMES]
    world_bundle(world, home, of_home)
    assert hashed == [HOMES, HOMES]


def test_what_is_known_of_bundles_is_laid_out_once_for_check_and_sum() -> None:
    scene, partly = _Scene.of(), _Scene.of(here=HOMES - 1)
    known = scene.shared.table(scene.bounds)
    assert known is not None
    assert partly.shared.table(partly.bounds) is not None
    for one in (scene, partly):  # a home seals its next bundle meanwhile
        world = one.world
        world_bundle(world, "h00", KnownSeals(world.keys["h00"], world.directory, one.shared))
    assert scene.shared.table([*scene.bounds]) is known
    assert scene.shared.table(scene.bounds[:-1]) is not known
    assert partly.shared._tables == []  # what was lacking may be known now
    bound = scene.bounds[0]
    assert bound is not None
    scene.shared.keep(bound[1], scene.shared._sealed[bound[1]])  # sealed anew
    assert scene.shared.table(scene.bounds) is not known


@pytest.mark.parametrize("altered", [None, "share", "member", "secret", "bundle"])
def test_hashes_of_shares_that_were_sealed_here_are_known_and_of_others_made(
    monkeypatch: pytest.MonkeyPatch, altered: str | None
) -> None:
    scene, made = _Scene.of(), list[int]()

    def counted(bounds: Any, member: int, secrets: Any, shares: bytes) -> bytes:
        made.append(member)
        return hashes_told(bounds, member, secrets, shares)

    monkeypatch.setattr(shared_seals, "hashes_told", counted)
    secrets, member, bounds = [0, 1, 1, 0, 1], MEMBER, scene.bounds
    shares = bytearray(scene.opened(scene.rows).shares[np.arange(HOMES), secrets].tobytes())
    if altered == "share":
        shares[-1] ^= 1
    elif altered == "member":
        member += 1
    elif altered == "secret":
        secrets = [1, 1, 1, 0, 1]
    elif altered == "bundle":
        bounds = [*bounds[:-1], None]
    given = bounds, member, secrets, bytes(shares)
    assert scene.shared.hashes_told(*given) == share_hashes(secrets, bytes(shares))
    assert len(made) == (altered is not None)
    told = [one.hashes[HASHES_BYTES * MEMBER :][:HASHES_BYTES] for one in scene.bundles]
    dealt = b"".join(
        one[16 * half : 16 * half + 16] for one, half in zip(told, secrets, strict=True)
    )
    assert (scene.shared.hashes_told(*given) == dealt) == (altered not in ("share", "secret"))
