"""Wrong shares are found and left out, and who sent them is named if that is certain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import OpeningError
from fedhome.secagg.bundle import SHARE_BYTES
from fedhome.secagg.repair import repair
from fedhome.secagg.shamir import PRIME, split
from fedhome.secagg.sum_messages import (
    MISSING,
    ROW_BYTES,
    Answer,
    Request,
    answer_statement,
    present_digest,
)
from helpers.examples import share_of
from helpers.secagg_sums import ready, refused
from helpers.secagg_world import NOW, Sum, World


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


def _answer_with(sum_: Sum, lies: dict[str, Callable[[bytes], bytes]], absent: int = 0) -> None:
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
    """Spoil the last number of the first home's share alone."""
    spoilt = bytearray(shares)
    spoilt[SHARE_BYTES - 4] ^= 1
    return bytes(spoilt)


@pytest.mark.long
@pytest.mark.parametrize("lie", [_noise, _last_bit])
@pytest.mark.parametrize("liars", [1, 2, 3])
def test_members_with_wrong_shares_are_named_and_left_out(
    lie: Callable[[bytes], bytes], liars: int
) -> None:
    sum_ = ready(10, drop=("h04",))
    bad = sum_.world.directory.members[:liars]
    _answer_with(sum_, dict.fromkeys(bad, lie))
    opened = sum_.open()
    assert np.array_equal(opened.words, sum_.expected)
    if liars == 3:  # of ten answers six open: only two of the four spare ones may be wrong
        assert opened.disputes == ()
        return
    assert opened.bad_members == tuple(sorted(bad))
    if lie is _last_bit:
        assert {home for home, _ in opened.disputes} == {"h00"}


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
    sum_.answer(members[6:7])
    assert sum_.open().bad_members == (members[2],)
    assert np.array_equal(sum_.opened.words, sum_.expected)  # type: ignore[union-attr]


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
    assert opened.disputes == ()
    assert np.array_equal(opened.words, sum_.expected)


def test_a_sealed_share_opens_for_its_home_bundle_and_member_alone() -> None:
    sum_ = ready(8)
    member, place = "h00", sum_.world.directory.members.index("h00")
    request = Request.from_bytes(sum_.aggregator.requests()[member])
    rows = [request.sealed[n * ROW_BYTES : (n + 1) * ROW_BYTES] for n in range(8)]
    swapped = [rows[1], rows[0], *rows[2:]]  # another home's
    swapped[4] = sum_.bundles["h04"].sealed_for(1 - min(place, 1))  # another member's
    data = replace(request, sealed=b"".join(swapped)).to_bytes()
    shares = Answer.from_bytes(sum_.world.homes[member].answer(data, now=NOW)).shares
    missing = [shares[n * SHARE_BYTES : (n + 1) * SHARE_BYTES] == MISSING for n in range(8)]
    assert missing == [True, True, False, False, True, False, False, False]


def test_a_home_whose_shares_are_bad_is_named() -> None:
    world = World.of(8)
    bundles = world.pool.take(world.homes)
    spoilt = replace(bundles["h03"], shares=bytes(len(bundles["h03"].shares)))
    signature = world.keys["h03"].sign(spoilt.head.statement(world.directory.hash))
    bundles["h03"] = replace(spoilt, signature=signature)
    world.turn = 1
    sum_ = Sum(world, bundles, world.manifest(bundles).sign(world.server))
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.answer()
    with pytest.raises(OpeningError, match="h03") as caught:
        sum_.open()
    assert caught.value.reason == "shares"
    assert "h02" not in str(caught.value)


@settings(max_examples=share_of(30))
@given(st.integers(2, 12), st.integers(0, 6), st.data())
def test_repair_finds_the_secret_and_all_wrong_shares(
    threshold: int, spare: int, data: st.DataObject
) -> None:
    secret = bytes(data.draw(st.binary(min_size=32, max_size=32)))
    count = threshold + spare
    shares = split([secret], members=count, threshold=threshold)
    wrong = data.draw(st.sets(st.integers(0, count - 1), max_size=min(spare, 3)))
    for row in wrong:
        shares[row, data.draw(st.integers(0, 8))] ^= np.uint32(1 << 7)
    found = repair(np.arange(1, count + 1), shares, threshold, lambda other: other == secret)
    assert found is not None
    assert found.secret == secret
    # With more wrong shares, errors may cancel and honest shares look wrong.
    if 2 * len(wrong) <= spare:
        assert found.certain
        assert found.wrong == tuple(sorted(wrong))
    assert secret.hex() not in repr(found)


def test_liars_whose_errors_cancel_accuse_nobody() -> None:
    # At zero the shares of members 1, 2 and 3 weigh 3, -3 and 1: equal errors of the first two
    # cancel, and the honest shares of 4 and 5 are off the polynomial.
    secret = b"s" * 32
    shares = split([secret], members=5, threshold=3)
    shares[:2, 0] = (shares[:2, 0] + np.uint32(128)) % np.uint32(PRIME)
    found = repair(np.arange(1, 6), shares, 3, lambda other: other == secret)
    assert found is not None
    assert found.secret == secret
    assert not found.certain


@pytest.mark.long
def test_repair_finds_many_wrong_shares_at_once() -> None:
    secret = b"s" * 32
    shares = split([secret], members=60, threshold=30)
    shares[:30:2] ^= np.uint32(3)
    found = repair(np.arange(1, 61), shares, 30, lambda other: other == secret)
    assert found is not None
    assert found.wrong == tuple(range(0, 30, 2))
    shares[1] ^= np.uint32(3)  # a sixteenth is more than half of the spare ones
    shares[3:30:2] ^= np.uint32(3)
    assert repair(np.arange(1, 61), shares, 31, lambda other: other == secret) is None
