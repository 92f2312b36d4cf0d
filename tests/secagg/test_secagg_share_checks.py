"""Shares are checked ahead of a sum: who deals wrongly is found, and who says so falsely too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import BundleError
from fedhome.secagg import Bundle, KeyRing, ShareChecks, row_checks, seals, share_checks
from fedhome.secagg.bundle import KEY_NAME_BYTES, NONCE_BYTES, SEALED_BYTES, RingMembers
from fedhome.secagg.seals import SealedFor, Seals, cipher_of, unsealed
from fedhome.secagg.shamir import PRIME, limbs_of
from fedhome.secagg.share_checks import (
    ERASED,
    FOUND_BYTES,
    WRONG,
    CheckAnswer,
    CheckRequest,
    Dispute,
    ShownKey,
    foretold,
)
from fedhome.secagg.sharing import (
    SHARE_NUMBERS,
    Dealing,
    expected_of,
    factors_of,
    values_of,
)
from helpers.examples import share_of
from helpers.secagg_attacker import cheat, refused
from helpers.secagg_world import NOW, World

Lie = Callable[[bytes], bytes]
CHEAT, SIZE = "h03", 8


def said(world: World, member: str, data: bytes, lie: Lie | None = None) -> bytes:
    """Return what a member says to a request, which it may change before it signs."""
    answer = world.homes[member].check(data, now=NOW)
    if lie is None:
        return answer
    told = CheckAnswer.from_bytes(answer)
    told = replace(told, values=lie(told.values))
    return replace(told, signature=world.keys[member].sign(told.statement)).to_bytes()


def checked(
    world: World, bundles: list[Bundle], lies: dict[str, Lie] | None = None
) -> tuple[ShareChecks, list[Dispute]]:
    """Let all members check bundles, and homes show what is disputed; return the disputes too."""
    checks, rings = ShareChecks(world.directory), {world.ring().hash: world.ring()}
    for member, data in checks.requests(bundles).items():
        checks.receive(member, said(world, member, data, (lies or {}).get(member)))
    disputes = checks.disputes()
    for dispute in disputes:
        assert not checks.sound(dispute.bundle)
        checks.settle(dispute, show(world, dispute), rings)
    assert not checks.disputes()
    return checks, disputes


def show(world: World, dispute: Dispute) -> bytes:
    return world.homes[dispute.bundle.home].show_key(dispute.to_bytes(), now=NOW)


def made(world: World, home: str) -> Bundle:
    return Bundle.from_bytes(world.bundle(home))


# --- homes that deal wrongly


def _one(shares: Any, number: int = 0) -> Any:
    """One number of one member's share of one secret is another."""
    changed = shares.copy()
    changed[2, 1, number] = (changed[2, 1, number] + 1) % PRIME
    return changed


def _steeper(world: World) -> Bundle:
    """The polynomials have one coefficient more, of which the proof does not tell."""
    real = Dealing.of
    return cheat(
        world,
        CHEAT,
        dealing=lambda _: real(b"k" * 32, b"b" * 32, world.directory.threshold + 1),
        proof=lambda proof: proof[:-32],
    )


