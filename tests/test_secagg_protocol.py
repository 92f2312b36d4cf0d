from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_world import LAYOUT, MODEL, NOW, Sum, World, form_of

from fedhome.errors import (
    BundleError,
    ManifestError,
    OpeningError,
    ParameterError,
    SecAggError,
    StateError,
    UploadError,
    WireError,
)
from fedhome.secagg import (
    Aggregator,
    Bundle,
    Home,
    HomeState,
    Manifest,
    MemoryStore,
    Policy,
)
from fedhome.secagg.bundle import SEALED_BYTES, SHARE_BYTES
from fedhome.secagg.directory import Signed
from fedhome.secagg.graph import groups
from fedhome.secagg.messages import (
    ARRIVAL_BYTES,
    MISSING,
    ROW_BYTES,
    VOTE_BYTES,
    Answer,
    Request,
    Upload,
    Vote,
    answer_signed,
    present_digest,
    to_bits,
    upload_signed,
)
from fedhome.secagg.policy import most_corrupt
from fedhome.secagg.repair import repair
from fedhome.secagg.shamir import PRIME, split


def refused(error: type[SecAggError], reason: str, call: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert caught.value.reason == reason, caught.value


def ready(count: int = 8, *, drop: tuple[str, ...] = (), vote: bool = True, **changes: Any) -> Sum:
    """Return a sum to which all homes but some sent their update, and on which all voted."""
    sum_ = World.of(count).draw_up(**changes)
    for home in sum_.bundles:
        sum_.join(home)
    for home in sum_.bundles:
        if home not in drop:
            sum_.upload(home)
    if vote:
        sum_.vote()
    return sum_


# --- a whole sum


@pytest.mark.parametrize(
    ("count", "drop", "absent"),
    [
        (5, (), ()),
        (8, ("h00",), ("h03",)),
        (8, ("h03", "h07"), ("h01", "h02", "h05")),  # as many members absent as may be
        (20, ("h00", "h01", "h02", "h10", "h18", "h19"), ("h04",)),
    ],
)
def test_the_opened_sum_is_exactly_that_of_the_homes_in_it(
    count: int, drop: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    world = World.of(count)
    sum_ = world.run(drop=drop, absent_members=absent)
    assert sum_.opened is not None
    assert sum_.opened.homes == tuple(home for home in world.homes if home not in drop)
    assert np.array_equal(sum_.opened.words, sum_.expected)
    total = sum_.manifest.form.decode(sum_.opened.words, len(sum_.opened.homes))
    sent = [sum_.manifest.form.decode(sum_.sent[home], 1) for home in sum_.opened.homes]
    assert total.weight == sum(one.weight for one in sent)
    mean = sum(one.weight * one.mean for one in sent) / total.weight
    assert np.allclose(total.mean, mean)


@pytest.mark.parametrize(
    ("bits", "lanes", "elements"), [(9, "u16", 0), (9, "u16", 5), (12, "u21x3", 10), (20, "u32", 3)]
)
def test_it_is_exact_for_every_kind_of_word(bits: int, lanes: str, elements: int) -> None:
    form = form_of(elements, bits=bits)
    assert form.lanes.name == lanes
    sum_ = World.of(6).run(drop={"h01"}, form=form)
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


def test_what_a_home_sends_is_not_what_it_added_up() -> None:
    sum_ = World.of(5).draw_up(form=form_of(1000))
    sum_.join("h00")
    vector = np.frombuffer(Upload.from_bytes(sum_.masked("h00")).vector, "<u2")
    assert np.mean(vector == sum_.sent["h00"]) < 0.01


def test_sums_of_many_turns_use_new_bundles_and_all_are_exact() -> None:
    world = World.of(6, bundles=3)
    for drop in ("h00", "h05", "h02"):
        sum_ = world.run(drop={drop})
        assert sum_.opened is not None
        assert np.array_equal(sum_.opened.words, sum_.expected)
    assert [home.state.turn for home in world.homes.values()] == [3] * 6
    assert world.pool.count("h00") == 0


def test_a_part_of_the_fleet_may_be_summed_by_a_committee_of_others() -> None:
    world = World.of(10, eligible=["h07", "h08", "h09"], policy=Policy(corrupt=0))
    sum_ = world.run([f"h{number:02d}" for number in range(6)], drop={"h04"})
    assert sum_.opened is not None
    assert set(world.directory.members) == {"h07", "h08", "h09"}
    assert np.array_equal(sum_.opened.words, sum_.expected)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whoever_drops_or_answers_the_sum_is_exact_or_an_error(
    data: st.DataObject,
) -> None:
    world = WORLD_OF_SEVEN
    home = st.sampled_from(sorted(world.homes))
    drop = data.draw(st.sets(home, max_size=3))
    absent = data.draw(st.sets(home, max_size=4))
    world.refill()
    stays, answers = 7 - len(drop), 7 - len(absent)
    if stays < 6 or answers < 4:
        refused(
            OpeningError,
            "a-min" if stays < 6 else "votes",
            lambda: world.run(drop=drop, absent_members=absent, a_min=6),
        )
        for name, machine in world.homes.items():  # what was not used is not left lying about
            assert not machine.state.live, name
        return
    sum_ = world.run(drop=drop, absent_members=absent, a_min=6)
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


WORLD_OF_SEVEN = World.of(7, bundles=0)


# --- a sparse graph, and groups


def test_a_sparse_graph_opens_after_a_vote() -> None:
    world = World.of(40, policy=Policy(corrupt=0.0), remember=True)
    # Without corrupt homes the graph must only be connected.
    sum_ = world.run(drop={"h00", "h39"}, degree=30, tau=15, a_min=30)
    degree = sum_.manifest.adjacency(world.directory).sum(axis=1)
    assert degree.max() < 39
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


def test_a_graph_that_could_fall_apart_is_refused() -> None:
    world = World.of(40)
    sum_ = world.draw_up(degree=6, tau=3, a_min=30)
    refused(ManifestError, "graph", lambda: sum_.join("h00"))


def test_uneven_groups_are_each_summed_on_their_own() -> None:
    world = World.of(17, policy=Policy(corrupt=0.1))
    cut = groups(world.directory.seed, 1, world.directory.names, 2)
    assert sorted(map(len, cut)) == [8, 9]
    for number, names in enumerate(cut):
        world.turn = 0  # one turn, two sums
        sum_ = world.run(names, groups=2, group=number, drop={names[0]})
        assert sum_.opened is not None
        assert sum_.opened.homes == names[1:]
        assert np.array_equal(sum_.opened.words, sum_.expected)


def test_a_server_cannot_put_homes_into_another_group() -> None:
    world = World.of(17)
    cut = groups(world.directory.seed, 1, world.directory.names, 2)
    for names, number in (((*cut[0][:-1], cut[1][0]), 0), (cut[0], 1), (cut[0], 2)):
        world.turn = 0
        world.refill(names)
        sum_ = world.draw_up(names, groups=2, group=number)
        refused(ManifestError, "group", lambda: sum_.join(names[0]))  # noqa: B023 - called at once


def test_groups_so_small_that_corrupt_homes_could_fill_them_are_refused() -> None:
    # 10 of 100 homes may be corrupt, and a server may look through 2^24 turns for a group that
    # has all of them: 12 homes are needed for two honest ones.
    world = World.of(100, remember=True)
    cut = groups(world.directory.seed, 1, world.directory.names, 8)
    sum_ = world.draw_up(cut[0], groups=8, group=0, a_min=11)
    refused(ManifestError, "a-min", lambda: sum_.join(cut[0][0]))


# --- what a home refuses


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"turn": 3}, "replayed"),
        ({"turn": 2}, "replayed"),
        ({"expires": NOW}, "expired"),
        ({"expires": NOW + 86_401}, "expires-late"),
        ({"purpose": "evaluate"}, "purpose"),
        ({"model_hash": b"x" * 32}, "model"),
        ({"form": form_of(layout=b"x" * 32)}, "layout"),
        ({"form": form_of(homes=7)}, "encoding"),
        ({"n_min": 9}, "roster"),
        ({"a_min": 4}, "a-min"),
        ({"a_min": 9}, "a-min"),
        ({"a_min": 5}, None),
        ({"a_min": 8}, None),
        ({"directory": b"x" * 32}, "other-directory"),
    ],
)
def test_a_home_refuses_a_manifest(changes: dict[str, Any], reason: str | None) -> None:
    world = World.of(8)
    home = world.homes["h00"]
    home.state = replace(home.state, turn=3)
    world.turn = 3
    bundles = world.pool.take(world.homes)
    signed = world.manifest(bundles, **{"turn": 4, **changes}).sign(world.server)
    before = (home.state, world.stores["h00"].saved)

    def join() -> object:
        return home.join(signed, now=NOW, purpose="train", model_hash=MODEL, layout=LAYOUT)

    if reason is None:
        join()
        return
    refused(ManifestError, reason, join)
    assert (home.state, world.stores["h00"].saved) == before


