"""Whom an owner admits by an invite, and whom not."""

from __future__ import annotations

import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fedhome.cli import fleet_admit
from fedhome.errors import DirectoryError, WireError
from fedhome.fleet import owner_requests
from fedhome.fleet.cards import Inviter
from fedhome.fleet.entries import signed_entry
from fedhome.fleet.invites import EnrolmentResponse, Invite
from fedhome.fleet.leave_notice import leave_notice
from fedhome.fleet.owner_folder import Fleet
from fedhome.secagg import HomeKeys
from helpers.invite_world import (
    CARD,
    EXPIRES,
    NOW,
    PASSPHRASE,
    PLAN,
    SKEW,
    World,
    invite_of,
    reason_of,
    stop_the_clock,
    unchecked,
    world_of,
)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_the_clock(monkeypatch)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return world_of(tmp_path)


def test_an_expired_invite_is_refused_everywhere(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    posted = invite.enrolment(keys, EXPIRES)
    invite.check(EXPIRES)
    assert reason_of(invite.check, EXPIRES + 1) == "expired"
    assert reason_of(invite.enrolment, keys, EXPIRES + 1) == "expired"
    world.now = EXPIRES + 1
    assert reason_of(world.server.enrol, posted) == "expired"
    assert reason_of(world.owned.admit, posted, now=EXPIRES + 1) == "expired"
    assert "hub" not in world.owned.homes
    world.now = EXPIRES
    world.server.enrol(posted)
    assert [one.home for one in world.owned.admit(posted, now=EXPIRES)] == ["hub"]


def test_a_leave_notice_counts_once_and_for_what_came_before_it(world: World) -> None:
    """A server may hand over what it likes: the same notice twice, or one of an earlier stay."""
    keys, fleet = HomeKeys.create("hub"), world.owned.anchor.fleet
    posted = world.invite().enrolment(keys, NOW)

    def sorted_with(*times: int) -> tuple[set[str], int]:
        notices = tuple(leave_notice(fleet, keys, time) for time in times)
        waiting = owner_requests.PendingApplications(epoch=0, enrolments=(posted,), notices=notices)
        found = fleet_admit._sort_waiting(world.owned, waiting)
        return set(found.new), len(found.notes)

    assert sorted_with() == ({"hub"}, 0)
    assert sorted_with(NOW - 1) == ({"hub"}, 0)  # before it was invited again
    assert sorted_with(NOW) == (set(), 1)
    assert sorted_with(NOW + 1, NOW + 1, NOW + 2) == (set(), 1)  # it ended `fleet admit` before


def test_a_notice_of_an_earlier_stay_can_be_played_back_and_shows_its_date(world: World) -> None:
    """What is told in docs/security.md: of a home that is back with its keys, not with new ones."""
    keys, fleet = HomeKeys.create("hub"), world.owned.anchor.fleet
    notice = leave_notice(fleet, keys, NOW + 10)

    def leaving() -> dict[str, int]:
        waiting = owner_requests.PendingApplications(epoch=0, enrolments=(), notices=(notice,))
        found = fleet_admit._sort_waiting(world.owned, waiting)
        return {home: one.time for home, one in found.leaving.items()}

    def stay(keys: HomeKeys) -> None:
        world.owned.admit(world.invite().enrolment(keys, NOW + 100), now=NOW + 100)

    stay(keys)
    assert leaving() == {"hub": NOW + 10}
    world.owned.revoke("hub")
    assert leaving() == {}
    stay(keys)
    assert leaving() == {"hub": NOW + 10}, "though it came back after that"
    world.owned.revoke("hub")
    stay(HomeKeys.create("hub"))
    assert leaving() == {}


def test_from_an_invite_to_the_directory(world: World) -> None:
    invite, keys = Invite.from_text(world.invite().to_text()), HomeKeys.create("hub")
    assert world.owned.open_invites == {"hub": EXPIRES}
    assert world.pending() == owner_requests.PendingApplications(epoch=0, enrolments=(), notices=())
    posted = invite.enrolment(keys, NOW)
    assert EnrolmentResponse.from_bytes(world.server.enrol(posted)) == EnrolmentResponse(
        admitted=False
    )
    assert world.pending().enrolments == (posted,)

    found = world.owned.check(posted)
    assert (found.entry, found.home) == (keys.entry(), "hub")
    assert (found.expires, found.time) == (EXPIRES, NOW)
    assert world.owned.admit(posted) == (keys.entry(),)
    assert reason_of(world.owned.check, posted) == "admitted"
    assert world.owned.open_invites == {}
    world.take(world.sign())
    assert world.place.directory().entries["hub"] == keys.entry()
    assert world.pending() == owner_requests.PendingApplications(epoch=1, enrolments=(), notices=())
    assert [path.suffix for path in (world.place.path / "enrolments").iterdir()] == [".used"]
    assert EnrolmentResponse.from_bytes(world.server.enrol(posted)) == EnrolmentResponse(
        admitted=True
    )


def test_the_same_enrolment_again_changes_nothing(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    posted = invite.enrolment(keys, NOW)
    world.server.enrol(posted)
    world.now += 2 * SKEW  # however late
    for again in (posted, invite.enrolment(keys, NOW), invite.enrolment(keys, NOW + 60)):
        assert EnrolmentResponse.from_bytes(world.server.enrol(again)) == EnrolmentResponse(
            admitted=False
        )
    assert world.pending().enrolments == (posted,)


def test_a_revoked_home_does_not_come_back_with_its_old_enrolment(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    posted = invite.enrolment(keys, NOW)
    world.server.enrol(posted)
    world.owned.admit(posted)
    world.take(world.sign())
    world.owned.revoke("hub")
    world.take(world.sign())
    for again in (posted, invite.enrolment(keys, NOW), invite.enrolment(HomeKeys.create("hub"), 0)):
        assert reason_of(world.owned.admit, again) == "used"
    assert "hub" not in world.owned.homes
    # A late replay is refused by the server already.
    world.now += SKEW + 1
    assert reason_of(world.server.enrol, posted) == "clock"
    assert world.pending().enrolments == ()


def test_one_ticket_makes_one_home(world: World) -> None:
    invite = world.invite()
    first, second = (invite.enrolment(HomeKeys.create("hub"), NOW) for _ in range(2))
    world.server.enrol(first)
    assert reason_of(world.server.enrol, second) == "used"
    assert world.pending().enrolments == (first,)
    # A server that hands on both gets one in, at most.
    assert reason_of(world.owned.admit, first, second) == "home-twice"
    world.owned.admit(first)
    assert reason_of(world.owned.admit, second) == "used"
    world.take(world.sign())
    assert reason_of(world.server.enrol, second) == "home-twice"


def test_the_last_invite_of_a_home_counts(world: World) -> None:
    lost, found = world.invite(), world.invite()
    by_thief = lost.enrolment(HomeKeys.create("hub"), NOW)
    keys = HomeKeys.create("hub")
    posted = found.enrolment(keys, NOW)
    world.server.enrol(by_thief)
    world.server.enrol(posted)
    assert {*world.pending().enrolments} == {by_thief, posted}
    assert reason_of(world.owned.admit, by_thief) == "used"
    assert world.owned.admit(posted) == (keys.entry(),)
    assert reason_of(world.invite) == "home-twice"
    world.take(world.sign())
    assert world.pending().enrolments == ()


def test_a_revoked_invite_admits_nobody(world: World) -> None:
    invite = world.invite()
    world.owned.revoke("hub")
    assert world.owned.open_invites == {}
    posted = invite.enrolment(HomeKeys.create("hub"), NOW)
    assert reason_of(world.owned.admit, posted) == "used"
    assert reason_of(world.owned.revoke, "hub") == "unknown-home"


def test_a_home_takes_the_name_that_it_was_given(world: World) -> None:
    invite = world.invite()
    assert reason_of(invite.enrolment, HomeKeys.create("other"), NOW) == "name"
    forged = unchecked(invite, HomeKeys.create("other"))
    assert reason_of(world.server.enrol, forged) == "name"
    assert reason_of(world.owned.admit, forged) == "name"
    for name in ("..", "a/b", "", "a b"):
        assert reason_of(world.invite, name) in {"name", "size"}
    assert "other" not in world.owned.homes


def test_a_server_cannot_make_a_home_up(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    sound = invite.enrolment(keys, NOW)
    mallory = HomeKeys.create("hub")
    # It has a ticket, from an enrolment that passed through it, but not the one-time key.
    stolen = replace(invite, secret=bytes(32))
    assert reason_of(world.owned.admit, unchecked(stolen, mallory)) == "signature"
    # It signs a ticket itself, for a one-time key of its own.
    own = invite_of(Inviter.create(), fleet=world.owned.anchor.fleet)
    assert reason_of(world.owned.admit, unchecked(own, mallory)) == "invite"
    assert reason_of(world.server.enrol, unchecked(own, mallory)) == "invite"
    # Somebody else's entry, which its own key did not sign.
    entry = replace(signed_entry(keys), signature=signed_entry(mallory).signature)
    assert reason_of(world.owned.admit, unchecked(invite, keys, entry=entry)) == "entry"
    # Any bit of a sound one.
    for place in range(0, len(sound), 3):
        flipped = bytearray(sound)
        flipped[place] ^= 1
        with pytest.raises((DirectoryError, WireError)):
            world.owned.admit(bytes(flipped))
    assert len(world.owned.homes) == 5
    # The control: the very same way with the right keys does admit.
    assert world.owned.admit(unchecked(invite, keys)) == (keys.entry(),)


def test_whoever_stole_the_inviters_key_admits_nobody(world: World) -> None:
    forged = Invite.create(
        world.owned.inviter,
        anchor=world.owned.anchor,
        home="mallory",
        card=CARD,
        plan=PLAN,
        expires=EXPIRES,
    )
    posted = forged.enrolment(HomeKeys.create("mallory"), NOW)
    world.server.enrol(posted)
    assert reason_of(world.owned.admit, posted) == "invite"
    # A new key ends what the thief can do at the server, once it has that.
    sound = world.invite().enrolment(HomeKeys.create("hub"), NOW)
    world.owned.renew_inviter()
    shutil.copy(world.owned.folder / "server" / "inviter.pub", world.place.fleet)
    assert reason_of(world.server.enrol, posted) == "invite"
    assert reason_of(world.owned.admit, sound) == "invite"
    assert world.pending().enrolments == ()


def test_an_invite_of_another_fleet(world: World, tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "other", PASSPHRASE) as other:
        invite = other.invite("hub", card=CARD, plan=PLAN, expires=EXPIRES)
    posted = invite.enrolment(HomeKeys.create("hub"), NOW)
    assert reason_of(world.server.enrol, posted) == "fleet"
    assert reason_of(world.owned.admit, posted) == "fleet"


def test_admitting_is_all_or_nothing(world: World) -> None:
    sound = world.invite("a").enrolment(HomeKeys.create("a"), NOW)
    unsound = unchecked(replace(world.invite("b"), secret=bytes(32)), HomeKeys.create("b"))
    assert reason_of(world.owned.admit, sound, unsound) == "signature"
    assert not {"a", "b"} & {*world.owned.homes}
    assert world.owned.open_invites == {"a": EXPIRES, "b": EXPIRES}
    world.owned.admit(sound, eligible=False)
    assert not world.owned.homes["a"].eligible


def test_tickets_outlive_the_process_and_end_with_their_time(world: World) -> None:
    invite = world.invite()
    folder = world.owned.folder
    world.owned.close()
    posted = invite.enrolment(HomeKeys.create("hub"), NOW)
    with Fleet.open(folder) as owned:
        owned.admit(posted)
        owned.revoke("hub")
    with Fleet.open(folder) as owned:
        assert reason_of(owned.admit, posted) == "used"
        # Once it has expired, time refuses it, and the list need not.
        owned.invite("other", card=CARD, plan=PLAN, expires=EXPIRES + 10, now=EXPIRES + 1)
        assert [one.home for one in owned._tickets.read().values()] == ["other"]
        assert reason_of(owned.admit, posted, now=EXPIRES + 1) == "expired"
        (folder / "tickets.fh").write_bytes(b"no list")
        assert reason_of(lambda: owned.open_invites) == "altered"


def test_a_crash_while_admitting_leaves_no_way_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted = world.invite().enrolment(HomeKeys.create("hub"), NOW)
    with monkeypatch.context() as patch:

        def crash(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(world.owned._tickets, "close", crash)
        with pytest.raises(KeyboardInterrupt):
            world.owned.admit(posted)
    assert "hub" in world.owned.homes
    assert reason_of(world.owned.admit, posted) == "admitted"
    world.owned.revoke("hub")
    assert reason_of(world.owned.admit, posted) == "used"


def test_a_thief_cannot_read_the_inviters_key(world: World) -> None:
    path = world.owned.folder / "inviter.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = Inviter.read_public((world.owned.folder / "server" / "inviter.pub").read_text())
    assert public == Inviter.from_bytes(path.read_bytes()).public
    assert path.read_bytes() not in (world.owned.folder / "server" / "inviter.pub").read_bytes()
    path.chmod(0o644)
    assert reason_of(world.invite) == "permissions"
    path.unlink()
    assert reason_of(world.invite) == "missing"
    for text in (
        "",
        "fedhome-inviter-1:",
        "fedhome-inviter-1:AAAA",
        Inviter.create().public_text()[:-1],
    ):
        assert reason_of(Inviter.read_public, text) == "inviter"
