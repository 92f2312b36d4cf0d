"""Attacks by what is asked, and how often: each fails, and works on a copy without one check.

==================================  ==============================================================
attack                              what stops it (taken out: the attack works)
==================================  ==============================================================
other settings for one home         the settings' hash is in the manifest, and salts every mask
settings beside the manifest        a home compares them with the manifest's
the same question again             members open one sum about a model
... in another round or run         what counts is what is asked about which model
... when it is long ago             homes remember what some months' sums were about
... in another epoch                homes answer about one model in one epoch alone
a member set back to a backup       a quorum of the others; it counts as a corrupt one
the same question, unopened         homes take part a few times about one model
very many questions                 homes take part in a plan's number of sums a day
other groups than the plan's        groups, clip, bits and weights are the home's plan's
groups dealt anew                   groups follow from the epoch's seed alone
a committee with one liar           one corrupt member is tolerated from five homes on
==================================  ==============================================================
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.errors import DirectoryError, ManifestError, OpeningError, WireError
from fedhome.plan.protocol import most_sums_a_day
from fedhome.plan.settings import Plan
from fedhome.secagg import HomeKeys, HomeParty, HomeState, MemoryStore, Policy, graph
from fedhome.secagg import member as committee_member
from fedhome.secagg import policy as policies
from fedhome.secagg.ledger import MOST_ATTEMPTS, MOST_ENTRIES, MOST_OLDER, Ledger, LedgerEntry
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import add_masks, self_seed
from fedhome.secagg.parameters import corrupt_among
from fedhome.secagg.rank import solved, solved_in_a_run
from fedhome.secagg.sum_messages import Answer, Vote
from fedhome.wire.layout import model_hash
from helpers.secagg_attacker import Eve, eve_of, join, refused, send, weaken, words_of
from helpers.secagg_world import NOW, SETTINGS, Sum, World, expected, form_of, model_of

OPENED = "state.opened.refuses(manifest)"
OTHER = b"x" * 32


def _join_told(world: World, home: str, signed: bytes, settings: bytes) -> Any:
    terms = {**expected(world.turn), "settings": settings}
    return world.homes[home].join(signed, now=NOW, **terms)


def test_other_settings_for_one_home(monkeypatch: pytest.MonkeyPatch) -> None:
    # All homes but one are told to clip their updates to nothing: the sum is that one's update.
    def total(world: World, salt: bytes | None) -> tuple[NDArray[Any], NDArray[Any]]:
        blinds = [home.state.live[1].blind for home in world.homes.values()]
        nothing = eve_of(world, settings=OTHER)
        whole = replace(nothing.manifest, settings=SETTINGS)
        eve = Eve(world, whole.sign(world.server), nothing.bundles)
        words = words_of(whole, 1)
        eve.take(0, _join_told(world, "h00", eve.signed, SETTINGS).upload(words.copy()))
        for place, home in enumerate(world.homes):
            if place:
                told = _join_told(world, home, nothing.signed, OTHER)
                nothing.take(place, told.upload(np.zeros_like(words)))
        added = sum((nothing.words(place) for place in range(1, 6)), start=eve.words(0))
        # The most that she could have: the secrets of all homes' own masks.
        salts = [salt or one.manifest.digest for one in (eve, *[nothing] * 5)]
        add_masks(added, [], [self_seed(*pair) for pair in zip(blinds, salts, strict=True)])
        return added, words

    added, words = total(World.of(6), None)
    assert np.mean(added == words) < 0.5  # of noise, one word in 65 536 is
    weaken(monkeypatch, HomeParty, "_seeds", "salt = manifest.digest", "salt = bytes(32)")
    added, words = total(World.of(6), bytes(32))
    assert np.array_equal(added, words)


def test_settings_beside_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    # One manifest for all, and other settings than its own in the message to all homes but one.
    def attack() -> None:
        eve = eve_of(World.of(6))
        for home in list(eve.world.homes)[1:]:
            _join_told(eve.world, home, eve.signed, OTHER)

    refused(ManifestError, "settings", attack)
    weaken(monkeypatch, HomeParty, "join", "manifest.settings != settings")
    attack()


def _again(first: Eve, **changes: Any) -> Eve:
    """Ask what was asked before once more, with new keys of all homes and without the first."""
    world = first.world
    world.turn += 1
    world.refill()
    bundles = world.pool.take(list(world.homes)[1:])
    terms = {"model_hash": first.manifest.model_hash, "n_min": 5, **changes}
    signed = world.manifest(bundles, **terms).sign(world.server)
    return Eve(world, signed, list(bundles.values()))


def _opened(eve: Eve, homes: range, words: dict[int, NDArray[Any]]) -> NDArray[Any]:
    """Let homes send their words, members open the sum, and return it."""
    for place in homes:
        home = eve.manifest.names[place]
        eve.take(place, join(eve.world, home, eve.signed).upload(words[place].copy()))
    eve.ask(homes)
    total = np.add.reduce([eve.words(place) for place in homes], dtype=np.uint16)
    blinds = [eve.secret(place, own_mask=True) or b"" for place in homes]
    add_masks(total, [], [self_seed(blind, eve.manifest.digest) for blind in blinds])
    return total


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [{}, {"round": 9}, {"run": b"z" * 16}, {"settings": SETTINGS, "round": 7, "run": b"y" * 16}],
)
def test_the_same_question_again(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    # Two sums about one model, the second without one home: their difference is that home's.
    def attack() -> tuple[NDArray[Any], NDArray[Any]]:
        first = eve_of(World.of(8))
        words = {place: words_of(first.manifest, place) for place in range(8)}
        whole = _opened(first, range(8), words)
        others = {place - 1: words[place] for place in range(1, 8)}
        without = _opened(_again(first, **changes), range(7), others)
        return whole - without, words[0]

    refused(ManifestError, "opened-before", attack)  # by homes, which are members too
    weaken(monkeypatch, HomeParty, "_check_ledger", "self.state.opened.refuses(manifest)")
    refused(OpeningError, "opened-before", attack)
    weaken(monkeypatch, committee_member, "examine", OPENED)
    difference, words = attack()
    assert np.array_equal(difference, words)


def test_another_model_is_another_question() -> None:
    first = eve_of(World.of(8))
    words = {place: words_of(first.manifest, place) for place in range(8)}
    _opened(first, range(8), words)
    _opened(_again(first, model_hash=OTHER), range(7), words)


def test_a_question_about_no_model_is_asked_once_in_an_epoch() -> None:
    census = {"purpose": "census", "model_hash": bytes(32)}
    world = World.of(6, bundles=3)

    def ask(run: bytes) -> None:
        sum_ = world.draw_up(run=run, **census)
        for home in world.homes:
            sum_.join(home)
            sum_.upload(home)
        sum_.answer()

    ask(b"1" * 16)
    refused(ManifestError, "opened-before", lambda: ask(b"1" * 16))
    refused(ManifestError, "opened-before", lambda: ask(b"2" * 16))  # a run of the server's making


@pytest.mark.long
def test_an_attempt_that_nobody_opened_is_made_again() -> None:
    world = World.of(8)
    world.draw_up()  # and nothing comes of it: one bundle of each home is gone
    for _ in range(2):
        world.refill()
        sum_ = world.draw_up(model_hash=model_of(1))
        for home in world.homes:
            sum_.join(home)
            sum_.upload(home)
    sum_.vote()  # of the last attempt alone; members may vote for several
    sum_.answer()
    assert np.array_equal(sum_.open().words, sum_.expected)


@pytest.mark.long
def test_of_two_attempts_that_both_have_votes_one_is_opened() -> None:
    # Members vote for both; then each half of them is asked for its shares of another one.
    first = eve_of(World.of(8, bundles=2))
    send(first, range(8))
    world = first.world
    world.turn += 1
    second = Eve(
        world,
        world.manifest(
            bundles := world.pool.take(world.homes), model_hash=first.manifest.model_hash
        ).sign(world.server),
        list(bundles.values()),
    )
    send(second, range(8))
    members = world.directory.members
    assert world.directory.threshold == 5
    votes = _votes(first)
    for member in members[:4]:
        _share(first, member, votes)
    refused(OpeningError, "opened-before", lambda: second.ask(range(8)))
    assert second.loot == {}  # four votes, and five are needed
    for member in members[4:]:  # they voted for a later one
        refused(OpeningError, "conflict", lambda: _share(first, member, votes))  # noqa: B023
    assert first.secret(0, own_mask=True) is None  # four shares, and five are needed


def _votes(eve: Eve) -> bytes:
    members = eve.world.directory.members
    return b"".join(
        number.to_bytes(4, "big") + Vote.from_bytes(eve._answer(member, range(8), b"")).signature
        for number, member in enumerate(members)
    )


def _share(eve: Eve, member: str, votes: bytes) -> None:
    answer = Answer.from_bytes(eve._answer(member, range(8), votes))
    eve._keep(eve.world.directory.members.index(member), answer)


def test_what_was_opened_is_known_after_a_restart_and_in_the_next_epoch() -> None:
    world = World.of(6)
    world.run(model_hash=OTHER)
    for home in world.homes:
        world.restart(home)
    world.refill()
    again = world.draw_up(model_hash=OTHER)
    refused(ManifestError, "opened-before", lambda: again.join("h00"))
    issued = world.next_epoch()
    for home in world.homes.values():
        home.renew(issued)
    world.refill()
    again = world.draw_up(model_hash=OTHER)
    refused(ManifestError, "opened-before", lambda: again.join("h00"))


def test_members_that_were_set_back_open_nothing_for_themselves() -> None:
    # As many as may be corrupt forget what they opened; the quorum needs others, who do not.
    world = World.of(8, bundles=2)
    before = world.homes["h00"].state
    first = eve_of(world)
    words = {place: words_of(first.manifest, place) for place in range(8)}
    _opened(first, range(8), words)
    world.homes["h00"].state = replace(before, version=before.version + 100)
    again = _again(first)
    refused(ManifestError, "opened-before", lambda: join(world, "h01", again.signed))
    for place, home in enumerate(again.manifest.names):  # as if all of them worked for her
        again.play(place, world.keys[home])
    with pytest.raises(OpeningError):
        again.ask(range(7))
    assert again.loot == {}


def test_how_often_a_home_takes_part_about_one_model() -> None:
    world = World.of(5)
    home = world.homes["h00"]
    for attempt in range(MOST_ATTEMPTS + 1):
        world.refill()
        sum_ = world.draw_up(model_hash=OTHER)
        if attempt < MOST_ATTEMPTS:
            sum_.join("h00")
        else:
            refused(ManifestError, "asked-before", lambda: sum_.join("h00"))  # noqa: B023
    (entry,) = home.state.answered
    assert (entry.kind, entry.attempts) == ("train", MOST_ATTEMPTS)


def test_how_often_a_home_takes_part_in_a_day() -> None:
    world = World.of(5, policy=Policy(most_a_day=3))

    def take_part(now: int = NOW) -> None:
        world.refill()
        world.draw_up(expires=now + 600).join("h00", now=now)

    for _ in range(3):
        take_part()
    refused(ManifestError, "asked-too-often", take_part)
    refused(ManifestError, "asked-too-often", lambda: take_part(NOW - 86_400))  # a clock set back
    world.restart("h00")
    refused(ManifestError, "asked-too-often", take_part)
    take_part(NOW + 86_400)


@pytest.mark.parametrize(
    ("policy", "changes", "reason"),
    [
        ({"groups": 2}, {}, "groups"),
        ({}, {"groups": 2}, "groups"),
        ({"plan": OTHER}, {}, "plan"),
        ({"bits": 8}, {}, "encoding"),
        ({"norm": "l2"}, {}, "encoding"),
        ({"most_clip": 0.4}, {}, "encoding"),
        ({"most_weight": 49}, {}, "encoding"),
        ({"bits": 9, "norm": "linf", "most_clip": 0.5, "most_weight": 50}, {}, None),
    ],
)
def test_what_the_plan_of_a_home_says_a_server_cannot_change(
    policy: dict[str, Any], changes: dict[str, Any], reason: str | None
) -> None:
    sum_ = World.of(8, policy=Policy(**policy)).draw_up(form=form_of(), **changes)
    if reason is None:
        sum_.join("h00")
    else:
        refused(ManifestError, reason, lambda: sum_.join("h00"))


def test_two_groups_where_the_plan_says_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # With groups of her own choice, dealt anew each time, sums are equations for single homes.
    def attack() -> Sum:
        world = World.of(12)
        cut = graph.groups(world.directory.seed, world.directory.names, 2)
        sum_ = world.draw_up(cut[0], groups=2, group=0, a_min=5)
        sum_.join(cut[0][0])
        return sum_

    refused(ManifestError, "groups", attack)
    weaken(monkeypatch, Policy, "_plan_faults", "manifest.groups != self.groups")
    attack()


def test_sums_over_all_rounds_of_fixed_groups_tell_no_home() -> None:
    """Whose weight follows from all of a run's sums."""
    names, groups, rounds = [f"h{n:02d}" for n in range(28)], 4, 12

    def told(cuts: list[tuple[tuple[str, ...], ...]]) -> int:
        rows = [[home in part for home in names] for cut in cuts for part in cut]
        return int(solved(np.array(rows, np.float64)).sum())

    fixed = [graph.groups(b"s" * 32, names, groups) for _ in range(rounds)]
    assert told(fixed) == 0
    # As it was: other groups in every round, and every home's number follows.
    anew = [graph.groups(bytes([turn]) * 32, names, groups) for turn in range(rounds)]
    assert told(anew) == len(names)


