from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from fedhome.errors import DirectoryError, StateError, WireError
from fedhome.secagg import Authority, Directory, HomeKeys, Policy, ServerKeys, signature_holds
from fedhome.secagg import directory as directory_module
from fedhome.secagg.directory import MOST_FIRST, MOST_SKIPPED, Signed
from helpers.secagg_world import World


def _issued(world: World, **changes: Any) -> bytes:
    """Sign a directory as an authority would that checks nothing."""
    body = replace(world.directory, **changes).to_bytes()
    return Signed(body=body, signature=world.authority.sign(body)).to_bytes()


def test_a_signed_directory_is_accepted() -> None:
    world = World.of(6)
    directory = Directory.verify(world.issued, world.authority.public)
    assert directory == world.directory
    assert directory.names == ("h00", "h01", "h02", "h03", "h04", "h05")
    assert directory.eligible == 6


def test_the_committee_is_the_eligible_homes_with_the_lowest_hash() -> None:
    world = World.of(9, eligible=["h01", "h03", "h04", "h07", "h08"], committee=3)
    expected = sorted(
        ["h01", "h03", "h04", "h07", "h08"],
        key=lambda home: hashlib.sha256(
            b"fedhome/committee/1" + b"s" * 32 + home.encode()
        ).digest(),
    )
    assert world.directory.members == tuple(expected[:3])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"committee": 7}, "committee"),  # more than are eligible
        ({"threshold": 3}, "committee"),  # 2 * 3 = 6 + 0: two halves could disagree
        ({"threshold": 4, "corrupt": 2}, "committee"),
        ({"threshold": 7}, "committee"),
    ],
)
def test_a_committee_that_does_not_hold_is_refused(changes: dict[str, Any], reason: str) -> None:
    world = World.of(6)
    with pytest.raises(DirectoryError) as caught:
        Directory.verify(_issued(world, **changes), world.authority.public)
    assert caught.value.reason == reason
    with pytest.raises(DirectoryError):
        world.authority.issue(replace(world.directory, **changes))


def test_unsorted_or_doubled_homes_and_keys_are_refused() -> None:
    world = World.of(6)
    homes = world.directory.homes
    doubled_key = replace(homes[1], identity=homes[0].identity)
    own_share = replace(homes[1], share=homes[1].identity)
    servers = replace(homes[1], identity=world.server.public)
    for wrong in (
        homes[::-1],
        (homes[0], *homes),
        (homes[0], doubled_key, *homes[2:]),
        (homes[0], own_share, *homes[2:]),
        (homes[0], servers, *homes[2:]),
    ):
        with pytest.raises(DirectoryError) as caught:
            Directory.verify(_issued(world, homes=tuple(wrong)), world.authority.public)
        assert caught.value.reason == "homes"


def test_an_authority_issues_no_directory_with_a_key_that_everyone_shares() -> None:
    world = World.of(6)
    homes = world.directory.homes
    weak = replace(homes[1], share=bytes(32))
    with pytest.raises(DirectoryError) as caught:
        world.authority.issue(replace(world.directory, homes=(homes[0], weak, *homes[2:])))
    assert caught.value.reason == "share-key"


def test_another_authority_or_an_altered_directory_is_refused() -> None:
    world = World.of(5)
    signed = Signed.from_bytes(world.issued)
    body = replace(world.directory, seed=b"x" * 32).to_bytes()
    for data, key in (
        (world.issued, Authority.create().public),
        (Signed(body=body, signature=signed.signature).to_bytes(), world.authority.public),
    ):
        with pytest.raises(DirectoryError) as caught:
            Directory.verify(data, key)
        assert caught.value.reason == "signature"


def test_a_home_accepts_no_older_directory_and_no_second_one_of_an_epoch() -> None:
    world = World.of(6)
    first = world.issued
    second = world.next_epoch()
    home = world.homes["h00"]
    home.renew(second)
    with pytest.raises(DirectoryError) as caught:
        home.renew(first)
    assert caught.value.reason == "older"
    with pytest.raises(DirectoryError) as caught:
        home.renew(_issued(world, seed=b"x" * 32))
    assert caught.value.reason == "fork"
    with pytest.raises(DirectoryError) as caught:
        world.restart("h00").renew(first)  # nor after a restart
    assert caught.value.reason == "older"


def test_a_directory_names_the_one_before_it() -> None:
    world = World.of(6)
    home = world.homes["h00"]
    other = world.authority.issue(replace(world.directory, epoch=2, previous=b"x" * 32))
    with pytest.raises(DirectoryError) as caught:
        home.renew(other)
    assert caught.value.reason == "chain"
    assert "--after" in caught.value.hint
    # Some may be missed: the owner signs each, and need not send all.
    later = replace(world.directory, epoch=3, previous=b"x" * 32, seed=b"t" * 32)
    home.renew(world.authority.issue(later))
    assert home.state.epoch == 3


