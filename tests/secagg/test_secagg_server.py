"""What the server refuses of uploads, votes, answers and bundles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedhome.errors import BundleError, ManifestError, OpeningError, UploadError, WireError
from fedhome.secagg import Aggregator, Bundle
from fedhome.secagg.bundle import SEALED_BYTES
from fedhome.secagg.sum_messages import Answer, Upload, present_digest
from helpers.secagg_sums import ready, refused
from helpers.secagg_world import MODEL, NOW, World


def test_an_upload_counts_once_and_only_for_its_home_and_manifest() -> None:
    world = World.of(6, bundles=2)
    old = world.draw_up()
    replayed = {}
    for home in old.bundles:
        old.join(home)
        replayed[home] = old.upload(home)
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
    good = sum_.upload("h00")
    upload = Upload.from_bytes(good)
    bad = Upload.from_bytes(sum_.masked("h01"))
    sum_.sent.pop("h01")
    before = sum_.aggregator._total.copy()

    def send(home: str, data: bytes) -> Callable[[], None]:
        return lambda: sum_.aggregator.receive(home, data)

    refused(UploadError, "duplicate", send("h00", good))
    refused(UploadError, "other-home", send("h01", good))
    refused(UploadError, "not-listed", send("h99", good))
    refused(UploadError, "other-manifest", send("h01", replayed["h01"]))
    for data in (b"", b"x" * 100, good[:-1], bytes(10_000)):
        refused(UploadError, "format", send("h01", data))
    for vector in (b"", bad.vector[:-1], bad.vector + b"\0"):
        refused(UploadError, "size", send("h01", replace(bad, vector=vector).to_bytes()))
    flipped = bytes([bad.vector[0] ^ 1]) + bad.vector[1:]
    for wrong in (
        replace(bad, vector=flipped),
        replace(bad, signature=bytes(64)),
        replace(upload, home="h01"),
    ):
        refused(UploadError, "signature", send("h01", wrong.to_bytes()))
    assert np.array_equal(sum_.aggregator._total, before)
    assert sum_.aggregator.arrived == ("h00",)
    for home in list(sum_.joined):
        sum_.upload(home)
    late = replace(bad).to_bytes()
    sum_.answer()
    refused(UploadError, "closed", send("h01", late))
    assert np.array_equal(sum_.open().words, sum_.expected)


def test_a_sum_of_too_few_stays_open_for_more() -> None:
    sum_ = ready(8, drop=("h00", "h01", "h02"), vote=False)
    refused(OpeningError, "a-min", sum_.aggregator.requests)
    sum_.upload("h00")
    sum_.answer()
    assert np.array_equal(sum_.open().words, sum_.expected)


def test_answers_count_once_and_only_of_members_and_for_their_sum() -> None:
    sum_ = ready(8, vote=False)
    world, aggregator = sum_.world, sum_.aggregator

    def give(member: str, data: bytes) -> Callable[[], None]:
        return lambda: aggregator.receive_opening(member, data)

    refused(OpeningError, "not-asked", give("h00", b""))
    sum_.vote()
    requests = aggregator.requests()
    good = {member: world.homes[member].answer(requests[member], now=NOW) for member in requests}
    answer = Answer.from_bytes(good["h00"])
    refused(OpeningError, "format", give("h00", b"nothing"))
    refused(OpeningError, "not-member", give("h99", good["h00"]))
    refused(OpeningError, "signature", give("h01", good["h00"]))
    other = replace(answer, present=present_digest(b"x")).to_bytes()
    refused(OpeningError, "other-sum", give("h00", other))
    refused(OpeningError, "other-sum", give("h00", replace(answer, manifest=MODEL).to_bytes()))
    refused(OpeningError, "size", give("h00", replace(answer, shares=b"").to_bytes()))
    altered = bytes([answer.shares[0] ^ 1]) + answer.shares[1:]
    refused(OpeningError, "signature", give("h00", replace(answer, shares=altered).to_bytes()))
    refused(OpeningError, "answers", aggregator.open)
    give("h00", good["h00"])()
    refused(OpeningError, "duplicate", give("h00", good["h00"]))
    assert not aggregator.enough
    for member in list(requests)[1:]:
        if member != "h00" and not aggregator.enough:
            give(member, good[member])()
    if not aggregator.enough:
        give(next(iter(requests)), good[next(iter(requests))])()
    assert np.array_equal(aggregator.open().words, sum_.expected)
    refused(OpeningError, "opened", aggregator.open)
    refused(OpeningError, "not-asked", give("h01", good["h01"]))


def test_votes_are_checked_as_answers_are() -> None:
    sum_ = ready(8, vote=False)
    world, aggregator = sum_.world, sum_.aggregator
    refused(OpeningError, "not-asked", lambda: aggregator.receive_vote("h00", b""))
    polls = aggregator.polls()
    vote = world.homes["h00"].answer(polls["h00"], now=NOW)
    refused(OpeningError, "format", lambda: aggregator.receive_vote("h00", vote[:-1]))
    refused(OpeningError, "signature", lambda: aggregator.receive_vote("h01", vote))
    refused(OpeningError, "not-member", lambda: aggregator.receive_vote("h99", vote))
    other = ready(8, vote=False)
    foreign = other.world.homes["h00"].answer(other.aggregator.polls()["h00"], now=NOW)
    refused(OpeningError, "other-sum", lambda: aggregator.receive_vote("h00", foreign))
    assert not aggregator.elected


def test_a_pool_takes_each_bundle_once_and_only_good_ones() -> None:
    world = World.of(6, bundles=0)
    first, second = world.bundle("h00"), world.bundle("h00")
    pool = world.pool
    refused(BundleError, "other-home", lambda: pool.add("h01", first))
    bundle = Bundle.from_bytes(second)
    for reason, changes in (
        ("other-directory", {"directory": b"x" * 32}),
        ("size", {"shares": bundle.shares[:-SEALED_BYTES]}),
        ("size", {"proof": bundle.proof[:-32]}),
        ("size", {"proof": bundle.proof + bytes(32)}),
        ("signature", {"public": b"x" * 32}),
        ("signature", {"commitment": b"x" * 32}),
        ("signature", {"serial": 7}),
        ("signature", {"nonce": b"x" * 12}),
        ("signature", {"ring": b"x" * 32}),
        ("signature", {"proof": bundle.proof[1:] + b"x"}),
        ("signature", {"shares": bundle.shares[1:] + b"x"}),
    ):
        data = replace(bundle, **changes).to_bytes()
        refused(BundleError, reason, lambda: pool.add("h00", data))  # noqa: B023 - called at once
    unknown = replace(bundle, home="h99").to_bytes()
    refused(BundleError, "unknown-home", lambda: pool.add("h99", unknown))
    weak = replace(bundle, public=bytes(32))
    signature = world.keys["h00"].sign(weak.head.statement(world.directory.hash))
    data = replace(weak, signature=signature).to_bytes()
    refused(BundleError, "public-key", lambda: pool.add("h00", data))
    assert pool.count("h00") == 0
    pool.add("h00", first)
    pool.add("h00", second)
    refused(BundleError, "replayed", lambda: pool.add("h00", second))
    refused(BundleError, "none", lambda: pool.take(["h00", "h01"]))
    assert pool.count("h00") == 2
    assert pool.take(["h00"])["h00"].serial == 1
    assert pool.take(["h00"])["h00"].serial == 2
    refused(BundleError, "replayed", lambda: pool.add("h00", first))
    with pytest.raises(WireError):
        pool.add("h00", b"nothing")


def test_an_aggregator_wants_the_servers_own_manifest() -> None:
    sum_ = World.of(5).draw_up()
    other = World.of(5)
    refused(
        ManifestError, "signature", lambda: Aggregator(sum_.signed, other.directory, sum_.bundles)
    )
