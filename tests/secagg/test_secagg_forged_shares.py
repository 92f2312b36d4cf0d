"""Shares, keys and answers that are forged to blame somebody else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedhome.errors import BundleError
from fedhome.secagg import Bundle, KeyRing, ShareChecks
from fedhome.secagg.seals import Seals
from fedhome.secagg.shamir import PRIME
from fedhome.secagg.share_checks import CheckAnswer
from fedhome.secagg.share_keys import PERIOD_S
from fedhome.secagg.sharing import factors_of
from fedhome.secagg.sum_messages import Answer, answer_statement
from helpers.secagg_attacker import cheat, refused, weaken
from helpers.secagg_sums import ready
from helpers.secagg_world import NOW, World


def test_a_share_that_a_member_made_to_fit_the_proof_is_wrong_and_its_home_is_not_blamed() -> None:
    sum_ = ready(8)
    first, *others = sum_.world.directory.members
    request = sum_.aggregator.requests()[first]
    answer = Answer.from_bytes(sum_.world.homes[first].answer(request, now=NOW))
    shares = np.frombuffer(answer.shares, "<u4").astype(np.int64).reshape(8, -1)
    head = sum_.manifest.head(0)
    statement = head.dealt_statement(sum_.manifest.directory, sum_.bundles["h00"].dealt)
    factors = factors_of(statement)[1]
    shares[0, 0] = (shares[0, 0] + 1) % PRIME
    shares[0, 9:13] = (shares[0, 9:13] - factors[:, 0]) % PRIME
    data = shares.astype("<u4").tobytes()
    signature = sum_.world.keys[first].sign(answer_statement(answer.manifest, answer.present, data))
    lie = replace(answer, shares=data, signature=signature).to_bytes()
    sum_.aggregator.receive_opening(first, lie)
    sum_.answer(others)
    assert np.array_equal(sum_.open().words, sum_.expected)
    assert sum_.aggregator.wrong == (("h00", first),)


def test_a_member_that_gives_anothers_key_as_its_own_is_in_no_ring() -> None:
    world = World.of(8, bundles=0)
    first, second, *others = world.ring().keys
    copied = replace(second, key=first.key)
    copied = replace(copied, signature=world.keys[second.member].sign(copied.statement))
    ring = KeyRing(keys=(first, copied, *others))
    refused(BundleError, "ring", lambda: world.homes["h07"].bundle(ring.to_bytes(), now=NOW))


def test_the_control_one_cipher_for_two_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Had a home one key for both, a member's row would open with what the other one got."""
    weaken(monkeypatch, KeyRing, "check", "len({key.key for key in self.keys})", "len(self.keys)")
    world = World.of(8, bundles=0)
    first, second, *others = world.ring().keys
    copied = replace(second, key=first.key)
    copied = replace(copied, signature=world.keys[second.member].sign(copied.statement))
    ring = KeyRing(keys=(first, copied, *others)).to_bytes()
    rows = Bundle.from_bytes(world.homes["h07"].bundle(ring, now=NOW))
    assert len({rows.row(place)[16:48] for place in range(8)}) == 8, "a second wall"
    key = "between = secret, key.member, key.key"
    weaken(monkeypatch, Seals, "_sealing", key, "between = secret, '', key.key")
    rows = Bundle.from_bytes(world.homes["h06"].bundle(ring, now=NOW))
    assert len({rows.row(place)[16:48] for place in range(8)}) == 7


def test_a_home_that_seals_numbers_that_the_field_does_not_have_is_a_cheat() -> None:
    world = World.of(8, bundles=0)
    bad = cheat(world, "h03", shares=lambda shares: shares + np.uint32(PRIME))
    checks, ring = ShareChecks(world.directory), world.ring()
    for member, data in checks.requests([bad]).items():
        checks.receive(member, world.homes[member].check(data, now=NOW))
    assert not checks.sound(bad)
    for dispute in checks.disputes():
        shown = world.homes["h03"].show_key(dispute.to_bytes(), now=NOW)
        checks.settle(dispute, shown, {ring.hash: ring})
    assert (checks.cheats, checks.liars) == ({"h03"}, set())


def test_an_answer_that_names_a_row_twice_is_refused() -> None:
    world = World.of(8, bundles=0)
    bundle, member = Bundle.from_bytes(world.bundle("h07")), world.directory.members[0]
    checks = ShareChecks(world.directory)
    data = checks.requests([bundle])[member]
    answer = CheckAnswer.from_bytes(world.homes[member].check(data, now=NOW))
    twice = replace(answer, asked=answer.asked * 2, values=answer.values * 2)
    twice = replace(twice, signature=world.keys[member].sign(twice.statement)).to_bytes()
    refused(BundleError, "check", lambda: checks.receive(member, twice))


def test_a_home_cannot_make_an_honest_member_a_liar_by_naming_another_of_its_keys() -> None:
    world = World.of(8, bundles=0)
    ring = world.ring()
    later = world.ring(now=NOW + PERIOD_S).keys[2].key  # members hold keys of two periods

    def named(rows: bytes) -> bytes:
        size = len(rows) // 8
        return rows[: 2 * size] + later[:4] + rows[2 * size + 4 :]

    party, real = world.homes["h07"], Seals.seal
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Seals, "seal", lambda *a: named(real(*a)))
        bad = Bundle.from_bytes(party.bundle(ring.to_bytes(), now=NOW + PERIOD_S))
    checks = ShareChecks(world.directory)
    for member, data in checks.requests([bad]).items():
        checks.receive(member, world.homes[member].check(data, now=NOW + PERIOD_S))
    for dispute in checks.disputes():
        shown = party.show_key(dispute.to_bytes(), now=NOW + PERIOD_S)
        checks.settle(dispute, shown, {ring.hash: ring})
    assert checks.liars == set()
