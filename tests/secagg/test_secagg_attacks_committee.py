"""Attacks on the committee: each fails against the code, and works on a copy without one check.

The other lines of the list are in `test_secagg_attacks_homes`.

==============================  ==================================================================
attack                          what stops it (taken out: the attack works)
==============================  ==================================================================
second opening with another A   a member records how it opens each bundle, once
A too small                     the fewest homes in a sum
malformed or wrong share        shares are checked against their home's proof, and secrets against
                                what it committed to
split view: two manifests       a bundle is opened under one manifest
split view: other A by member   members vote before any gives a share
isolation of one home           the fewest neighbours of a home in the sum
r - 1 colluding members         the threshold (r of them: the attack works)
crash before the reply          the opening is recorded first
==============================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedhome.errors import OpeningError
from fedhome.secagg import HomeParty, Policy, aggregator, opening
from fedhome.secagg import member as committee_member
from fedhome.secagg.bundle import commitment
from fedhome.secagg.seals import Seals
from fedhome.secagg.shamir import LIMBS, PRIME, combine
from fedhome.secagg.sharing import SHARE_BYTES
from fedhome.secagg.sum_messages import MISSING, Answer, answer_statement
from helpers.secagg_attacker import Eve, eve_of, refused, send, weaken
from helpers.secagg_world import NOW, Sum, Words, World

CONFLICT = "earlier is not None and earlier.serial >= serial and earlier != opening"


@pytest.mark.long
def test_a_second_opening_with_another_set(monkeypatch: pytest.MonkeyPatch) -> None:
    eve = eve_of(World.of(8))
    sent = send(eve, range(8))
    eve.ask(range(8))
    refused(OpeningError, "conflict", lambda: eve.ask(range(1, 8)))
    for home in eve.world.homes:
        eve.world.restart(home)
    refused(OpeningError, "conflict", lambda: eve.ask(range(1, 8)))
    assert eve.bare(0) is None
    weaken(monkeypatch, committee_member, "record", CONFLICT)
    eve.ask(range(1, 8))
    assert eve.has(0, sent[0])


def test_a_set_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    eve = eve_of(World.of(8), tau=1)
    eve.keys[1] = eve.world.homes["h01"].state.live[1].key  # it works for the server
    sent = send(eve, range(8))
    refused(OpeningError, "a-min", lambda: eve.ask({0, 1}))
    assert eve.bare(0) is None
    weaken(monkeypatch, committee_member, "_case_of", "len(indices) < manifest.a_min")
    eve.ask({0, 1})
    assert eve.has(0, sent[0])


def _ready(change: Callable[[bytes], bytes]) -> tuple[Sum, str]:
    """Return a sum of eight homes of which one member, the first, sends changed shares."""
    sum_ = World.of(8).draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.vote()
    first, *others = sum_.world.directory.members
    request = sum_.aggregator.requests()[first]
    answer = Answer.from_bytes(sum_.world.homes[first].answer(request, now=NOW))
    shares = change(answer.shares)
    signed = answer_statement(answer.manifest, answer.present, shares)
    signature = sum_.world.keys[first].sign(signed)
    data = replace(answer, shares=shares, signature=signature).to_bytes()
    sum_.aggregator.receive_opening(first, data)
    sum_.answer(others)
    return sum_, first


@pytest.mark.long
def test_a_wrong_share(monkeypatch: pytest.MonkeyPatch) -> None:
    sum_, liar = _ready(lambda shares: bytes([shares[0] ^ 1]) + shares[1:])
    assert np.array_equal(sum_.open().words, sum_.expected)
    assert sum_.aggregator.wrong == (("h00", liar),)
    hashed = "same_rows(found, self._hashes[:, member])"
    weaken(monkeypatch, opening.ShareProofs, "bound", hashed, "np.ones(len(shares), np.bool_)")
    sum_, liar = _ready(lambda shares: bytes([shares[0] ^ 1]) + shares[1:])
    assert np.array_equal(sum_.open().words, sum_.expected)
    assert sum_.aggregator.wrong == (("h00", liar),)  # a second wall: the home's proof
    weaken(monkeypatch, opening.ShareProofs, "_unfit", "if not fit]", "if False]")
    sum_, _ = _ready(lambda shares: bytes([shares[0] ^ 1]) + shares[1:])
    refused(OpeningError, "false", sum_.open)  # a third
    weaken(monkeypatch, opening, "_accept", "commitment(secret) == expected", "True")
    sum_, _ = _ready(lambda shares: bytes([shares[0] ^ 1]) + shares[1:])
    assert not np.array_equal(sum_.open().words, sum_.expected)


@pytest.mark.long
def test_a_malformed_share(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(OpeningError, "size", lambda: _ready(lambda shares: shares[:-1]))
    sum_, honest = _ready(lambda shares: MISSING + shares[SHARE_BYTES:])
    assert np.array_equal(sum_.open().words, sum_.expected)
    assert sum_.aggregator.wrong == ()
    # Taken for a share, it would be held against a member to whom the server gave nothing.
    weaken(monkeypatch, aggregator, "told", "shares < PRIME", "shares >= 0")
    sum_, honest = _ready(lambda shares: MISSING + shares[SHARE_BYTES:])
    sum_.open()
    assert sum_.aggregator.wrong == (("h00", honest),)


def _split_view(world: World) -> tuple[Eve, Eve]:
    """Return two sums of one round over the same bundles, of which each half joins one."""
    first = eve_of(world, a_min=5, tau=4)
    other = replace(first.manifest, model_hash=b"x" * 32).sign(world.server)
    return first, Eve(world, other, first.bundles, first.loot)


@pytest.mark.long
def test_two_manifests_for_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _split_view(World.of(12))
    send(first, range(6))
    sent = send(second, range(6, 12))
    first.ask(range(6))  # in order: and with it came the keys of the homes that are not in it
    refused(OpeningError, "conflict", lambda: second.ask(range(6, 12)))
    assert second.secret(6, own_mask=False) is not None
    assert second.bare(6) is None
    weaken(monkeypatch, committee_member, "record", CONFLICT)
    second.ask(range(6, 12))
    assert second.has(6, sent[6])


@pytest.mark.long
def test_two_manifests_for_two_halves_of_the_committee() -> None:
    first, second = _split_view(World.of(12))
    send(first, range(6))
    send(second, range(6, 12))
    members = first.world.directory.members
    for eve, half, homes in ((first, members[:6], range(6)), (second, members[6:], range(6, 12))):
        shown = dict.fromkeys(half, homes)
        refused(OpeningError, "votes", lambda: eve.ask(shown))  # noqa: B023 - called at once
    assert first.loot == {}


@pytest.mark.long
def test_another_set_for_each_member(monkeypatch: pytest.MonkeyPatch) -> None:
    def attack() -> tuple[Eve, Words, Callable[[], None]]:
        eve = eve_of(World.of(8, policy=Policy(min_cohort=3, corrupt=0.0)), a_min=3, tau=2)
        # Five of eight members open. Each other home is in three sets at most, so five or more
        # hold that it is absent, and all eight that the first home is there.
        shown = {
            member: {0, 1 + 2 * number % 7, 1 + (2 * number + 1) % 7}
            for number, member in enumerate(eve.world.directory.members)
        }
        return eve, send(eve, range(8))[0], lambda: eve.ask(shown)

    eve, _, ask = attack()
    refused(OpeningError, "votes", ask)
    assert eve.loot == {}
    monkeypatch.setattr(committee_member, "check_votes", lambda *_, **__: None)
    eve, words, ask = attack()
    ask()
    assert eve.has(0, words)


@pytest.mark.long
def test_isolation_of_one_home(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(corrupt=0.0, security=10)
    world = World.of(40, policy=policy, committee=5, remember=True)
    eve = eve_of(world, degree=14, tau=4, a_min=28)
    edges = eve.manifest.adjacency(world.directory)
    target = int(edges.sum(axis=1).argmin())
    around = set(range(40)) - set(np.flatnonzero(edges[target]).tolist())
    assert len(around) >= 28
    sent = send(eve, range(40))
    refused(OpeningError, "isolated", lambda: eve.ask(around))
    assert eve.bare(target) is None
    weaken(monkeypatch, committee_member, "_case_of", "int(around.min()) < manifest.tau")
    eve.ask(around)
    assert eve.has(target, sent[target])


def test_colluding_members_one_too_few_and_just_enough() -> None:
    eve = eve_of(World.of(8))
    sent = send(eve, {0})
    directory, head = eve.world.directory, eve.bundles[0].head
    public = eve.manifest.public(0)
    assert directory.threshold == 5
    for number, member in enumerate(directory.members[:5]):
        assert eve.bare(0) is None
        # A member of hers opens what is sealed for it: shares of both secrets.
        secrets = eve.world.homes[member].state.periods
        bound = head.associated_data(directory.hash)
        found = Seals(eve.world.keys[member], directory).open_all(
            secrets, [(head.home, bound)], eve.bundles[0].row(number)
        )
        assert found.why == [None]
        eve.loot.setdefault((public, False), {})[number] = found.shares[0, 0].tobytes()
        eve.loot.setdefault((public, True), {})[number] = found.shares[0, 1].tobytes()
    assert eve.has(0, sent[0])

    # And four shares say nothing: with a suitable fifth they give whatever secret one likes.
    shares = eve.loot[public, True]
    rows = np.array([np.frombuffer(shares[n], "<u4")[:LIMBS] for n in range(5)], np.uint32)
    points = np.arange(1, 6)
    assert commitment(combine(points, rows)[0] or b"") == head.commitment
    liked = b"any other secret of 32 bytes ..."
    limbs = [int.from_bytes(liked, "little") >> 30 * n & (1 << 30) - 1 for n in range(LIMBS)]
    # At zero, the shares of members 1 to 5 weigh 5, -10, 10, -5 and 1.
    known = sum(
        weight * row.astype(object) for weight, row in zip((5, -10, 10, -5), rows, strict=False)
    )
    rows[4] = (np.array(limbs, object) - known) % PRIME
    assert combine(points, rows) == [liked]


@pytest.mark.long
def test_a_crash_between_recording_and_replying(monkeypatch: pytest.MonkeyPatch) -> None:
    def attack() -> tuple[Eve, Words]:
        eve = eve_of(World.of(8))
        sent = send(eve, range(8))
        eve.ask(range(8))
        for home in eve.world.homes:  # what was in memory alone is gone
            eve.world.restart(home)
        return eve, sent[0]

    eve, _ = attack()
    first = {kind: dict(shares) for kind, shares in eve.loot.items()}
    eve.loot.clear()  # the replies were lost, and those that come now are the same
    eve.ask(range(8))
    assert eve.loot == first
    refused(OpeningError, "conflict", lambda: eve.ask(range(1, 8)))
    assert eve.bare(0) is None

    weaken(
        monkeypatch,
        HomeParty,
        "answer",
        "self._commit(self.state.with_openings(openings, opened, homes))",
        "pass",
    )
    eve, words = attack()
    eve.ask(range(1, 8))
    assert eve.has(0, words)