def test_a_home_whose_budget_is_spent_refuses() -> None:
    sum_ = World.of(5).draw_up()
    refused(ManifestError, "budget", lambda: sum_.join("h00", budget_spent=True))


def test_a_home_without_a_directory_refuses_everything() -> None:
    world = World.of(5)
    sum_ = world.draw_up()
    home = Home(world.keys["h00"], world.authority.public, state=HomeState(), store=MemoryStore())
    refused(BundleError, "no-directory", home.bundle)
    refused(
        ManifestError,
        "no-directory",
        lambda: home.join(sum_.signed, now=NOW, purpose="train", model_hash=MODEL, layout=LAYOUT),
    )
    refused(OpeningError, "no-directory", lambda: home.answer(b"", now=NOW))


def test_a_manifest_that_the_server_did_not_sign_is_refused() -> None:
    world = World.of(5)
    sum_ = world.draw_up()
    signed = Signed.from_bytes(sum_.signed)
    altered = replace(sum_.manifest, a_min=2).to_bytes()
    for data in (
        Signed(body=altered, signature=signed.signature).to_bytes(),
        sum_.manifest.sign(World.of(5).server),
    ):
        sum_.signed = data
        refused(ManifestError, "signature", lambda: sum_.join("h00"))
    sum_.signed = signed.body
    with pytest.raises(WireError):
        sum_.join("h00")


