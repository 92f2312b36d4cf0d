"""Wrong shares are noticed one by one and left out, as long as enough right ones are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedhome.errors import OpeningError
from fedhome.secagg import Bundle
from fedhome.secagg.shamir import PRIME
from fedhome.secagg.sharing import SHARE_BYTES, Dealing
from fedhome.secagg.sum_messages import (
    MISSING,
    ROW_BYTES,
    Answer,
    Request,
    answer_statement,
    present_digest,
)
from helpers.secagg_attacker import cheat
from helpers.secagg_sums import ready, refused
from helpers.secagg_world import NOW, Sum, World

Lie = Callable[[bytes], bytes]


def _lying(sum_: Sum, member: str, shares: bytes) -> bytes:
    """Return an answer of a member with these shares, which it signs."""
    manifest, present = sum_.manifest.digest, sum_.aggregator.polls()[member]
    digest = present_digest(Request.from_bytes(present).present)
    return Answer(
        manifest=manifest,
        present=digest,
        shares=shares,
        signature=sum_.world.keys[member].sign(answer_statement(manifest, digest, shares)),
    ).to_bytes()


def _answer_with(sum_: Sum, lies: dict[str, Lie], absent: int = 0) -> None:
    requests = sum_.aggregator.requests()
    for member, request in list(requests.items())[: len(requests) - absent]:
        data = sum_.world.homes[member].answer(request, now=NOW)
        if member in lies:
            data = _lying(sum_, member, lies[member](Answer.from_bytes(data).shares))
        sum_.aggregator.receive_opening(member, data)


def _noise(shares: bytes) -> bytes:
    drawn = np.random.default_rng(0).integers(0, PRIME, len(shares) // 4)
    return drawn.astype("<u4").tobytes()


def _last_bit(shares: bytes) -> bytes:
    """Spoil the last number of the first home's share alone: one of its check."""
    spoilt = bytearray(shares)
    spoilt[SHARE_BYTES - 4] ^= 1
    return bytes(spoilt)


def _first_bit(shares: bytes) -> bytes:
    """Spoil the first number of the first home's share alone: one of the secret."""
    return bytes([shares[0] ^ 1]) + shares[1:]


def _swapped(shares: bytes) -> bytes:
    """Give the first home's share for the second, and the other way round."""
    return shares[SHARE_BYTES : 2 * SHARE_BYTES] + shares[:SHARE_BYTES] + shares[2 * SHARE_BYTES :]


CONCERNED = {_noise: 10, _last_bit: 1, _first_bit: 1, _swapped: 2}


@pytest.mark.long
@pytest.mark.parametrize("lie", CONCERNED)
@pytest.mark.parametrize("liars", [1, 2, 3, 4])
def test_members_with_wrong_shares_are_named_and_left_out(lie: Lie, liars: int) -> None:
    sum_ = ready(10, drop=("h04",))
    bad = sum_.world.directory.members[:liars]
    _answer_with(sum_, dict.fromkeys(bad, lie))  # of ten answers six open
    opened = sum_.open()
    assert np.array_equal(opened.words, sum_.expected)
    homes = sum_.manifest.names[: CONCERNED[lie]]
    wrong = sum_.aggregator.wrong
    assert sorted(wrong) == sorted((home, member) for home in homes for member in bad)


@pytest.mark.long
def test_five_wrong_shares_of_ten_are_too_many_and_all_of_them_are_named() -> None:
    sum_ = ready(10)
    bad = sum_.world.directory.members[:5]
    _answer_with(sum_, dict.fromkeys(bad, _first_bit))
    refused(OpeningError, "shares", sum_.open)
    assert sum_.aggregator.lost == ("h00",)
    assert not sum_.aggregator.false
    assert sum_.aggregator.wrong == tuple(("h00", member) for member in bad)


def test_equal_errors_that_would_cancel_are_noticed() -> None:
    # At zero the shares of members 1 to 5 weigh 5, -10, 10, -5 and 1: equal errors of the first
    # and the fourth cancel. Each is checked by itself all the same.
    def lifted(shares: bytes) -> bytes:
        number = (int.from_bytes(shares[:4], "little") + 128) % PRIME
        return number.to_bytes(4, "little") + shares[4:]

    sum_ = ready(8)
    assert sum_.world.directory.threshold == 5
    first, fourth = sum_.world.directory.members[0], sum_.world.directory.members[3]
    _answer_with(sum_, {first: lifted, fourth: lifted})
    sum_.open()
    assert sum_.aggregator.wrong == (("h00", first), ("h00", fourth))
    assert np.array_equal(sum_.opened.words, sum_.expected)  # type: ignore[union-attr]


@pytest.mark.long
def test_wrong_shares_without_a_spare_one_fail_and_a_late_answer_helps() -> None:
    sum_ = ready(10)
    members = sum_.world.directory.members
    requests = sum_.aggregator.requests()
    for member in members[:6]:
        data = sum_.world.homes[member].answer(requests[member], now=NOW)
        if member == members[2]:
            data = _lying(sum_, member, _noise(Answer.from_bytes(data).shares))
        sum_.aggregator.receive_opening(member, data)
    refused(OpeningError, "shares", sum_.open)
    assert sum_.aggregator.lost == sum_.manifest.names
    assert not sum_.aggregator.enough
    sum_.answer(members[6:7])
    assert sum_.aggregator.enough
    assert sum_.aggregator.lost == ()
    sum_.open()
    assert {member for _, member in sum_.aggregator.wrong} == {members[2]}
    assert np.array_equal(sum_.opened.words, sum_.expected)  # type: ignore[union-attr]


