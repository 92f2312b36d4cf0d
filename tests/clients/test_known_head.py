"""A home takes part by nothing that has expired, is stale, or contradicts what it was told."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedhome.clients.agent import kept_releases, known_head
from fedhome.clients.agent.dispatch import MessageDispatch
from fedhome.clients.agent.kept_releases import ReleaseKeeper
from fedhome.clients.agent.known_head import HEAD, HeadKeeper
from fedhome.clients.agent.resident import Agent
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DirectoryError, ReleaseError, StateError
from fedhome.fleet import freshness
from fedhome.fleet.freshness import FRESH_S, Freshness
from fedhome.fleet.state_file import FileStore
from fedhome.flower.messages import take_identity
from fedhome.keys.roots import Root
from fedhome.registry.release import NONE
from fedhome.secagg import Directory, HomeState
from fedhome.secagg.manifest import Manifest
from fedhome.store import checksummed
from helpers.publishing import HOMES, NEW, OWNER, Hub, directory_of, hub_in
from helpers.registry_world import SERVER
from helpers.secagg_world import form_of

DAY_S = 86_400
NOW = 1_800_000_000


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return hub_in(tmp_path, monkeypatch)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def node() -> None:
    """Messages are of a node."""
    take_identity(1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(hub: Hub, tmp_path: Path) -> HomeFolder:
    return hub.home(tmp_path / "home")


def directory(data: bytes | None = None) -> Directory:
    return Directory.verify(data or directory_of("a", "b"), OWNER.public)


def word(
    *, at: float = NOW, number: int = 0, release: bytes = NONE, data: bytes | None = None
) -> bytes:
    said = Freshness.of(directory(data), now=at, number=number, release=release)
    return said.sign(SERVER)


def reason_of(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises((DirectoryError, ReleaseError, StateError)) as caught:
        call(*arguments, **more)
    assert caught.value.hint
    return caught.value.reason


class Work:
    """Answers everything that it is asked."""

    layout = None

    def answer(self, message: Message) -> Message:
        return Message(RecordDict(), reply_to=message)

    def rest(self) -> None: ...

    def close(self) -> None: ...


def agent_in(place: HomeFolder) -> MessageDispatch:
    store: Any = SimpleNamespace(keys=HOMES["a"], state=HomeState(), save=lambda _state: None)
    return MessageDispatch(place, store, lambda *_: Work())  # type: ignore[arg-type,return-value]


def answers(agent: MessageDispatch, kind: str = "query") -> bool:
    return not agent.answer(Message(RecordDict(), 7, kind)).has_error()


# --- time


def test_a_word_holds_for_seven_days(place: HomeFolder, clock: Clock) -> None:
    heads = HeadKeeper(place, clock)
    heads.take(word(), directory())
    heads.read_directory(directory_of("a", "b"), OWNER.public)
    heads.check()
    clock.now += FRESH_S
    heads.check()
    clock.now += 1
    assert reason_of(heads.check) == "stale"
    heads.take(word(at=clock.now), directory())
    heads.check()


def test_an_old_word_is_no_word(
    place: HomeFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = word(at=NOW - FRESH_S - 1)
    assert reason_of(HeadKeeper(place, clock).take, old, directory()) == "stale"
    assert not (place.path / HEAD).exists()
    # The control: without an age, a superseded directory is played back to a home for ever.
    monkeypatch.setattr(freshness, "FRESH_S", 10**12)
    HeadKeeper(place, clock).take(old, directory())


def test_a_word_from_the_future_is_refused(place: HomeFolder, clock: Clock) -> None:
    heads = HeadKeeper(place, clock)
    heads.take(word(at=NOW + 120), directory())
    for ahead in (121, 240, DAY_S):  # nor step by step
        assert reason_of(heads.take, word(at=NOW + ahead), directory()) == "clock"


def test_a_clock_that_is_set_back_makes_nothing_young_again(
    place: HomeFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires = NOW - 10 * DAY_S
    ended = directory_of("a", "b", expires=expires)
    HeadKeeper(place, clock).take(word(), directory())
    clock.now = expires - DAY_S
    again = HeadKeeper(place, clock)  # after a restart
    assert again.now() == NOW
    assert reason_of(again.read_directory, ended, OWNER.public) == "expired"
    assert reason_of(again.take, word(at=clock.now), directory()) == "stale"
    # The control: by its own clock alone the home takes both.
    monkeypatch.setattr(HeadKeeper, "now", lambda self: self._clock())
    again.read_directory(ended, OWNER.public)
    again.take(word(at=clock.now), directory())


def test_clocks_that_were_both_ahead_are_told(place: HomeFolder, clock: Clock) -> None:
    clock.now = NOW + 300 * DAY_S
    HeadKeeper(place, clock).take(word(at=clock.now), directory())
    clock.now = float(NOW)
    with pytest.raises(DirectoryError) as caught:
        HeadKeeper(place, clock).take(word(), directory())
    assert caught.value.reason == "stale"
    assert caught.value.message == (
        "the server said on 2027-11-11 08:00 UTC what is newest, and it is 2027-01-15 08:00 UTC "
        "here"
    )
    assert f"remove {place.path / HEAD}" in caught.value.hint
    (place.path / HEAD).unlink()  # as it says
    HeadKeeper(place, clock).take(word(), directory())


def test_no_home_takes_part_by_a_directory_that_has_expired(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires = int(time.time()) + DAY_S
    data = directory_of("a", "b", expires=expires)
    agent = agent_in(place)
    assert agent.renew(data, word(at=time.time(), data=data)) == 1
    assert answers(agent)
    later = float(expires)
    late = agent_in(place)
    monkeypatch.setattr(late.heads, "_clock", lambda: later)
    with pytest.raises(DirectoryError) as caught:
        late.renew(data, word(at=later, data=data))
    assert caught.value.reason == "expired"
    assert "fedhome fleet directory" in caught.value.hint
    assert late._machine.state.last is None


@pytest.mark.parametrize("kind", ["query", "train", "evaluate", "query.bundle", "query.help"])
def test_a_directory_that_expires_meanwhile_ends_every_answer(
    place: HomeFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = directory_of("a", "b", expires=NOW + DAY_S)
    agent = agent_in(place)
    monkeypatch.setattr(agent.heads, "_clock", clock)
    agent.renew(data, word(data=data))
    assert answers(agent)
    clock.now += DAY_S
    another = RecordDict({"config": ConfigRecord({"number": 2})})
    answer = agent.answer(Message(another, 7, kind))
    assert answer.error.reason == "expired"
    assert isinstance(agent.trouble, DirectoryError)
    assert (agent.trouble.reason, "fedhome fleet directory" in agent.trouble.hint) == (
        "expired",
        True,
    )
    # The control: without the check, the home answers by what its owner may have undone.
    monkeypatch.setattr(Directory, "check_time", lambda *_: None)
    assert answers(agent)


def test_a_home_that_was_told_nothing_takes_no_part(place: HomeFolder) -> None:
    agent = agent_in(place)
    data = directory_of("a", "b")
    with pytest.raises(DirectoryError) as caught:
        agent.renew(data, b"nothing")
    assert caught.value.reason == "freshness"
    agent._machine.renew(data)  # as after a restart without a word
    assert not answers(agent)


# --- whose word, and about what


def test_a_word_is_the_servers_own_and_about_the_homes_directory(
    place: HomeFolder, clock: Clock
) -> None:
    heads, mine = HeadKeeper(place, clock), directory()
    said = Freshness.of(mine, now=NOW)
    later = directory(directory_of("a", "b", epoch=2))
    for data, reason in (
        (said.sign(NEW), "signature"),
        (Freshness.of(later, now=NOW).sign(SERVER), "other-directory"),
        (directory_of("a", "b"), "freshness"),
        (b"", "freshness"),
    ):
        assert reason_of(heads.take, data, mine) == reason
    # What the server signs elsewhere is no word.
    body = said.to_bytes()
    bare = freshness.Signed(body=body, signature=SERVER.sign(body)).to_bytes()
    assert reason_of(heads.take, bare, mine) == "signature"


def test_a_directory_is_read_once_and_any_other_bytes_are_checked_anew(
    place: HomeFolder, clock: Clock
) -> None:
    heads, data = HeadKeeper(place, clock), directory_of("a", "b")
    first = heads.verified(data)
    assert first == directory(data)
    assert heads.verified(bytes(data)) is first
    altered = data[:-1] + bytes([data[-1] ^ 1])
    assert reason_of(heads.verified, altered) == "signature"
    assert reason_of(heads.verified, altered) == "signature"
    assert heads.verified(data) == first
    later = directory_of("a", "b", epoch=2)
    assert heads.verified(later).epoch == 2
    assert heads.verified(data).epoch == 1


def test_a_word_about_another_directory_ends_the_answers(place: HomeFolder) -> None:
    agent = agent_in(place)
    data, later = directory_of("a", "b"), directory_of("a", "b", epoch=2)
    agent.renew(data, word(at=time.time()))
    HeadKeeper(place).take(word(at=time.time(), data=later), directory(later))
    assert not answers(agent)
    assert agent.trouble is not None
    assert agent.trouble.reason == "other-directory"


# --- releases that the server has named


def test_what_was_named_is_never_taken_back(place: HomeFolder, clock: Clock) -> None:
    heads, mine = HeadKeeper(place, clock), directory()
    heads.take(word(), mine)
    heads.take(word(number=5, release=b"5" * 32), mine)
    heads.take(word(number=5, release=b"5" * 32), mine)
    heads.take(word(number=7, release=b"7" * 32), mine)
    again = HeadKeeper(place, clock)
    for number, release, reason in (
        (7, b"x" * 32, "other-head"),
        (5, b"x" * 32, "other-head"),
        (5, b"5" * 32, "older-head"),
        (6, b"6" * 32, "older-head"),
        (0, NONE, "older-head"),
    ):
        assert reason_of(again.take, word(number=number, release=release), mine) == reason
    assert again.named(SERVER.public) == {5: b"5" * 32, 7: b"7" * 32}


@pytest.mark.long
def test_a_server_that_names_more_than_it_hands_over_is_refused(
    place: HomeFolder, clock: Clock
) -> None:
    heads = HeadKeeper(place, clock)
    for number in range(1, known_head.MOST_AHEAD + 1):
        heads.take(word(number=number, release=bytes([number]) * 32), directory())
    further = word(number=99, release=b"y" * 32)
    assert reason_of(heads.take, further, directory()) == "too-far-ahead"


def test_another_server_key_begins_anew(place: HomeFolder, clock: Clock) -> None:
    heads = HeadKeeper(place, clock)
    heads.take(word(number=7, release=b"7" * 32), directory())
    data = directory_of("a", "b", epoch=2, server=NEW)
    theirs = directory(data)
    heads.take(Freshness.of(theirs, now=NOW, number=1, release=b"1" * 32).sign(NEW), theirs)
    assert heads.named(SERVER.public) == {7: b"7" * 32}
    assert heads.named(NEW.public) == {1: b"1" * 32}


@pytest.mark.long
def test_what_a_server_named_whose_key_was_exchanged_keeps_no_home_from_the_next(
    place: HomeFolder, clock: Clock
) -> None:
    """It did for ever: it named as many releases as a home keeps, and handed over none."""
    heads = HeadKeeper(place, clock)
    for number in range(1, known_head.MOST_AHEAD + 1):
        heads.take(word(number=number, release=bytes([number]) * 32), directory())
    theirs = directory(directory_of("a", "b", epoch=2, server=NEW))
    for number in (1, 2):
        said = Freshness.of(theirs, now=NOW, number=number, release=bytes([number]) * 32)
        heads.take(said.sign(NEW), theirs)
    assert heads.named(NEW.public) == {1: bytes([1]) * 32, 2: bytes([2]) * 32}
    assert sorted(heads.named(SERVER.public)) == list(range(3, known_head.MOST_AHEAD + 1))


def test_a_home_that_cannot_remember_is_told_nothing(place: HomeFolder, clock: Clock) -> None:
    HeadKeeper(place, clock).take(word(), directory())
    path = place.path / HEAD
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        path.write_bytes(damaged)
        assert reason_of(HeadKeeper(place, clock).take, word(), directory()) == "altered"
    path.write_bytes(whole)
    for of_no_owner in (b"x", Root.first(bytes(16), bytes(32)).to_bytes()[:-1]):
        checksummed.put(path, replace(known_head.known_head(place), root=of_no_owner))
        with pytest.raises(StateError, match="is damaged") as caught:
            _ = HeadKeeper(place, clock).root
        assert caught.value.hint == "if you trust what the server says now, remove this file"


# --- what homes of one sum agree on


def manifest(number: int, release: bytes, *, of: Directory | None = None) -> bytes:
    """Return the terms of a sum, as the server signs them."""
    terms: dict[str, Any] = {
        "run": b"r" * 16,
        "turn": 1,
        "round": 1,
        "purpose": "train",
        "plan": bytes(32),
        "settings": bytes(32),
        "model_hash": b"m" * 32,
        "form": form_of(),
        "n_min": 1,
        "a_min": 1,
        "degree": 0,
        "tau": 0,
        "expires": NOW + 600,
    }
    drawn = Manifest.of(of or directory(), [], **terms, release=number, release_hash=release)
    return drawn.sign(SERVER)


def test_the_terms_of_a_sum_name_the_newest_release(
    place: HomeFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads, mine = HeadKeeper(place, clock), directory()
    heads.take(word(number=7, release=b"7" * 32), mine)
    assert heads.read_manifest(manifest(7, b"7" * 32), mine).release == 7
    lies = [
        (manifest(7, b"x" * 32), "other-head"),
        (manifest(6, b"6" * 32), "older-head"),
        (manifest(0, NONE), "older-head"),
    ]
    for data, reason in lies:
        assert reason_of(HeadKeeper(place, clock).read_manifest, data, mine) == reason
    # What a home did not know yet it remembers, and holds the server to it.
    heads.read_manifest(manifest(8, b"8" * 32), mine)
    assert reason_of(heads.take, word(number=8, release=b"x" * 32), mine) == "other-head"
    assert reason_of(heads.take, word(number=7, release=b"7" * 32), mine) == "older-head"
    # The control: homes that compare nothing are led along two chains.
    monkeypatch.setattr(HeadKeeper, "_with_release", lambda *_, **__: ())
    for data, _ in lies:
        heads.read_manifest(data, mine)


def test_two_homes_on_two_chains_are_in_no_sum_together(hub: Hub, tmp_path: Path) -> None:
    """Each chain is sound in itself; the sum's terms can name but one of them."""
    for number in (1, 2):
        registry = hub.publish(number)
    one = ReleaseKeeper(hub.home(tmp_path / "one"), HOMES["a"])
    assert one.update() is not None
    mine = registry.find("latest").hash
    shutil.rmtree(registry.folder)
    for number in (1, 3):
        registry = hub.publish(number)
    other = ReleaseKeeper(hub.home(tmp_path / "other"), HOMES["a"])
    assert other.update() is not None
    theirs = registry.find("latest").hash
    assert mine != theirs
    named, led = hub.newest.directory(), [(one, mine), (other, theirs)]
    for keeper, own in led:
        keeper._heads.read_manifest(manifest(2, own, of=named), named)
        strange = theirs if own == mine else mine
        refused = manifest(2, strange, of=named)
        assert reason_of(keeper._heads.read_manifest, refused, named) == "other-head"