def test_a_roster_below_the_minimum_or_too_freely_chosen_is_refused() -> None:
    world = World.of(12, bundles=2)
    few = world.draw_up(list(world.homes)[:4])
    refused(ManifestError, "roster", lambda: few.join("h00"))
    half = world.draw_up(list(world.homes)[:5])
    refused(ManifestError, "share", lambda: half.join("h00"))


def test_a_sum_that_corrupt_homes_could_fill_is_refused() -> None:
    world = World.of(40, remember=True)  # 4 corrupt: 6 in a sum are the fewest
    sum_ = world.draw_up(a_min=5)
    refused(ManifestError, "a-min", lambda: sum_.join("h00"))


def test_a_clip_above_the_homes_own_is_refused() -> None:
    world = World.of(5, policy=Policy(most_clip=0.25))
    sum_ = world.draw_up()
    refused(ManifestError, "encoding", lambda: sum_.join("h00"))


def test_a_home_or_a_key_twice_in_a_roster_is_refused() -> None:
    world = World.of(6)
    bundles = world.pool.take(world.homes)
    manifest = world.manifest(bundles, turn=1)
    row = len(manifest.heads) // 6
    heads = [manifest.heads[n * row : (n + 1) * row] for n in range(6)]
    copied = heads[1][:32] + heads[2][32:]  # the key of another home
    for changes in (
        {"names": ("h00", "h01", "h01", "h03", "h04", "h05")},
        {"names": ("h00", "h02", "h01", "h03", "h04", "h05")},
        {"heads": b"".join([*heads[:2], copied, *heads[3:]])},
    ):
        sum_ = Sum(world, bundles, replace(manifest, **changes).sign(world.server))
        refused(ManifestError, "duplicate", lambda: sum_.join("h00"))  # noqa: B023 - called at once


def test_a_home_that_the_fleet_does_not_know_is_refused() -> None:
    world = World.of(6)
    bundles = world.pool.take(world.homes)
    manifest = world.manifest(bundles, turn=1)
    stranger = replace(manifest, names=(*manifest.names[:-1], "h99")).sign(world.server)
    home = world.homes["h00"]
    refused(
        ManifestError,
        "group",
        lambda: home.join(stranger, now=NOW, purpose="train", model_hash=MODEL, layout=LAYOUT),
    )


def test_a_home_that_is_not_in_the_roster_refuses() -> None:
    world = World.of(8)
    sum_ = world.draw_up(list(world.homes)[:7])
    refused(ManifestError, "not-listed", lambda: sum_.join("h07"))


def test_a_substituted_key_is_refused_by_its_owner_and_by_its_neighbours() -> None:
    world = World.of(6, bundles=2)
    bundles, others = world.pool.take(world.homes), world.pool.take(["h01"])
    forged = replace(bundles["h01"], public=others["h01"].public)
    altered = replace(bundles["h01"], commitment=others["h01"].commitment)
    reused = replace(bundles["h01"], serial=9)
    for wrong, own in ((forged, "own-bundle"), (altered, "own-bundle"), (reused, "bundle-used")):
        world.turn += 1
        sum_ = Sum(world, bundles, world.manifest({**bundles, "h01": wrong}).sign(world.server))
        refused(ManifestError, "neighbour-signature", lambda: sum_.join("h00"))  # noqa: B023
        refused(ManifestError, own, lambda: sum_.join("h01"))  # noqa: B023 - called at once


