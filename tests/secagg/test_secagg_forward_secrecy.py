"""Who records everything, and takes everything when some hours have passed, opens nothing.

The thief has all traffic of a sum: ring, bundles, manifest, uploads, requests, votes, answers.
Later it takes all that is stored: keys of homes, of the server and of the fleet's authority, and
each home's state. Before the secrets of the sum's period are erased this opens each upload
exactly; afterwards, none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedhome.errors import BundleError
from fedhome.fleet.state_file import FileStore, peek
from fedhome.secagg import (
    HomeParty,
    HomeState,
    KeyRing,
    ShareKey,
    sealing_party,
    share_keys,
)
from fedhome.secagg.bundle import NONCE_BYTES, BundleHead
from fedhome.secagg.seals import OpenedRows, SealedFor, Seals, cipher_of, unsealed
from fedhome.secagg.share_checks import WRONG, CheckAnswer, CheckRequest, Dispute, foretold
from fedhome.secagg.share_keys import PERIOD_S, is_live, period_of, sealing_key
from fedhome.secagg.sum_messages import MISSING, Answer
from helpers.secagg_attacker import Eve, eve_of, refused, send, weaken
from helpers.secagg_world import NOW, Sum, Words, World

LATER = NOW + 2 * PERIOD_S
States = dict[str, HomeState]


def _recorded(*, answered: bool) -> tuple[Eve, dict[int, Words], KeyRing]:
    """Return a sum of eight homes of which somebody has all traffic, and what homes sent in it."""
    world = World.of(8)
    ring = world.ring()
    eve = eve_of(world)
    sent = send(eve, range(7))  # the last home never joins: it keeps its one-time key
    if answered:
        eve.ask(range(7))
    return eve, sent, ring


def _stolen(world: World) -> States:
    """Return every home's state as its store holds it."""
    return {home: HomeState.from_bytes(store.data) for home, store in world.stores.items()}


def _forget(world: World, now: float) -> None:
    for home in world.homes.values():
        home.forget(now)


def _break_open(
    eve: Eve, states: States, ring: KeyRing, *, by: Collection[str] = ("members", "homes")
) -> None:
    """Open all sealed shares that the stolen secrets open, of members or of homes."""
    for place, bundle in enumerate(eve.bundles):
        live = states[bundle.home].live.get(bundle.serial)
        if live is not None:
            eve.keys[place] = live.key
        for number, member in enumerate(eve.world.directory.members):
            row, found = bundle.row(number), list[OpenedRows]()
            if "members" in by:
                seals = Seals(eve.world.keys[member], eve.world.directory)
                bound = bundle.head.associated_data(eve.world.directory.hash)
                periods = states[member].periods
                found.append(seals.open_all(periods, [(bundle.home, bound)], row))
            if "homes" in by:
                for secret in states[bundle.home].periods.values():
                    key = ring.by_member[member]
                    found.append(_by_home(eve.world.directory.hash, secret, bundle.head, row, key))
            for rows in found:
                if rows.why == [None]:
                    for half, own_mask in enumerate((False, True)):
                        share = rows.shares[0, half].astype("<u4").tobytes()
                        eve.loot.setdefault((bundle.public, own_mask), {})[number] = share


def _by_home(
    directory: bytes, secret: bytes, head: BundleHead, row: bytes, key: ShareKey
) -> OpenedRows:
    """Return a member's shares, opened by what its home drew for the period."""
    own = sealing_key(secret, directory, key.member)
    between = SealedFor(
        directory=directory,
        home=head.home,
        member=key.member,
        home_key=own.public_key().public_bytes_raw(),
        member_key=key.key,
    )
    bound = head.associated_data(directory) + key.member.encode()
    nonce, sealed = row[:NONCE_BYTES], row[NONCE_BYTES + 36 :]
    return OpenedRows.of([unsealed(cipher_of(own, key.key, between), nonce, sealed, bound)])


@pytest.mark.parametrize("answered", [True, False])
def test_a_thief_of_everything_opens_no_upload_once_periods_have_passed(answered: bool) -> None:
    eve, _, ring = _recorded(answered=answered)
    _forget(eve.world, LATER)
    before = {kind: dict(shares) for kind, shares in eve.loot.items()}
    _break_open(eve, _stolen(eve.world), ring)
    assert eve.loot == before  # no sealed share opened
    assert [eve.bare(place) for place in range(7)] == [None] * 7


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("by", ["members", "homes"])
def test_the_same_thief_opens_every_upload_if_it_came_in_time(answered: bool, by: str) -> None:
    eve, sent, ring = _recorded(answered=answered)
    states = _stolen(eve.world)
    _forget(eve.world, LATER)
    _break_open(eve, states, ring, by={by})
    for place in range(7):
        assert eve.has(place, sent[place])


