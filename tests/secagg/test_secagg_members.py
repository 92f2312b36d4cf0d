"""What a member of the committee refuses to vote on and to open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedhome.errors import OpeningError, WireError
from fedhome.secagg import Policy
from fedhome.secagg.sum_messages import (
    ARRIVAL_BYTES,
    ROW_BYTES,
    VOTE_BYTES,
    Request,
    Vote,
    to_bits,
    upload_statement,
)
from helpers.secagg_sums import ready, refused
from helpers.secagg_world import NOW, Sum, World


def test_a_member_refuses_a_request_that_is_none() -> None:
    sum_ = ready()
    home = sum_.world.homes["h00"]
    with pytest.raises(WireError):
        home.answer(b"nothing", now=NOW)


def test_only_members_answer() -> None:
    world = World.of(8, committee=3, policy=Policy(corrupt=0))
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    poll = next(iter(sum_.aggregator.polls().values()))
    outside = next(home for home in world.homes if home not in world.directory.members)
    refused(OpeningError, "not-member", lambda: world.homes[outside].answer(poll, now=NOW))
    refused(OpeningError, "not-member", lambda: world.homes[outside].answer(poll, now=NOW))


def _altered(sum_: Sum, change: Callable[[Request], Request], member: str = "h00") -> bytes:
    request = Request.from_bytes(sum_.aggregator.requests()[member])
    return change(request).to_bytes()


def _without(request: Request, count: int) -> Request:
    """Return a request in which only the first ``count`` of eight homes are in the sum."""
    present = np.arange(8) < count
    return replace(
        request, present=to_bits(present), arrivals=request.arrivals[: count * ARRIVAL_BYTES]
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: _without(r, 5), "a-min"),
        (lambda r: _without(r, 0), "a-min"),
        (lambda r: replace(r, present=r.present + b"\0"), "arrivals"),
        (lambda r: replace(r, present=b""), "arrivals"),
        (lambda r: replace(r, arrivals=r.arrivals[:-1]), "arrivals"),
        (lambda r: replace(r, arrivals=r.arrivals + bytes(96)), "arrivals"),
        (lambda r: replace(r, arrivals=r.arrivals[:-64] + bytes(64)), "arrival-signature"),
        (
            lambda r: replace(r, arrivals=r.arrivals[96:192] + r.arrivals[96:]),
            "arrival-signature",
        ),
        (lambda r: replace(r, sealed=r.sealed[:-1]), "sealed"),
    ],
)
def test_a_member_refuses_an_altered_request(
    change: Callable[[Request], Request], reason: str
) -> None:
    sum_ = ready(8, vote=False)
    sum_.vote([name for name in sum_.world.homes if name != "h00"])
    member = sum_.world.homes["h00"]
    before = (member.state, sum_.world.stores["h00"].data)
    data = _altered(sum_, change)
    refused(OpeningError, reason, lambda: member.answer(data, now=NOW))
    assert (member.state, sum_.world.stores["h00"].data) == before
    # The right one is answered all the same.
    sum_.answer()
    assert np.array_equal(sum_.open().words, sum_.expected)


def test_a_member_refuses_the_terms_that_a_home_refuses_too() -> None:
    sum_ = ready(8)
    weak = replace(sum_.manifest, a_min=2)
    signed = weak.sign(sum_.world.server)
    data = _altered(sum_, lambda request: replace(request, manifest=signed))
    refused(OpeningError, "a-min", lambda: sum_.world.homes["h00"].answer(data, now=NOW))
    forged = weak.sign(World.of(5).server)
    data = _altered(sum_, lambda request: replace(request, manifest=forged))
    refused(OpeningError, "signature", lambda: sum_.world.homes["h00"].answer(data, now=NOW))


def test_a_member_votes_for_no_expired_sum_but_finishes_one_that_it_voted_for() -> None:
    sum_ = ready(8, vote=False)
    poll = sum_.aggregator.polls()["h00"]
    member = sum_.world.homes["h00"]
    refused(OpeningError, "expired", lambda: member.answer(poll, now=NOW + 600))
    others = [name for name in sum_.bundles if name != "h00"]
    sum_.vote(others)
    request = sum_.aggregator.requests()
    refused(OpeningError, "expired", lambda: member.answer(request["h00"], now=NOW + 600))
    sum_.world.homes["h01"].answer(request["h01"], now=NOW + 600)
    member.answer(poll, now=NOW + 599)


@pytest.mark.long
def test_a_member_refuses_a_sum_in_which_a_home_has_too_few_neighbours() -> None:
    world = World.of(40, policy=Policy(corrupt=0.0), remember=True)
    sum_ = world.draw_up(degree=30, tau=20, a_min=30)
    for home in sum_.bundles:
        sum_.join(home)
    edges = sum_.manifest.adjacency(world.directory)
    degrees = edges.sum(axis=1)
    lonely = int(degrees.argmin())
    # Leave out ten neighbours of the home that has the fewest.
    out = set(np.flatnonzero(edges[lonely])[:10].tolist())
    assert degrees[lonely] - len(out) < 20
    for place, home in enumerate(sum_.bundles):
        if place not in out:
            sum_.upload(home)
    refused(OpeningError, "isolated", sum_.aggregator.polls)
    sum_.aggregator.manifest = replace(sum_.manifest, tau=0)  # a server that does not care
    poll = sum_.aggregator.polls()["h00"]
    refused(OpeningError, "isolated", lambda: world.homes["h00"].answer(poll, now=NOW))


def test_the_same_request_has_the_same_answer_and_another_set_has_none() -> None:
    sum_ = ready(8)
    member = sum_.world.homes["h00"]
    request = sum_.aggregator.requests()["h00"]
    first = member.answer(request, now=NOW)
    version = member.state.version
    assert member.answer(request, now=NOW) == first
    assert member.state.version == version
    fewer = _altered(sum_, lambda request: _without(request, 7))
    refused(OpeningError, "conflict", lambda: member.answer(fewer, now=NOW))
    restarted = sum_.world.restart("h00")
    refused(OpeningError, "conflict", lambda: restarted.answer(fewer, now=NOW))
    assert restarted.answer(request, now=NOW) == first


@pytest.mark.long
def test_a_bundle_is_not_opened_under_a_second_manifest_nor_after_a_later_one() -> None:
    world = World.of(8, bundles=2)
    first = world.run()
    member = world.homes["h00"]
    # Homes would not join twice with one bundle; here they sign as if they had.
    again = replace(first.manifest, turn=9, model_hash=b"x" * 32).sign(world.server)
    second = Sum(world, first.bundles, again)
    forged = _signed_by_all(world, second)
    refused(OpeningError, "conflict", lambda: member.answer(forged, now=NOW))
    world.run()  # bundles 2
    refused(OpeningError, "conflict", lambda: member.answer(_signed_by_all(world, first), now=NOW))


def _signed_by_all(world: World, sum_: Sum) -> bytes:
    """Return a request in which every home signed for a vector of zeros."""
    vector = bytes(32)
    arrivals = b"".join(
        vector + world.keys[home].sign(upload_statement(sum_.manifest.digest, vector))
        for home in sum_.manifest.names
    )
    count = len(sum_.manifest.names)
    return Request(
        manifest=sum_.signed,
        present=to_bits(np.ones(count, np.bool_)),
        arrivals=arrivals,
        votes=b"",
        sealed=bytes(ROW_BYTES * count),
    ).to_bytes()


# --- votes


def test_no_sum_is_opened_before_members_agree_on_it() -> None:
    sum_ = ready(8, vote=False)
    world = sum_.world
    refused(OpeningError, "votes", sum_.aggregator.requests)
    sum_.vote(world.directory.members[:1])
    with pytest.raises(OpeningError, match=r"^1 member voted, 5 are needed"):
        sum_.aggregator.requests()
    sum_.vote(world.directory.members[1:4])  # five are needed
    refused(OpeningError, "votes", sum_.aggregator.requests)
    sum_.vote(world.directory.members[4:5])
    assert sum_.aggregator.elected
    sum_.answer()
    assert np.array_equal(sum_.open().words, sum_.expected)


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        lambda votes: votes[:-VOTE_BYTES],
        lambda votes: votes[:-1],
        lambda votes: votes + b"x",
        lambda votes: votes[:VOTE_BYTES] * 5,  # one vote, five times
        lambda votes: votes[VOTE_BYTES:] + votes[:VOTE_BYTES],
        lambda votes: votes[:-64] + bytes(64),
        lambda votes: votes[:-68] + (99).to_bytes(4, "big") + votes[-64:],
    ],
)
def test_a_member_refuses_votes_that_do_not_count(change: Callable[[bytes], bytes]) -> None:
    sum_ = ready(8)
    sum_.vote()
    data = _altered(sum_, lambda request: replace(request, votes=change(request.votes)))
    refused(OpeningError, "votes", lambda: sum_.world.homes["h00"].answer(data, now=NOW))


def test_without_votes_a_member_gives_its_vote_and_no_share() -> None:
    sum_ = ready(8)
    data = _altered(sum_, lambda request: replace(request, votes=b""))
    reply = sum_.world.homes["h00"].answer(data, now=NOW)
    assert Vote.from_bytes(reply).manifest == sum_.manifest.digest


def test_a_member_votes_for_one_set_of_homes_only() -> None:
    sum_ = ready(8, vote=False)
    member = sum_.world.homes["h00"]
    poll = sum_.aggregator.polls()["h00"]
    vote = member.answer(poll, now=NOW)
    assert member.answer(poll, now=NOW) == vote
    fewer = _without(Request.from_bytes(poll), 7).to_bytes()
    refused(OpeningError, "conflict", lambda: member.answer(fewer, now=NOW))
    refused(OpeningError, "conflict", lambda: sum_.world.restart("h00").answer(fewer, now=NOW))