def test_sums_over_changing_sets_of_homes_tell_homes_after_all() -> None:
    names = [f"h{n:02d}" for n in range(28)]

    def told(rounds: int, away: float) -> int:
        return solved_in_a_run(names, groups=1, absent=[away] * rounds, least=20)

    assert told(100, 0.0) == 0
    assert told(10, 0.1) < told(100, 0.1) == 28
    assert solved(np.array([[1.0, 1, 0], [0, 1, 1], [1, 1, 1]])).tolist() == [True, True, True]
    assert solved(np.array([[1.0, 1, 0], [1, 1, 1]])).tolist() == [False, False, True]


@pytest.mark.parametrize("count", [5, 6, 7, 8, 9])
def test_small_fleets_tolerate_one_corrupt_member(count: int) -> None:
    world = World.of(count)
    assert world.directory.corrupt == 1
    # Two quorums share one member more than may be corrupt.
    assert 2 * world.directory.threshold - count > 1
    last = world.directory
    weak = replace(last, epoch=2, previous=last.hash, corrupt=0, threshold=count // 2 + 1)
    issued = world.authority.issue(weak)
    refused(DirectoryError, "committee", lambda: world.homes["h00"].renew(issued))


def test_a_fleet_of_seven_with_a_member_that_votes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    # Server and one member, which forgets what it voted for, want two sets of homes opened.
    def attack() -> tuple[Eve, NDArray[Any]]:
        world = World.of(7, bundles=1)
        eve = eve_of(world, a_min=5, tau=4)
        sent = send(eve, range(7))
        members = list(world.directory.members)
        liar, half = members[0], (len(members) - 1) // 2
        start = {home: world.homes[home].state for home in members}
        shown = (
            dict.fromkeys([liar, *members[1 : 1 + half]], range(7)),
            dict.fromkeys([liar, *members[1 + half :]], range(1, 7)),
        )
        for sets in shown:
            world.homes[liar].state = start[liar]
            world.homes[liar]._store = MemoryStore()
            try:
                eve.ask(sets)
            except OpeningError:
                continue
        return eve, sent[0]

    eve, words = attack()
    assert not eve.has(0, words)
    # As it was: one in ten, rounded down, is nobody.
    monkeypatch.setattr(policies, "corrupt_among", lambda homes, share: int(homes * share))
    monkeypatch.setattr(
        "helpers.secagg_world.corrupt_among", lambda homes, share: int(homes * share)
    )
    eve, words = attack()
    assert eve.has(0, words)


def test_one_is_always_reckoned_with() -> None:
    assert [corrupt_among(homes, 0.1) for homes in (4, 5, 9, 10, 19, 20, 29)] == [
        *(0, 1, 1, 1, 1, 2, 2)
    ]
    assert corrupt_among(100, 0.29) == 29
    assert corrupt_among(8, 0.0) == 1


def _entry(number: int, **changes: Any) -> LedgerEntry:
    values: dict[str, Any] = {
        "subject": number.to_bytes(32, "big"),
        "group": 0,
        "epoch": 1,
        "manifest": bytes(32),
        "round": number,
        "day": 1,
        "kind": "train",
    }
    return LedgerEntry(**{**values, **changes})


def test_a_ledger_keeps_the_newest_entries_and_reads_back() -> None:
    ledger = Ledger()
    for number in range(MOST_ENTRIES + 3):
        ledger = ledger.with_entry(_entry(number))
    assert len(ledger) == MOST_ENTRIES
    assert next(iter(ledger)).round == 3
    assert len(ledger.older) == 3 * 8
    assert Ledger.from_bytes(ledger.to_bytes()) == ledger


def _asked_long_ago(older: bool) -> tuple[Ledger, Manifest]:
    """Return a ledger whose newest entries are all of later sums than one, and that one's terms."""
    manifest = eve_of(World.of(8)).manifest
    entry = _entry(0, subject=manifest.subject, manifest=manifest.digest)
    ledger = Ledger().with_entry(entry)
    for number in range(1, MOST_ENTRIES + 1):
        ledger = ledger.with_entry(_entry(number))
    return ledger if older else replace(ledger, older=b""), manifest


@pytest.mark.long
def test_a_question_of_long_ago_is_not_answered_a_second_time() -> None:
    # A server that asks about other models until a home has forgotten the first, and then again
    # about that, without one home.
    ledger, manifest = _asked_long_ago(older=True)
    assert ledger.attempts(manifest.subject) == MOST_ATTEMPTS
    assert ledger.refuses(manifest)
    assert not ledger.refuses(replace(manifest, model_hash=OTHER)), "what was not asked is"
    forgetful, manifest = _asked_long_ago(older=False)  # the control
    assert forgetful.attempts(manifest.subject) == 0
    assert not forgetful.refuses(manifest)


def test_two_months_of_the_default_plan_are_remembered_at_the_fastest_pace() -> None:
    assert 60 * most_sums_a_day(Plan()) <= MOST_ENTRIES + MOST_OLDER
    # A plan of more rounds is remembered for less long: docs/security.md says it.
    thousand = most_sums_a_day(Plan.load(rounds={"count": 1000}))
    assert 3 * thousand <= MOST_ENTRIES + MOST_OLDER < 4 * thousand


def test_what_is_older_still_is_forgotten() -> None:
    full = Ledger({entry.key: entry for entry in map(_entry, range(MOST_ENTRIES))})
    full = replace(full, older=bytes(8 * MOST_OLDER))
    ledger = full.with_entry(_entry(MOST_ENTRIES))
    assert len(ledger.older) == 8 * MOST_OLDER
    assert Ledger.from_bytes(ledger.to_bytes()) == ledger
    assert len(ledger.to_bytes()) < 1 << 20, "as much as a home's state has room for"


@pytest.mark.parametrize("cut", [1, 4, 8, 12])
def test_a_ledger_that_is_cut_is_none(cut: int) -> None:
    data = replace(Ledger().with_entry(_entry(1)), older=bytes(24)).to_bytes()
    with pytest.raises(WireError):
        Ledger.from_bytes(data[:-cut])
    with pytest.raises(WireError):
        Ledger.from_bytes(data[:104] + bytes(4))  # none of none


@pytest.mark.long
def test_homes_that_joined_the_fleet_know_nothing_of_what_was_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After some homes were admitted, a quorum need not hold one that opened the first sum."""

    def attack() -> tuple[NDArray[Any], NDArray[Any]]:
        world = World.of(20, bundles=1)
        names = list(world.homes)
        openers, others = names[:12], names[12:]
        first = world.draw_up(names, model_hash=OTHER, a_min=5, tau=4)
        for home in names:
            first.join(home)
            first.upload(home)
        first.answer(openers)
        whole = first.open().words.copy()
        new = [f"n{number:02d}" for number in range(8)]
        for name in new:
            world.keys[name] = HomeKeys.create(name)
            world.stores[name] = MemoryStore()
            world.homes[name] = HomeParty(
                world.keys[name],
                world.authority.public,
                state=HomeState(),
                store=world.stores[name],
                policy=world.policy,
            )
        size = len(world.homes)
        bad = corrupt_among(size, world.policy.corrupt)
        issued = world.next_epoch(
            committee=size,
            corrupt=bad,
            threshold=(size + bad) // 2 + 1,
            homes=tuple(keys.entry() for _, keys in sorted(world.keys.items())),
        )
        for home in world.homes.values():
            home.renew(issued)
        world.refill()
        second = world.draw_up([*others, *new], model_hash=OTHER, a_min=5, tau=4)
        for home in others[1:]:
            second.join(home)
            second.upload(home)
        second.answer([*others, *new])
        return whole - second.open().words, first.sent[others[0]]

    refused(ManifestError, "asked-before", attack)
    monkeypatch.setattr(Ledger, "in_another_epoch", lambda *_: False)
    attack()  # opened: by members that knew nothing of the first


@pytest.mark.long
def test_how_many_sums_a_member_helps_to_open_in_a_day() -> None:
    """Else a server could push the first of them out of a ledger that is not endless."""
    world = World.of(12, policy=Policy(most_a_day=4), bundles=0)
    names = list(world.homes)
    for number in range(4):
        half = names[:6] if number % 2 else names[6:]
        world.refill(half)
        world.run(half)
    world.refill(names[:6])
    refused(OpeningError, "asked-too-often", lambda: world.run(names[:6]))
    world.now += 86_400  # another day has sums of its own
    world.refill(names[:6])
    assert world.run(names[:6]) is not None


def test_a_zero_is_the_same_model_whatever_its_sign() -> None:
    flat = np.array([0.0, 1.5, -2.0], np.float32)
    assert model_hash(flat) == model_hash(flat * np.array([-1, 1, 1], np.float32))
    assert model_hash(flat) != model_hash(np.nextafter(flat, np.float32(9)))