def test_a_thief_of_fewer_members_than_open_a_sum_opens_nothing_even_in_time() -> None:
    eve, sent, ring = _recorded(answered=True)
    states, members = _stolen(eve.world), eve.world.directory.members
    threshold = eve.world.directory.threshold
    _break_open(eve, _only(states, set(members[: threshold - 1])), ring, by={"members"})
    victim = eve.manifest.names.index(members[threshold])
    assert eve.bare(victim) is None
    _break_open(eve, _only(states, set(members[:threshold])), ring, by={"members"})
    assert eve.has(victim, sent[victim])


def _only(states: States, homes: set[str]) -> States:
    return {
        home: state if home in homes else replace(state, periods={}, live={})
        for home, state in states.items()
    }


def test_without_the_erasure_the_thief_opens_every_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in (share_keys, sealing_party):
        weaken(monkeypatch, owner, "kept", "if is_live(period, now)", "")
    eve, sent, ring = _recorded(answered=True)
    _forget(eve.world, LATER)
    _break_open(eve, _stolen(eve.world), ring)
    assert eve.has(0, sent[0])


# --- what is erased is gone


def _reachable(start: object) -> Iterator[object]:
    """Yield all that hangs on an object: what its process has in memory because of it."""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        elif type(one).__module__.startswith("fedhome"):
            waiting += [getattr(one, name) for name in _fields(one)]


def _fields(one: object) -> list[str]:
    slots = [name for base in type(one).__mro__ for name in getattr(base, "__slots__", ())]
    return [name for name in [*getattr(one, "__dict__", {}), *slots] if hasattr(one, name)]


def test_erased_secrets_are_in_no_store_and_in_no_memory() -> None:
    world = World.of(5, bundles=2)
    world.run()
    secrets = {home: party.state.periods[period_of(NOW)] for home, party in world.homes.items()}
    for home, party in world.homes.items():
        assert secrets[home] in world.stores[home].data
        assert any(isinstance(one, AESGCM) for one in _reachable(party._seals))
    _forget(world, LATER)
    for home, party in world.homes.items():
        assert secrets[home] not in world.stores[home].data
        found = list(_reachable([party, world.stores[home]]))
        assert not any(isinstance(one, bytes) and secrets[home] in one for one in found)
        assert not any(isinstance(one, AESGCM) for one in found)
        assert world.restart(home).state.periods == {}


def test_a_secret_lives_for_its_period_and_the_ones_beside_it() -> None:
    world = World.of(5, bundles=0)
    home, period = world.homes["h00"], period_of(NOW)
    home.share_key(now=NOW)
    secret = home.state.periods[period]
    start = period * PERIOD_S
    for now in (start - PERIOD_S, start, start + PERIOD_S, start + 2 * PERIOD_S - 1):
        home.forget(now)
        assert home.state.periods == {period: secret}
    home.forget(start + 2 * PERIOD_S)
    assert home.state.periods == {}
    home.share_key(now=NOW)
    home.forget(start - PERIOD_S - 1)
    assert home.state.periods == {}


def test_no_more_secrets_are_kept_than_of_three_periods() -> None:
    world = World.of(5, bundles=0)
    home = world.homes["h00"]
    secrets = set()
    for hour in range(0, 24 * 7, 5):
        now = NOW + 3600 * hour
        home.share_key(now=now)
        kept = world.stores["h00"].load().periods
        assert 1 <= len(kept) <= 2  # the clock goes on: none is of the next period
        assert all(is_live(period, now) for period in kept)
        secrets |= set(kept.values())
    assert len(secrets) == period_of(NOW + 3600 * 165) - period_of(NOW) + 1  # each drawn anew


def test_whatever_a_home_is_asked_it_first_erases_what_is_over() -> None:
    sum_ = World.of(5, bundles=0)
    sum_.refill()
    drawn = sum_.draw_up()
    for home in drawn.bundles:
        drawn.join(home)
        drawn.upload(home)
    drawn.vote()
    request = drawn.aggregator.requests()["h00"]
    check = CheckRequest.of([drawn.bundles["h01"]], drawn.world.directory.members.index("h00"))
    dispute = _dispute(drawn)
    calls: dict[str, Callable[[HomeParty], object]] = {
        "share_key": lambda home: home.share_key(now=LATER),
        "bundle": lambda home: home.bundle(now=LATER),
        "check": lambda home: home.check(check.to_bytes(), now=LATER),
        "show_key": lambda home: home.show_key(dispute, now=LATER),
        "answer": lambda home: home.answer(request, now=LATER),
    }
    world, period = drawn.world, period_of(NOW)
    kept = world.stores["h00"].load()
    for name, call in calls.items():
        world.stores["h00"].save(kept)
        home = world.restart("h00")
        assert period in home.state.periods
        with suppress(BundleError):  # "no-ring" and "erased": there is nothing to seal for or show
            call(home)
        assert period not in world.stores["h00"].load().periods, name