def test_a_neighbours_key_that_everyone_shares_is_refused() -> None:
    world = World.of(6)
    bundles = world.pool.take(world.homes)
    weak = replace(bundles["h01"], public=bytes(32))
    signature = world.keys["h01"].sign(weak.head.signed(world.directory.hash))
    bundles["h01"] = replace(weak, signature=signature)
    sum_ = Sum(world, bundles, world.manifest(bundles, turn=1).sign(world.server))
    refused(ManifestError, "public-key", lambda: sum_.join("h00"))


def test_a_bundle_serves_one_sum_and_older_ones_go_with_it() -> None:
    world = World.of(5, bundles=3)
    first = world.pool.take(world.homes)
    second = world.pool.take(world.homes)
    home = world.homes["h00"]
    for turn, bundles in ((1, second), (2, second), (3, first)):
        signed = world.manifest(bundles, turn=turn).sign(world.server)
        sum_ = Sum(world, bundles, signed)
        if turn == 1:
            sum_.join("h00")
            assert sorted(home.state.live) == [3]
        else:
            refused(ManifestError, "bundle-used", lambda: sum_.join("h00"))  # noqa: B023


def test_the_masks_of_a_sum_hide_one_vector_only() -> None:
    sum_ = World.of(5).draw_up()
    joined = sum_.join("h00")
    words = sum_.words("h00")
    refused(ParameterError, "shapes", lambda: joined.upload(words[:-1].copy()))
    refused(ParameterError, "shapes", lambda: joined.upload(words.astype(np.uint32)))
    joined.upload(words.copy())
    refused(BundleError, "used", lambda: joined.upload(words.copy()))
    assert "used" in repr(joined)


# --- what a member refuses


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
    before = (member.state, sum_.world.stores["h00"].saved)
    data = _altered(sum_, change)
    refused(OpeningError, reason, lambda: member.answer(data, now=NOW))
    assert (member.state, sum_.world.stores["h00"].saved) == before
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


def test_a_member_opens_no_expired_sum() -> None:
    sum_ = ready(8)
    request = sum_.aggregator.requests()["h00"]
    member = sum_.world.homes["h00"]
    refused(OpeningError, "expired", lambda: member.answer(request, now=NOW + 600))
    member.answer(request, now=NOW + 599)


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


def test_a_bundle_is_not_opened_under_a_second_manifest_nor_after_a_later_one() -> None:
    world = World.of(8, bundles=2)
    first = world.run()
    member = world.homes["h00"]
    # Homes would not join twice with one bundle; here they sign as if they had.
    again = replace(first.manifest, turn=9).sign(world.server)
    second = Sum(world, first.bundles, again)
    forged = _signed_by_all(world, second)
    refused(OpeningError, "conflict", lambda: member.answer(forged, now=NOW))
    world.run()  # bundles 2
    refused(OpeningError, "conflict", lambda: member.answer(_signed_by_all(world, first), now=NOW))