@pytest.mark.long
def test_a_share_that_does_not_open_is_missing_and_others_stand_in() -> None:
    sum_ = ready(10)
    member = sum_.world.directory.members[0]
    request = Request.from_bytes(sum_.aggregator.requests()[member])
    spoilt = replace(request, sealed=request.sealed[:-1] + bytes([request.sealed[-1] ^ 1]))
    data = sum_.world.homes[member].answer(spoilt.to_bytes(), now=NOW)
    assert Answer.from_bytes(data).shares[-SHARE_BYTES:] == MISSING
    assert MISSING not in Answer.from_bytes(data).shares[:-SHARE_BYTES]
    sum_.aggregator.receive_opening(member, data)
    sum_.answer(sum_.world.directory.members[1:])
    opened = sum_.open()
    assert sum_.aggregator.wrong == ()
    assert np.array_equal(opened.words, sum_.expected)


def test_a_sealed_share_opens_for_its_home_bundle_and_member_alone() -> None:
    sum_ = ready(8)
    member, place = "h00", sum_.world.directory.members.index("h00")
    request = Request.from_bytes(sum_.aggregator.requests()[member])
    rows = [request.sealed[n * ROW_BYTES : (n + 1) * ROW_BYTES] for n in range(8)]
    swapped = [rows[1], rows[0], *rows[2:]]  # another home's
    swapped[4] = sum_.bundles["h04"].row(1 - min(place, 1))  # another member's
    other = Bundle.from_bytes(sum_.world.bundle("h05"))
    swapped[5] = other.row(place)  # another bundle's
    data = replace(request, sealed=b"".join(swapped)).to_bytes()
    shares = Answer.from_bytes(sum_.world.homes[member].answer(data, now=NOW)).shares
    missing = [shares[n * SHARE_BYTES : (n + 1) * SHARE_BYTES] == MISSING for n in range(8)]
    assert missing == [True, True, False, False, True, True, False, False]


# --- homes that deal wrongly, and whose shares nobody checked ahead


def _sum_with(world: World, bad: Bundle) -> Sum:
    """Return a sum, all members' answers in it, in which one home's bundle is bad."""
    world.pool.add(bad.home, bad.to_bytes())
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.answer()
    return sum_


def _world() -> World:
    world = World.of(8, bundles=0)
    world.refill([home for home in world.homes if home != "h03"])
    return world


def test_a_home_whose_sealed_shares_are_spoilt_is_named() -> None:
    world = _world()
    sum_ = _sum_with(world, cheat(world, "h03", rows=lambda rows: b"\1" * len(rows)))
    with pytest.raises(OpeningError, match="h03") as caught:
        sum_.open()
    assert caught.value.reason == "shares"
    assert "h02" not in str(caught.value)
    assert sum_.aggregator.lost == ("h03",)
    assert not sum_.aggregator.false


def _spoilt(shares: Any, members: int) -> Any:
    changed = shares.copy()
    changed[:members, :, 0] ^= 1
    return changed


@pytest.mark.long
def test_wrong_shares_of_a_home_are_left_out_where_enough_others_are_right() -> None:
    world = _world()
    members = world.directory.members
    assert world.directory.threshold == 5
    sum_ = _sum_with(world, cheat(world, "h03", shares=lambda shares: _spoilt(shares, 3)))
    sum_.open()
    assert sum_.aggregator.wrong == tuple(("h03", member) for member in members[:3])
    assert np.array_equal(sum_.opened.words, sum_.expected)  # type: ignore[union-attr]

    world = _world()
    sum_ = _sum_with(world, cheat(world, "h03", shares=lambda shares: _spoilt(shares, 4)))
    refused(OpeningError, "shares", sum_.open)
    assert sum_.aggregator.lost == ("h03",)
    assert len(sum_.aggregator.wrong) == 4


def test_a_home_whose_shares_all_fit_and_give_another_secret_is_false() -> None:
    world = _world()
    real, threshold = Dealing.of, world.directory.threshold
    other = cheat(world, "h03", dealing=lambda _: real(b"k" * 32, b"b" * 32, threshold))
    sum_ = _sum_with(world, other)
    with pytest.raises(OpeningError, match="h03") as caught:
        sum_.open()
    assert caught.value.reason == "false"
    assert sum_.aggregator.false == ("h03",)
    assert sum_.aggregator.wrong == sum_.aggregator.lost == ()


def test_a_home_whose_polynomials_give_no_secret_at_all_is_false() -> None:
    def bent(dealing: Dealing) -> Dealing:
        dealing.coefficients[0, :, 0] = 1 << 30  # a limb of 31 bits
        return dealing

    world = _world()
    sum_ = _sum_with(world, cheat(world, "h03", dealing=bent))
    refused(OpeningError, "false", sum_.open)
    assert sum_.aggregator.false == ("h03",)