def _dispute(sum_: Sum, home: str = "h00") -> bytes:
    """Return the complaint of a member, which lies, about its share of a home."""
    world = sum_.world
    member = next(one for one in world.directory.members if one != home)
    request = CheckRequest.of([sum_.bundles[home]], world.directory.members.index(member))
    answer = CheckAnswer.from_bytes(world.homes[member].check(request.to_bytes(), now=NOW))
    said = replace(answer, values=WRONG)
    said = replace(said, signature=world.keys[member].sign(said.statement))
    return Dispute(bundle=sum_.bundles[home], answer=said, place=0).to_bytes()


def test_a_clock_that_is_set_back_brings_nothing_back() -> None:
    world = World.of(8)
    ring, sum_ = world.ring(), world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.vote()
    requests = sum_.aggregator.requests()
    complaint = _dispute(sum_)
    _forget(world, LATER)
    for number, member in enumerate(world.directory.members):
        party = world.homes[member]
        shares = Answer.from_bytes(party.answer(requests[member], now=NOW)).shares
        assert shares == MISSING * 8
        party.share_key(now=NOW)
        key = ShareKey.from_bytes(party.share_key(now=NOW))
        assert key.key != ring.by_member[member].key
        shares = Answer.from_bytes(party.answer(requests[member], now=NOW)).shares
        assert shares == MISSING * 8
        bundle = sum_.bundles["h00"]
        asked = CheckRequest.of([bundle], number).to_bytes()
        told = CheckAnswer.from_bytes(party.check(asked, now=NOW)).values
        assert told != foretold(bundle, world.directory, number)
    refused(BundleError, "erased", lambda: world.homes["h00"].show_key(complaint, now=NOW))


def test_what_a_home_must_remember_outlives_the_erasure() -> None:
    world = World.of(5, bundles=2)
    world.run()
    for home, party in world.homes.items():
        before = party.state
        assert before.periods
        assert before.openings
        assert len(before.answered) == len(before.opened) == 1
        party.forget(LATER)
        assert party.state == replace(before, periods={}, version=before.version + 1)
        assert world.restart(home).state == party.state
        assert (party.state.serial, party.state.sum_number) == (2, 1)
        version = party.state.version
        party.forget(LATER)  # there is nothing more to erase, and nothing is written
        assert party.state.version == version


def test_a_sum_that_was_not_opened_in_its_hours_is_lost_and_the_next_one_works() -> None:
    world = World.of(6)
    sum_ = world.draw_up()
    for home in sum_.bundles:
        sum_.join(home)
        sum_.upload(home)
    sum_.vote()
    requests = sum_.aggregator.requests()
    for member, request in requests.items():
        answer = world.homes[member].answer(request, now=LATER)
        sum_.aggregator.receive_opening(member, answer)
    assert sum_.aggregator.lost == sum_.manifest.names
    assert sum_.aggregator.wrong == ()  # time passed: nobody is to blame
    ring = world.ring(now=LATER).to_bytes()
    for home in world.homes:
        world.pool.add(home, world.homes[home].bundle(ring, now=LATER))
    world.turn += 1
    bundles = world.pool.take(world.homes)
    terms = world.manifest(bundles, expires=LATER + 600).sign(world.server)
    after = Sum(world, bundles, terms)
    for home in after.bundles:
        after.join(home, now=LATER)
        after.upload(home)
    polls = after.aggregator.polls()
    for member, poll in polls.items():
        after.aggregator.receive_vote(member, world.homes[member].answer(poll, now=LATER))
    for member, request in after.aggregator.requests().items():
        after.aggregator.receive_opening(member, world.homes[member].answer(request, now=LATER))
    assert np.array_equal(after.open().words, after.expected)


def test_a_new_epoch_erases_too() -> None:
    world = World.of(5)
    secret = world.homes["h00"].state.periods[period_of(NOW)]
    world.homes["h00"].renew(world.next_epoch())
    assert secret not in world.stores["h00"].data
    assert world.homes["h00"].state.ring == b""
    refused(BundleError, "no-ring", lambda: world.homes["h00"].bundle(now=NOW))


def test_an_erased_secret_is_not_in_the_file_that_a_home_keeps(tmp_path: Path) -> None:
    world = World.of(5, bundles=0)
    folder = tmp_path / "h00"
    with FileStore.create(folder, world.keys["h00"]) as store:
        party = HomeParty(world.keys["h00"], world.authority.public, state=store.state, store=store)
        party.renew(world.issued)
        party.share_key(now=NOW)
        names = sorted(path.name for path in folder.iterdir())
        secret = party.state.periods[period_of(NOW)]
    assert peek(folder, home="h00").periods == {period_of(NOW): secret}
    with FileStore.open(folder) as store:
        party = HomeParty(world.keys["h00"], world.authority.public, state=store.state, store=store)
        party.forget(LATER)
    assert secret not in peek(folder, home="h00").to_bytes()
    assert sorted(path.name for path in folder.iterdir()) == names  # no older copy beside it