def _signed_by_all(world: World, sum_: Sum) -> bytes:
    """Return a request in which every home signed for a vector of zeros."""
    vector = bytes(32)
    arrivals = b"".join(
        vector + world.keys[home].sign(upload_signed(sum_.manifest.digest, vector))
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
    sum_.vote(world.directory.members[:4])  # five are needed
    refused(OpeningError, "votes", sum_.aggregator.requests)
    sum_.vote(world.directory.members[4:5])
    assert sum_.aggregator.elected
    sum_.answer()
    assert np.array_equal(sum_.open().words, sum_.expected)


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


def test_how_many_corrupt_homes_come_into_a_group() -> None:
    # Of 10 homes 2 are corrupt; 5 are drawn. Both are among them with chance 2 / 9.
    assert most_corrupt(10, 2, 5, bits=2) == 1
    assert most_corrupt(10, 2, 5, bits=3) == 2
    # One at least is, with chance 1 - 2 / 9 = 0.78: more than 2 with none.
    assert most_corrupt(10, 2, 5, bits=1) == 1
    assert most_corrupt(10, 0, 5, bits=40) == 0


# --- what the server refuses


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
    home = world.homes["h00"]
    first, second = home.bundle(), home.bundle()
    pool = world.pool
    refused(BundleError, "other-home", lambda: pool.add("h01", first))
    bundle = Bundle.from_bytes(second)
    for reason, changes in (
        ("other-directory", {"directory": b"x" * 32}),
        ("size", {"shares": bundle.shares[:-SEALED_BYTES]}),
        ("signature", {"public": b"x" * 32}),
        ("signature", {"commitment": b"x" * 32}),
        ("signature", {"serial": 7}),
        ("signature", {"nonce": b"x" * 12}),
        ("signature", {"shares": bundle.shares[1:] + b"x"}),
    ):
        data = replace(bundle, **changes).to_bytes()
        refused(BundleError, reason, lambda: pool.add("h00", data))  # noqa: B023 - called at once
    unknown = replace(bundle, home="h99").to_bytes()
    refused(BundleError, "unknown-home", lambda: pool.add("h99", unknown))
    weak = replace(bundle, public=bytes(32))
    signature = world.keys["h00"].sign(weak.head.signed(world.directory.hash))
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


# --- wrong shares


def _lying(sum_: Sum, member: str, shares: bytes) -> bytes:
    """Return an answer of a member with these shares, which it signs."""
    manifest, present = sum_.manifest.digest, sum_.aggregator.polls()[member]
    digest = present_digest(Request.from_bytes(present).present)
    return Answer(
        manifest=manifest,
        present=digest,
        shares=shares,
        signature=sum_.world.keys[member].sign(answer_signed(manifest, digest, shares)),
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
    signature = world.keys["h03"].sign(spoilt.head.signed(world.directory.hash))
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


@settings(max_examples=30, deadline=None)
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


# --- what outlives a crash


def test_a_bundle_outlives_a_restart_and_is_then_good_for_its_sum() -> None:
    world = World.of(5, bundles=2)
    for home in list(world.homes):
        world.restart(home)
    sum_ = world.run()
    assert sum_.opened is not None
    assert np.array_equal(sum_.opened.words, sum_.expected)


def test_after_a_crash_a_home_that_joined_can_only_be_absent() -> None:
    world = World.of(8)
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
    del sum_.joined["h03"]  # all that was in memory
    world.restart("h03")
    refused(ManifestError, "replayed", lambda: sum_.join("h03"))
    assert not world.homes["h03"].state.live
    for home in list(sum_.joined):
        sum_.upload(home)
    sum_.answer()
    assert sum_.open().homes == tuple(home for home in world.homes if home != "h03")
    assert np.array_equal(sum_.opened.words, sum_.expected)  # type: ignore[union-attr]


class _Full(MemoryStore):
    """A store on a full disk."""

    def save(self, state: HomeState) -> None:
        raise StateError(f"no room for version {state.version}", reason="disk")


def test_what_is_not_durable_is_not_sent() -> None:
    sum_ = ready(8, drop=("h00",), vote=False)
    world = sum_.world
    member = world.homes["h00"]
    poll = sum_.aggregator.polls()["h00"]
    sum_.vote([name for name in world.homes if name != "h00"])
    request = sum_.aggregator.requests()["h00"]
    member._store = _Full()
    before = member.state
    for _ in range(2):  # nor the second time, when it might be taken for done
        refused(StateError, "disk", member.bundle)
        refused(StateError, "disk", lambda: member.answer(poll, now=NOW))
        refused(StateError, "disk", lambda: member.answer(request, now=NOW))
    assert member.state == before
    member._store = world.stores["h00"]
    sum_.answer(["h00"])

    world = World.of(5)
    sum_ = world.draw_up()
    world.homes["h00"]._store = _Full()
    refused(StateError, "disk", lambda: sum_.join("h00"))
    world.homes["h00"]._store = world.stores["h00"]
    sum_.join("h00")


def test_bundles_that_nobody_uses_do_not_pile_up() -> None:
    world = World.of(5, bundles=0)
    home = world.homes["h00"]
    for _ in range(20):
        world.refill(["h00"])
    assert sorted(home.state.live) == list(range(5, 21))
    assert world.pool.count("h00") == 16
    assert world.pool.take(["h00"])["h00"].serial == 5


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_a_damaged_state_is_refused(cut: int) -> None:
    data = World.of(5).stores["h00"].saved
    for damaged in (data[:cut], data[: len(data) - cut - 1], data + b"\0"):
        refused(StateError, "damaged", lambda: HomeState.from_bytes(damaged))  # noqa: B023


def test_an_aggregator_wants_the_servers_own_manifest() -> None:
    sum_ = World.of(5).draw_up()
    other = World.of(5)
    refused(
        ManifestError, "signature", lambda: Aggregator(sum_.signed, other.directory, sum_.bundles)
    )


def test_errors_and_prints_show_no_secret() -> None:
    sum_ = ready(6)
    secrets = sum_.world.homes["h00"].state.live
    assert secrets == {}
    joined = World.of(5).draw_up().join("h01")
    assert joined._seeds is not None
    for seeds in joined._seeds:
        for seed in seeds:
            assert seed.hex() not in repr(joined)
            assert repr(seed) not in repr(joined)
    assert isinstance(sum_.manifest, Manifest)