def _row(rows: bytes, member: int, at: int) -> bytes:
    """Return sealed rows in which one byte of a member's is another."""
    changed = bytearray(rows)
    changed[member * SEALED_BYTES + at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("deal", "members"),
    [
        (lambda world: cheat(world, CHEAT, shares=_one), 1),
        (lambda world: cheat(world, CHEAT, shares=lambda shares: _one(shares, 12)), 1),
        (lambda world: cheat(world, CHEAT, shares=lambda shares: (shares + 1) % PRIME), SIZE),
        (lambda world: cheat(world, CHEAT, shares=lambda shares: shares[::-1]), SIZE),
        (lambda world: cheat(world, CHEAT, shares=_random), SIZE),
        (_steeper, SIZE),
        (lambda world: cheat(world, CHEAT, proof=lambda proof: proof[:32] * 5), None),
        (lambda world: cheat(world, CHEAT, proof=lambda proof: bytes(len(proof))), SIZE),
        (lambda world: cheat(world, CHEAT, proof=lambda proof: b"\xff" + proof[1:]), SIZE),
        (lambda world: cheat(world, CHEAT, rows=lambda rows: _row(rows, 2, 40)), 1),  # a share
        (lambda world: cheat(world, CHEAT, rows=lambda rows: _row(rows, 2, 150)), 1),  # its tag
    ],
)
def test_a_home_that_deals_wrongly_is_proven_a_cheat(
    deal: Callable[[World], Bundle], members: int | None
) -> None:
    world = World.of(SIZE, bundles=0)
    good, bad = made(world, "h00"), deal(world)
    bad.check(world.directory)  # by itself nothing is wrong with it
    checks, disputes = checked(world, [good, bad])
    assert checks.cheats == {CHEAT}
    assert checks.liars == set()
    assert checks.sound(good)
    assert {dispute.bundle.home for dispute in disputes} == {CHEAT}
    if members is not None:
        assert len(disputes) == members


def _random(shares: Any) -> Any:
    return np.random.default_rng(0).integers(0, PRIME, shares.shape).astype(np.uint32)


def test_a_home_that_shows_no_key_or_another_one_proves_nothing_for_itself() -> None:
    world = World.of(SIZE, bundles=0)
    ring = world.ring()
    bad = cheat(world, CHEAT, rows=lambda rows: _row(rows, 2, 20))  # its key for this member
    checks = ShareChecks(world.directory)
    for member, data in checks.requests([bad]).items():
        checks.receive(member, said(world, member, data))
    (dispute,) = checks.disputes()
    # It has no key that fits what it sealed with.
    refused(BundleError, "erased", lambda: show(world, dispute))
    assert not checks.sound(bad)
    for key in (b"k" * 32, bytes(32)):
        another = ShareChecks(world.directory)
        for member, data in another.requests([bad]).items():
            another.receive(member, said(world, member, data))
        shown = ShownKey(key=key).to_bytes()
        another.settle(another.disputes()[0], shown, {ring.hash: ring})
        assert (another.cheats, another.liars) == ({CHEAT}, set())


