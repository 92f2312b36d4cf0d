"""What a server takes of devices, homes and its owner."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fedhome.errors import DirectoryError, SecAggError
from fedhome.fleet import owner_requests
from fedhome.fleet.cards import Inviter
from fedhome.fleet.leave_notice import Leave, leave_notice
from fedhome.fleet.owner_folder import Fleet
from fedhome.secagg import Directory, HomeKeys
from fedhome.server.daemon import applications as enrolments_module
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
    world_of,
)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_the_clock(monkeypatch)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return world_of(tmp_path)


def test_only_an_invited_device_enrols(world: World) -> None:
    # All that somebody with the server's certificate can know: fleet, names, public keys.
    keys = HomeKeys.create("hub")
    guessed = invite_of(Inviter.create(), fleet=world.owned.anchor.fleet)
    assert reason_of(world.server.enrol, guessed.enrolment(keys, NOW)) == "invite"
    assert reason_of(world.server.leave, leave_notice(world.owned.anchor.fleet, keys, NOW)) == (
        "not-listed"
    )
    assert reason_of(world.ask, "pending", inviter=Inviter.create()) == "signature"
    assert not (world.place.path / "enrolments").exists()


def test_a_device_with_a_wrong_clock_is_told(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    for then in (NOW - SKEW - 1, NOW + SKEW + 1):
        with pytest.raises(DirectoryError, match="device's clock is 121 s") as caught:
            world.server.enrol(invite.enrolment(keys, then))
        assert caught.value.reason == "clock"
    world.server.enrol(invite.enrolment(keys, NOW + SKEW))


def test_the_server_keeps_so_many_and_drops_what_expired(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolments_module, "MOST_PENDING", 2)
    posted = [world.invite(home).enrolment(HomeKeys.create(home), NOW) for home in ("a", "b", "c")]
    for one in posted[:2]:
        world.server.enrol(one)
    assert reason_of(world.server.enrol, posted[2]) == "full"
    world.server.enrol(posted[1])
    late = world.owned.invite("d", card=CARD, plan=PLAN, expires=EXPIRES + 86_400)
    world.now = EXPIRES + 1
    world.server.enrol(fresh := late.enrolment(HomeKeys.create("d"), world.now))
    assert world.pending().enrolments == (fresh,)
    assert len(list((world.place.path / "enrolments").iterdir())) == 1


def test_an_invite_that_was_used_says_so_also_once_its_home_is_revoked(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    posted = invite.enrolment(keys, NOW)
    world.server.enrol(posted)
    world.owned.admit(posted)
    world.take(world.sign())
    world.server.enrol(posted)  # the home itself, again
    world.owned.revoke("hub")
    world.take(world.sign())
    for device in (keys, HomeKeys.create("hub")):
        assert reason_of(world.server.enrol, invite.enrolment(device, NOW)) == "used"
    assert world.pending().enrolments == ()
    world.server.enrol(world.invite().enrolment(HomeKeys.create("hub"), NOW))
    world.now = EXPIRES + 1
    world.take(world.sign())
    assert list((world.place.path / "enrolments").iterdir()) == []


def test_damaged_files_of_the_server_count_as_none(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    posted = invite.enrolment(keys, NOW)
    world.server.enrol(posted)
    (path,) = (world.place.path / "enrolments").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(posted[:-1])
    assert world.pending().enrolments == ()
    world.server.enrol(posted)
    assert world.pending().enrolments == (posted,)
    (world.place.fleet / "inviter.pub").write_bytes(b"\xff")
    assert reason_of(world.server.enrol, posted) == "inviter"
    (world.place.fleet / "inviter.pub").unlink()
    assert reason_of(world.server.enrol, posted) == "missing"


def test_a_home_gives_notice(world: World) -> None:
    keys = HomeKeys.create("hub")
    posted = world.invite().enrolment(keys, NOW)
    world.server.enrol(posted)
    world.owned.admit(posted)
    world.take(world.sign())
    fleet = world.owned.anchor.fleet
    for data, reason in (
        (leave_notice(fleet, HomeKeys.create("hub"), NOW), "signature"),
        (leave_notice(fleet, HomeKeys.create("nobody"), NOW), "not-listed"),
        (leave_notice(bytes(16), keys, NOW), "fleet"),
        (leave_notice(fleet, keys, NOW - SKEW - 1), "clock"),
        (posted, "label"),
    ):
        assert reason_of(world.server.leave, data) == reason
    assert world.pending().notices == ()
    notice = leave_notice(fleet, keys, NOW)
    for _ in range(2):
        assert world.server.leave(notice) == b""
    assert world.pending().notices == (notice,)
    assert Leave.verify(notice, fleet, *world.owned.homes.values()).home == "hub"
    world.owned.revoke("hub")
    world.take(world.sign())
    assert world.pending().notices == ()


def test_a_home_may_change_its_mind_before_it_is_admitted(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    world.server.enrol(invite.enrolment(keys, NOW))
    notice = leave_notice(world.owned.anchor.fleet, keys, NOW)
    world.server.leave(notice)
    assert world.pending().notices == (notice,)
    # And once more, with the next invite: what it said before does not count any more.
    world.server.enrol(world.invite().enrolment(keys, NOW))
    assert world.pending().notices == ()


def test_only_the_owner_asks_and_only_now(world: World) -> None:
    fleet, inviter = world.owned.anchor.fleet, world.owned.inviter
    directory = world.sign()
    asked = owner_requests.OwnerRequest(fleet=fleet, what="directory", time=NOW, body=directory)
    assert reason_of(world.server.owner, asked.sign(Inviter.create())) == "signature"
    assert reason_of(world.ask, "pending", fleet=bytes(16)) == "fleet"
    assert reason_of(world.ask, "everything") == "request"
    assert not (world.place.fleet / "directory.fh").exists()
    world.now = NOW + SKEW + 1  # a replay
    assert reason_of(world.server.owner, asked.sign(inviter)) == "clock"
    world.now = NOW
    signed = bytearray(asked.sign(inviter))
    for place in range(0, len(signed), 11):
        signed[place] ^= 1
        with pytest.raises(SecAggError):
            world.server.owner(bytes(signed))
        signed[place] ^= 1
    assert not (world.place.fleet / "directory.fh").exists()
    world.server.owner(bytes(signed))
    assert (world.place.fleet / "directory.fh").read_bytes() == directory


def test_a_server_tells_the_owner_of_a_folder_that_was_set_back(world: World) -> None:
    first, second = world.sign(), world.sign()
    world.take(first)
    world.take(second)
    (world.owned.folder / "directory.fh").write_bytes(first)
    world.owned._write_record(replace(world.owned._record, epoch=1))
    assert reason_of(world.take, world.sign()) == "fork"
    assert reason_of(world.take, world.sign()) == "chain"
    world.take(world.owned.sign(PASSPHRASE, after=2).data)


def test_a_server_takes_only_newer_directories_of_its_own_fleet(
    world: World, tmp_path: Path
) -> None:
    first, second = world.sign(), world.sign()
    world.take(second)
    assert reason_of(world.take, first) == "older"
    world.take(second)  # the same again, after a lost answer
    with Fleet.create(tmp_path / "other", PASSPHRASE) as other:
        other.add(*world.owned.homes.values())
        for _ in range(3):
            foreign = other.sign(PASSPHRASE).data
    assert reason_of(world.take, foreign) == "signature"
    assert reason_of(world.take, b"none") in {"format", "fields", "canonical"}
    # The authority itself may be wrong: a second one of the epoch, another fleet, another server.
    authority = world.owned.own_key(PASSPHRASE)
    held = Directory.verify(second, authority.public)
    for changed, reason in (
        (replace(held, seed=bytes(32)), "fork"),
        (replace(held, epoch=9, fleet=bytes(16)), "fleet"),
        (replace(held, epoch=9, server=bytes(32)), "server"),
    ):
        assert reason_of(world.take, authority.issue(changed)) == reason
    assert (world.place.fleet / "directory.fh").read_bytes() == second