def test_a_home_tells_why_it_takes_no_part(place: HomeFolder) -> None:
    with FileStore.create(place.path, HOMES["a"]) as store:
        agent = Agent(place, store, lambda *_: Work())  # type: ignore[arg-type,return-value]
        heads, mine = agent._tasks.heads, directory()
        heads.take(word(at=time.time(), number=7, release=b"7" * 32), mine)
        with pytest.raises(DirectoryError) as caught:
            heads.read_manifest(manifest(7, b"x" * 32), mine)
        agent._report_trouble(caught.value)
        assert place.status is not None
        assert "another release 7 than the one that this home knows" in place.status.detail
        assert "ask the fleet's owner" in place.status.detail
        agent._report_trouble(None)
        assert place.status.detail == ""


def test_a_home_that_is_never_idle_fetches_what_was_named(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileStore.create(place.path, HOMES["a"]) as store:
        agent = Agent(place, store, lambda *_: Work())  # type: ignore[arg-type,return-value]
        data = directory_of("a", "b")
        agent._tasks.heads.hear(word(at=time.time(), data=data))
        mine = agent._tasks.heads.read_directory(data, OWNER.public)
        for number in range(1, 16):
            agent._tasks.heads.read_manifest(manifest(number, bytes([number]) * 32), mine)
        assert not agent._newer.many_are_named()
        agent._tasks.heads.read_manifest(manifest(16, b"p" * 32), mine)
        assert agent._newer.many_are_named()
        monkeypatch.setattr(HeadKeeper, "waiting", property(_damaged))
        assert not agent._newer.many_are_named()


def _damaged(_heads: HeadKeeper) -> int:
    raise StateError("it is damaged", reason="altered")


# --- homes that fetch releases


@pytest.fixture
def taken(hub: Hub, place: HomeFolder) -> ReleaseKeeper:
    """A home that has taken the second release."""
    hub.publish(1)
    hub.publish(2)
    releases = ReleaseKeeper(place, HOMES["a"])
    assert releases.update() is not None
    return releases


def test_a_home_that_knows_nothing_begins_with_the_release_that_is_named(
    hub: Hub, place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        registry = hub.publish(number)
    old = hub.told = registry.package(1)
    assert reason_of(ReleaseKeeper(place, HOMES["a"]).update) == "withheld"
    hub.told = b""
    assert reason_of(ReleaseKeeper(place, HOMES["a"]).update) == "withheld"
    hub.told = None
    manifest = ReleaseKeeper(place, HOMES["a"]).update()
    assert manifest is not None
    assert manifest.number == 3
    # The control: without the word, it takes any release that the server ever signed.
    fresh = hub.home(place.path.with_name("fresh"))
    monkeypatch.setattr(kept_releases, "_check_whole", lambda *_: None)
    hub.told = old
    manifest = ReleaseKeeper(fresh, HOMES["a"]).update()
    assert manifest is not None
    assert manifest.number == 1


def test_a_release_that_is_held_back_is_missed(hub: Hub, taken: ReleaseKeeper) -> None:
    """Whoever sits between home and server cannot show it the past."""
    before = hub.door.answer(hub.asked[-1])
    hub.publish(3)
    hub.told = b""
    assert reason_of(taken.update) == "withheld"
    hub.said = kept_releases.ReleaseResponse.from_bytes(before).freshness  # of just now
    assert reason_of(taken.update) == "older-head"


def test_a_chain_that_contradicts_what_was_named_is_refused(hub: Hub, taken: ReleaseKeeper) -> None:
    for number in range(3, 6):
        registry = hub.publish(number)
    heads = taken._heads
    heads.take(hub.says(4, b"x" * 32), hub.newest.directory())  # as another home was told
    assert reason_of(taken.update) == "fork"
    assert registry.find("latest").number == 5


def test_what_was_walked_is_no_longer_ahead(hub: Hub, taken: ReleaseKeeper) -> None:
    registry = hub.publish(3)
    heads = taken._heads
    heads.take(hub.says(3, registry.find(3).hash), hub.newest.directory())
    assert list(heads.named(SERVER.public)) == [3]
    assert taken.update() is not None
    hub.publish(4)
    assert taken.update() is not None
    assert list(heads.named(SERVER.public)) == [4]


def test_no_release_is_taken_by_a_directory_that_has_expired(
    hub: Hub, taken: ReleaseKeeper
) -> None:
    hub.publish(3)
    taken._home_folder.keep_directory(directory_of("a", "b", expires=int(time.time()) - 1))
    assert reason_of(taken.update) == "expired"