def test_a_home_that_guessed_the_factors_could_cheat_and_cannot_guess_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one member's share it changes a number, and its check's so that they seem to fit."""
    guess = factors_of(b"a guess")

    def fitting(shares: Any) -> Any:
        changed = shares.astype(np.int64)
        changed[2, :, 0] = (changed[2, :, 0] + 1) % PRIME
        changed[2, :, 9:] = (changed[2, :, 9:] - guess[:, :, 0]) % PRIME
        return changed.astype(np.uint32)

    world = World.of(SIZE, bundles=0)
    checks, disputes = checked(world, [cheat(world, CHEAT, shares=fitting)])
    assert checks.cheats == {CHEAT}
    assert len(disputes) == 1

    # Were they fixed ahead, not drawn from what is sealed, nobody would notice.
    for module in (row_checks, seals, share_checks):
        monkeypatch.setattr(module, "factors_of", lambda _: guess)
    checks, disputes = checked(world, [cheat(world, CHEAT, shares=fitting)])
    assert (checks.cheats, disputes) == (set(), [])


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:SEALED_BYTES] + bytes(SEALED_BYTES) + rows[2 * SEALED_BYTES :],
        lambda rows: bytes(len(rows)),
        lambda rows: bytes(4) + rows[4:],  # for a key that nobody has
        lambda rows: _row(rows, 4, 3),
    ],
)
def test_a_bundle_that_is_not_for_just_the_members_of_its_ring_is_refused(change: Lie) -> None:
    world = World.of(SIZE, bundles=0)
    keys = {place: key.key for place, key in enumerate(world.ring().keys)}
    ring = RingMembers.of(keys, SIZE)
    made(world, CHEAT).check_ring(ring)
    bad = cheat(world, CHEAT, rows=change)
    refused(BundleError, "ring", lambda: bad.check_ring(ring))
    # Nor may it be for a member that is not in the ring, of which it then has no key.
    del keys[5]
    fewer = RingMembers.of(keys, SIZE)
    refused(BundleError, "ring", lambda: made(world, CHEAT).check_ring(fewer))
    nameless = cheat(world, CHEAT, rows=lambda rows: _nameless(rows, 5))
    refused(BundleError, "ring", lambda: nameless.check_ring(fewer))
    cheat(world, CHEAT, rows=lambda rows: _without(rows, 5)).check_ring(fewer)


def _without(rows: bytes, member: int) -> bytes:
    at = member * SEALED_BYTES
    return rows[:at] + bytes(SEALED_BYTES) + rows[at + SEALED_BYTES :]


def _nameless(rows: bytes, member: int) -> bytes:
    """Return rows of which one names no key, and still holds something."""
    at = member * SEALED_BYTES
    return rows[:at] + bytes(KEY_NAME_BYTES) + rows[at + KEY_NAME_BYTES :]


def test_a_row_for_an_absent_member_or_for_a_key_that_it_lacks_blames_nobody() -> None:
    world = World.of(SIZE, bundles=0)
    for change in (
        lambda rows: bytes(SEALED_BYTES) + rows[SEALED_BYTES:],
        lambda rows: bytes(4) + rows[4:],
    ):
        bad = cheat(world, CHEAT, rows=change)
        checks, disputes = checked(world, [bad])
        assert (checks.cheats, checks.liars, disputes) == (set(), set(), [])
        first = world.directory.members[0]
        assert not checks.found_right(CHEAT, bad.serial, first)
        answer = said(world, first, CheckRequest.of([bad], 0).to_bytes())
        assert CheckAnswer.from_bytes(answer).values == ERASED


# --- members that lie


LIES: list[Lie] = [
    lambda _: WRONG,
    lambda _: bytes(FOUND_BYTES),
    lambda values: bytes([values[0] ^ 1]) + values[1:],
    lambda values: values[16:] + values[:16],
    lambda _: b"\xfe" * (FOUND_BYTES - 1) + b"\xff",  # nearly `ERASED`
]


@pytest.mark.parametrize("lie", LIES)
def test_a_member_that_calls_a_right_share_wrong_is_proven_a_liar(lie: Lie) -> None:
    world = World.of(SIZE, bundles=0)
    bundle, liar = made(world, "h00"), world.directory.members[3]
    checks, (dispute,) = checked(world, [bundle], {liar: lie})
    assert dispute.answer.member == liar
    assert (checks.liars, checks.cheats) == ({liar}, set())
    assert checks.sound(bundle)
    assert checks.found_right("h00", bundle.serial, liar)  # so it is held against it in the sum
    assert liar not in checks.requests([made(world, "h01")])


def test_as_many_liars_as_there_may_be_do_not_stop_a_home_and_a_cheat_is_told_from_them() -> None:
    world = World.of(SIZE, bundles=0)
    liars = set(world.directory.members[:3])
    assert world.directory.threshold <= SIZE - len(liars)
    good, bad = made(world, "h00"), cheat(world, CHEAT, shares=_one)
    lies: dict[str, Lie] = {
        liar: lambda values: WRONG * (len(values) // FOUND_BYTES) for liar in liars
    }
    checks, _ = checked(world, [good, bad], lies)
    assert checks.cheats == {CHEAT}
    # Whoever called a wrong share wrong told the truth of that one, and lied of the other.
    assert checks.liars == liars
    assert checks.sound(good)


def test_what_a_home_shows_opens_the_share_of_this_member_alone() -> None:
    world = World.of(SIZE, bundles=0)
    ring, home = world.ring(), "h00"
    bundles = [made(world, home) for _ in range(3)]
    liar = world.directory.members[3]
    _, disputes = checked(world, bundles[:1], {liar: LIES[0]})
    shown = ShownKey.from_bytes(show(world, disputes[0]))
    for bundle in bundles:  # also of others of the same hours
        assert _opened_with(shown.key, bundle, ring, world) == [3]
    others = [made(world, other) for other in ("h01", "h02")]
    assert [_opened_with(shown.key, bundle, ring, world) for bundle in others] == [[], []]
    # One share of each secret is less than open them, and all that the server has.
    assert world.directory.threshold == 5


def _opened_with(key: bytes, bundle: Bundle, ring: KeyRing, world: World) -> list[int]:
    """Return whose shares of a bundle open by a home's key."""
    own, found = X25519PrivateKey.from_private_bytes(key), []
    for place, member in enumerate(world.directory.members):
        row = bundle.row(place)
        for public in (own.public_key().public_bytes_raw(), row[NONCE_BYTES + 4 :][:32]):
            between = SealedFor(
                directory=world.directory.hash,
                home=bundle.home,
                member=member,
                home_key=public,
                member_key=ring.by_member[member].key,
            )
            cipher = cipher_of(own, ring.by_member[member].key, between)
            bound = bundle.head.associated_data(world.directory.hash) + member.encode()
            sealed = row[NONCE_BYTES + 36 :]
            if not isinstance(unsealed(cipher, row[:NONCE_BYTES], sealed, bound), str):
                found.append(place)
                break
    return found