@pytest.mark.parametrize("epoch", [MOST_SKIPPED + 2, 2**63 - 1])
def test_nobody_is_led_to_the_end_of_all_epochs(
    epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.of(6)
    forward = world.authority.issue(replace(world.directory, epoch=epoch, previous=b"x" * 32))
    home = world.homes["h00"]
    with pytest.raises(DirectoryError) as caught:
        home.renew(forward)
    assert caught.value.reason == "far-ahead"
    assert caught.value.hint
    furthest = replace(world.directory, epoch=MOST_SKIPPED + 1, previous=b"x" * 32)
    world.homes["h01"].renew(world.authority.issue(furthest))
    # The control: with a stolen key and no bound, no directory of the owner's is taken again.
    monkeypatch.setattr(directory_module, "MOST_SKIPPED", 2**63)
    home.renew(forward)
    with pytest.raises(DirectoryError) as caught:
        home.renew(world.next_epoch())
    assert caught.value.reason == "older"


def test_a_home_that_knows_none_begins_with_no_epoch_beyond_all_reason() -> None:
    world = World.of(6)
    highest, beyond = (
        world.authority.issue(replace(world.directory, epoch=epoch))
        for epoch in (MOST_FIRST, MOST_FIRST + 1)
    )
    assert Directory.verify(highest, world.authority.public).epoch == MOST_FIRST
    with pytest.raises(DirectoryError) as caught:
        Directory.verify(beyond, world.authority.public)
    assert caught.value.reason == "far-ahead"


def test_a_directory_holds_until_it_expires() -> None:
    directory = replace(World.of(6).directory, expires=1_800_000_000)
    directory.check_time(1_799_999_999)
    with pytest.raises(DirectoryError) as caught:
        directory.check_time(1_800_000_000)
    assert caught.value.reason == "expired"
    assert caught.value.message == "the directory of epoch 1 held until 2027-01-15 08:00 UTC"
    with pytest.raises(DirectoryError):
        replace(directory, expires=0).check_time(0)  # without an expiry it has expired


def test_a_new_epoch_ends_bundles_openings_and_turns_but_not_serials() -> None:
    world = World.of(6, bundles=2)
    world.run()
    home = world.homes["h00"]
    before = home.state
    assert len(before.live) == 1
    assert before.openings
    home.renew(world.next_epoch())
    after = home.state
    assert (after.live, after.openings, after.sum_number) == ({}, {}, 0)
    assert after.serial == before.serial == 2
    assert after.version == before.version + 1
    home.renew(world.issued)  # again: nothing changes
    assert home.state == after


def test_a_home_that_is_left_out_or_has_other_keys_refuses_the_directory() -> None:
    world = World.of(6)
    homes = world.directory.homes
    for changed in (homes[1:], (HomeKeys.create("h00").entry(), *homes[1:])):
        data = world.authority.issue(
            replace(
                world.directory,
                epoch=2,
                previous=world.directory.hash,
                committee=5,
                threshold=4,
                homes=tuple(changed),
            )
        )
        with pytest.raises(DirectoryError) as caught:
            world.homes["h00"].renew(data)
        assert caught.value.reason == "not-listed"
        assert world.homes["h00"].state.epoch == 1


def test_a_home_refuses_a_committee_with_more_corrupt_members_than_it_tolerates() -> None:
    with pytest.raises(DirectoryError) as caught:
        World.of(10, corrupt=0, policy=Policy(corrupt=0.2))  # two may be corrupt
    assert caught.value.reason == "committee"
    World.of(10, corrupt=2, policy=Policy(corrupt=0.2))


def test_a_sampled_committee_must_tolerate_bad_luck() -> None:
    # Of 20 homes 4 are corrupt. Drawing 8, all 4 come in with chance 70 / 4845 > 2^-40.
    with pytest.raises(DirectoryError) as caught:
        World.of(20, committee=8, corrupt=3, policy=Policy(corrupt=0.2))
    assert caught.value.reason == "committee"
    World.of(20, committee=8, corrupt=4, policy=Policy(corrupt=0.2))


def test_keys_come_back_as_they_were_and_print_nothing() -> None:
    keys = HomeKeys.create("h00")
    again = HomeKeys.from_bytes(keys.to_bytes())
    assert again.entry() == keys.entry()
    assert repr(keys) == "HomeKeys('h00')"
    with pytest.raises(WireError):
        HomeKeys.from_bytes(keys.to_bytes()[:-1])
    server = ServerKeys.create()
    assert ServerKeys.from_bytes(server.to_bytes()).public == server.public
    assert server.to_bytes().hex() not in repr(server)
    with pytest.raises(StateError) as caught:
        ServerKeys.from_bytes(b"short")
    assert caught.value.reason == "key"


def test_a_signature_holds_for_its_key_and_message_alone() -> None:
    server = ServerKeys.create()
    signature = server.sign(b"message")
    assert signature_holds(server.public, signature, b"message")
    assert not signature_holds(server.public, signature, b"other")
    assert not signature_holds(ServerKeys.create().public, signature, b"message")
    assert not signature_holds(b"\xff" * 32, signature, b"message")
    assert not signature_holds(b"short", signature, b"message")
    assert not signature_holds(server.public, b"", b"message")