def test_of_more_rows_than_there_is_room_for_the_rest_is_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server may show a member many thousands of rows at once, and each would have stayed."""
    world = World.of(SIZE, bundles=0)
    bundles = [made(world, home) for home in list(world.homes)[:5]]
    directory, name = world.directory, world.directory.members[3]
    periods = world.homes[name].state.periods
    seals = Seals(world.keys[name], directory)
    bounds = [(one.home, one.head.associated_data(directory.hash)) for one in bundles]
    rows = b"".join(one.row(3) for one in bundles)
    alone = seals.open_all(periods, bounds, rows)
    assert alone.why == [None] * 5
    monkeypatch.setattr("fedhome.secagg.seals._MOST_OPENED", 2)
    for keep in (True, True, False):  # full, begun anew, taken
        found = seals.open_all(periods, bounds, rows, keep=keep)
        np.testing.assert_array_equal(found.shares, alone.shares)
        assert found.why == alone.why
        assert len(seals._opened) == (2 if keep else 0)


# --- any damage is noticed


@settings(max_examples=share_of(60))
@given(st.integers(1, 12), st.integers(0, 8), st.data())
def test_every_wrong_share_is_noticed_and_no_right_one_called_wrong(
    threshold: int, spare: int, data: st.DataObject
) -> None:
    members = threshold + spare
    secrets = st.binary(min_size=32, max_size=32)
    dealing = Dealing.of(data.draw(secrets), data.draw(secrets), threshold)
    factors = factors_of(data.draw(st.binary(max_size=8)))
    shares = dealing.shares(members).astype(np.int64)
    (expected,) = expected_of([dealing.proof(factors)], members).transpose(1, 0, 2, 3)
    numbers = st.tuples(
        st.integers(0, members - 1), st.integers(0, 1), st.integers(0, SHARE_NUMBERS - 1)
    )
    damage = data.draw(st.dictionaries(numbers, st.integers(1, PRIME - 1), max_size=6))
    for place, by in damage.items():
        shares[place] = (shares[place] + by) % PRIME
    found = values_of(shares.astype(np.uint32), np.array([factors] * members))
    wrong = {(place, secret) for place, secret, _ in damage}
    for place in range(members):
        for secret in range(2):
            right = np.array_equal(found[place, secret], expected[place, secret])
            assert right == ((place, secret) not in wrong)


@settings(max_examples=share_of(60))
@given(st.integers(1, 12), st.integers(0, 8), st.data())
def test_another_proof_fits_fewer_members_than_open_a_sum(
    threshold: int, spare: int, data: st.DataObject
) -> None:
    members = threshold + spare
    dealing, factors = Dealing.of(b"k" * 32, b"b" * 32, threshold), factors_of(b"statement")
    proof = dealing.proof(factors)
    number = data.draw(st.integers(0, len(proof) // 4 - 1))
    by = data.draw(st.integers(1, PRIME - 1))
    told = np.frombuffer(proof, "<u4").astype(np.int64)
    told[number] = (told[number] + by) % PRIME
    (expected,) = expected_of([told.astype("<u4").tobytes()], members).transpose(1, 0, 2, 3)
    found = values_of(dealing.shares(members), np.array([factors] * members))
    fits = np.all(found == expected, axis=(1, 2))
    assert fits.sum() < threshold


@settings(max_examples=share_of(30), deadline=None)
@given(st.integers(2, 6), st.data())
def test_shares_off_any_polynomial_do_not_fit_whatever_the_proof(
    threshold: int, data: st.DataObject
) -> None:
    """A home that fits its proof to as many members as open a sum is found by all others."""
    members = threshold + data.draw(st.integers(1, 4))
    one, other = (Dealing.of(bytes([n]) * 32, b"b" * 32, threshold) for n in (1, 2))
    mixed = one.shares(members)
    strangers = data.draw(
        st.sets(st.integers(0, members - 1), min_size=1, max_size=members - threshold)
    )
    mixed[list(strangers)] = other.shares(members)[list(strangers)]
    factors = factors_of(mixed.tobytes())
    (expected,) = expected_of([one.proof(factors)], members).transpose(1, 0, 2, 3)
    fits = np.all(values_of(mixed, np.array([factors] * members)) == expected, axis=(1, 2))
    assert set(np.flatnonzero(~fits).tolist()) == strangers


# --- what a check tells


def test_what_a_member_tells_is_what_the_proof_foretells_and_nothing_else() -> None:
    world = World.of(SIZE, bundles=0)
    bundles = [made(world, home) for home in ("h00", "h01", "h00")]
    for place, member in enumerate(world.directory.members):
        data = CheckRequest.of(bundles, place).to_bytes()
        answer = CheckAnswer.from_bytes(said(world, member, data))
        told = b"".join(foretold(bundle, world.directory, place) for bundle in bundles)
        assert answer.values == told  # the server knew it before, from the bundles alone
        assert said(world, member, data) == answer.to_bytes()


def test_a_proof_says_nothing_of_the_secrets() -> None:
    """For any other secrets there are polynomials, as likely drawn, that have the same proof."""
    world = World.of(SIZE, bundles=0)
    threshold, factors = world.directory.threshold, factors_of(b"statement")
    dealing = Dealing.of(b"k" * 32, b"b" * 32, threshold)
    other = Dealing.of(b"K" * 32, b"B" * 32, threshold)
    limbs = other.coefficients[..., :9]
    assert np.array_equal(limbs[0].reshape(-1), limbs_of([b"K" * 32, b"B" * 32]))
    told = np.frombuffer(dealing.proof(factors), "<u4").astype(object).reshape(threshold, 2, 4)
    # The check's own numbers take up what is left.
    used = np.einsum("tsl,scl->tsc", limbs.astype(object), factors.astype(object))
    checks = ((told - used) % PRIME).astype(np.int64)
    same = Dealing(np.concatenate([limbs, checks], axis=2))
    assert same.proof(factors) == dealing.proof(factors)


def test_a_bundle_is_asked_about_until_enough_have_found_it_right() -> None:
    world = World.of(SIZE, bundles=0)
    bundle, checks = made(world, "h00"), ShareChecks(world.directory)
    members = list(world.directory.members)
    assert set(checks.requests([bundle])) == set(members)
    for number, member in enumerate(members[:5]):
        assert not checks.sound(bundle)
        assert set(checks.requests([bundle])) == set(members[number:])
        checks.receive(member, said(world, member, checks.requests([bundle])[member]))
    assert checks.sound(bundle)
    assert checks.requests([bundle]) == {}
    checks.forget([bundle])
    assert not checks.sound(bundle)
