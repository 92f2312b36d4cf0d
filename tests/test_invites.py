"""Invites: who becomes a home, and who does not, at the device, at the server and at the owner."""

from __future__ import annotations

import base64
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome import fleet as fleet_module
from fedhome import owner
from fedhome.cards import Card, Inviter
from fedhome.enrolment import Anchor
from fedhome.errors import DirectoryError, SecAggError, StateError, WireError
from fedhome.fleet import Fleet
from fedhome.invites import Enrolled, Enrolment, Invite, Ticket
from fedhome.leaving import Leave, leave_notice
from fedhome.secagg import Directory, HomeKeys
from fedhome.secagg.directory import Signed
from fedhome.secagg.sealing import Scrypt
from server import enrolments as enrolments_module
from server.enrolments import Enrolments
from server.place import Place, Settings

PASSPHRASE = "correct horse battery staple"  # noqa: S105
CARD = Card(server="hub.example:9443", authorities=b"-----BEGIN CERTIFICATE-----\n")
PLAN = 'name = "a plan"\n'
NOW = 1_800_000_000
EXPIRES = NOW + 7 * 86_400
SKEW = 120
FLEET = bytes(range(16))


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = Scrypt(salt=b"0123456789abcdef", log2_n=10, r=8, p=1)
    monkeypatch.setattr(Scrypt, "fresh", lambda: cheap)
    monkeypatch.setattr(fleet_module.time, "time", lambda: NOW)


@dataclass
class World:
    """An owner with an open fleet of five, and its server."""

    owned: Fleet
    server: Enrolments
    place: Place
    now: float = NOW

    def invite(self, home: str = "hub") -> Invite:
        return self.owned.invite(home, card=CARD, plan=PLAN, expires=EXPIRES)

    def sign(self) -> bytes:
        return self.owned.sign(PASSPHRASE).data

    def ask(self, what: str, body: bytes = b"", **changed: object) -> bytes:
        request = owner.Request(
            fleet=self.owned.anchor.fleet, what=what, time=int(self.now), body=body
        )
        inviter = changed.pop("inviter", self.owned.inviter)
        assert isinstance(inviter, Inviter)
        return self.server.owner(replace(request, **changed).sign(inviter))

    def take(self, directory: bytes) -> None:
        assert self.ask("directory", directory) == b""

    def pending(self) -> owner.Pending:
        return owner.Pending.from_bytes(self.ask("pending"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    owned = Fleet.create(tmp_path / "owner", PASSPHRASE)
    owned.add(*(HomeKeys.create(home).entry() for home in ("ash", "elm", "fir", "oak", "yew")))
    place = Place.create(
        tmp_path / "server", Settings(host="127.0.0.1", port=1, link_port=2), names=["localhost"]
    )
    shutil.copytree(tmp_path / "owner" / "server", place.fleet, dirs_exist_ok=True)
    made = World(owned=owned, server=None, place=place)  # type: ignore[arg-type]
    made.server = Enrolments(place, clock=lambda: made.now)
    return made


def reason_of(call: Callable[..., object], *arguments: object, **more: object) -> str:
    with pytest.raises((DirectoryError, WireError, StateError)) as caught:
        call(*arguments, **more)
    assert caught.value.message
    return caught.value.reason


def invite_of(inviter: Inviter, home: str = "hub", fleet: bytes = FLEET) -> Invite:
    anchor = Anchor(fleet=fleet, authority=bytes(32))
    return Invite.create(inviter, anchor=anchor, home=home, card=CARD, plan=PLAN, expires=EXPIRES)


def test_an_invite_says_what_a_device_needs() -> None:
    inviter = Inviter.create()
    made = invite_of(inviter, "kitchen-hub")
    text = made.to_text()
    read = Invite.from_text(text.replace("\n", "\r\n  "))  # as mail may change it
    assert read == made
    assert (read.home, read.plan, read.expires) == ("kitchen-hub", PLAN, EXPIRES)
    assert (read.card, read.anchor.fleet, read.inviter) == (CARD, FLEET, inviter.public)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert "kitchen-hub" in comments[0]
    assert "2027-01-22 08:00 UTC" in comments[2]
    assert "secret" in comments[2]
    assert len({made.secret, invite_of(inviter, "kitchen-hub").secret}) == 2


def test_nothing_prints_the_secret() -> None:
    made = invite_of(Inviter.create())
    for form in (made.secret, made.secret.hex(), repr(made.secret)[2:-1]):
        assert str(form) not in f"{made!r} {made} {made.ticket!r}"
    enrolment = Enrolment.verify(
        made.enrolment(HomeKeys.create("hub"), NOW), made.inviter, FLEET, NOW
    )
    assert repr(made.secret)[2:-1] not in repr(enrolment)
    # What is posted holds the public half alone.
    assert made.secret not in enrolment.data
    assert made.ticket.once in enrolment.data


def test_a_card_is_read_whole_or_not_at_all() -> None:
    line = CARD.to_text()
    assert line.startswith("fedhome-server-1 ")
    assert Card.from_text(f"{line}\n") == CARD
    for place in range(len(line)):
        assert reason_of(Card.from_text, line[:place]) == "card"
    for text in ("", CARD.server, line.replace("-1 ", "-2 "), f"{line}é", f"{line}AAAA"):
        assert reason_of(Card.from_text, text) == "card"


_SOUND = invite_of(Inviter.create()).to_text()


@settings(max_examples=300, deadline=None)
@given(
    begin=st.integers(0, len(_SOUND)),
    length=st.integers(0, 80),
    instead=st.text(max_size=4) | st.sampled_from(["A", "=", "\n", "#", "fedhome-invite-1 "]),
)
def test_a_damaged_invite_is_refused_and_nothing_else_happens(
    begin: int, length: int, instead: str
) -> None:
    text = _SOUND[:begin] + instead + _SOUND[begin + length :]
    try:
        read = Invite.from_text(text)
    except DirectoryError as error:
        assert error.reason == "invite"  # noqa: PT017 - both outcomes are fine
    else:
        assert read == Invite.from_text(_SOUND)  # the change hit the lines for people


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_an_invite_with_one_bit_flipped_is_refused(place: int, bit: int) -> None:
    data = bytearray(Invite.from_text(_SOUND).to_bytes())
    data[place % len(data)] ^= 1 << bit
    text = "fedhome-invite-1\n" + base64.b64encode(data).decode()
    assert reason_of(Invite.from_text, text) == "invite"


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_whatever_is_posted_is_refused_in_words(data: bytes) -> None:
    inviter = Inviter.create().public
    for call in (
        lambda: Enrolment.verify(data, inviter, FLEET, NOW),
        lambda: Leave.verify(data, FLEET),
        lambda: owner.Request.verify(data, inviter, FLEET, NOW),
        lambda: Invite.from_text(data.decode(errors="replace")),
        lambda: Card.from_text(data.decode(errors="replace")),
    ):
        with pytest.raises((DirectoryError, WireError)):
            call()


def test_no_part_of_an_invite_can_be_exchanged() -> None:
    inviter = Inviter.create()
    made, other = invite_of(inviter), invite_of(inviter, "other")
    thief = Inviter.create()
    for changed in (
        replace(made, plan=PLAN + "#"),
        replace(made, card=replace(CARD, server="evil.example:1")),
        replace(made, card=replace(CARD, authorities=b"evil")),
        replace(made, anchor=replace(made.anchor, authority=bytes(31) + b"1")),
        replace(made, anchor=replace(made.anchor, fleet=bytes(16))),
        replace(made, secret=other.secret),
        replace(made, signed=other.signed),
        replace(made, inviter=thief.public),
    ):
        assert reason_of(Invite.from_text, changed.to_text()) == "invite"
    # Parts that only begin elsewhere are another file too.
    longer = replace(
        made, card=replace(CARD, authorities=CARD.authorities + b"n"), plan=made.plan[1:]
    )
    assert reason_of(Invite.from_text, longer.to_text()) == "invite"


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


def test_from_an_invite_to_the_directory(world: World) -> None:
    invite, keys = Invite.from_text(world.invite().to_text()), HomeKeys.create("hub")
    assert world.owned.invited == {"hub": EXPIRES}
    assert world.pending() == owner.Pending(epoch=0, enrolments=(), notices=())
    posted = invite.enrolment(keys, NOW)
    assert Enrolled.from_bytes(world.server.enrol(posted)) == Enrolled(admitted=False)
    assert world.pending().enrolments == (posted,)

    found = world.owned.check(posted)
    assert (found.entry, found.home) == (keys.entry(), "hub")
    assert (found.expires, found.time) == (EXPIRES, NOW)
    assert world.owned.admit(posted) == (keys.entry(),)
    assert reason_of(world.owned.check, posted) == "admitted"
    assert world.owned.invited == {}
    world.take(world.sign())
    assert world.place.directory().entries["hub"] == keys.entry()
    assert world.pending() == owner.Pending(epoch=1, enrolments=(), notices=())
    assert not list((world.place.folder / "enrolments").iterdir())
    assert Enrolled.from_bytes(world.server.enrol(posted)) == Enrolled(admitted=True)


def test_the_same_enrolment_again_changes_nothing(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    posted = invite.enrolment(keys, NOW)
    world.server.enrol(posted)
    world.now += 2 * SKEW  # however late
    for again in (posted, invite.enrolment(keys, NOW), invite.enrolment(keys, NOW + 60)):
        assert Enrolled.from_bytes(world.server.enrol(again)) == Enrolled(admitted=False)
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
    assert world.owned.invited == {}
    posted = invite.enrolment(HomeKeys.create("hub"), NOW)
    assert reason_of(world.owned.admit, posted) == "used"
    assert reason_of(world.owned.revoke, "hub") == "unknown-home"


def test_a_home_takes_the_name_that_it_was_given(world: World) -> None:
    invite = world.invite()
    assert reason_of(invite.enrolment, HomeKeys.create("other"), NOW) == "name"
    forged = _posted(invite, HomeKeys.create("other"))
    assert reason_of(world.server.enrol, forged) == "name"
    assert reason_of(world.owned.admit, forged) == "name"
    for name in ("..", "a/b", "", "a b"):
        assert reason_of(world.invite, name) in {"name", "size"}
    assert "other" not in world.owned.homes


def _posted(invite: Invite, keys: HomeKeys, **changed: object) -> bytes:
    """Return an enrolment that was made without `Invite.enrolment`'s own checks."""
    from fedhome import invites  # noqa: PLC0415 - looks inside
    from fedhome.enrolment import signed_entry  # noqa: PLC0415

    posted = invites._Posted(ticket=invite.signed, entry=signed_entry(keys), time=NOW)
    body = replace(posted, **changed).to_bytes()
    key = Inviter.from_bytes(invite.secret)  # any Ed25519 key
    return Signed(body=body, signature=key.sign(b"fedhome/enrolment/1\0" + body)).to_bytes()


def test_a_server_cannot_make_a_home_up(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    sound = invite.enrolment(keys, NOW)
    mallory = HomeKeys.create("hub")
    # It has a ticket, from an enrolment that passed through it, but not the one-time key.
    stolen = replace(invite, secret=bytes(32))
    assert reason_of(world.owned.admit, _posted(stolen, mallory)) == "signature"
    # It signs a ticket itself, for a one-time key of its own.
    own = invite_of(Inviter.create(), fleet=world.owned.anchor.fleet)
    assert reason_of(world.owned.admit, _posted(own, mallory)) == "invite"
    assert reason_of(world.server.enrol, _posted(own, mallory)) == "invite"
    # Somebody else's entry, which its own key did not sign.
    from fedhome.enrolment import signed_entry  # noqa: PLC0415

    entry = replace(signed_entry(keys), signature=signed_entry(mallory).signature)
    assert reason_of(world.owned.admit, _posted(invite, keys, entry=entry)) == "entry"
    # Any bit of a sound one.
    for place in range(0, len(sound), 3):
        flipped = bytearray(sound)
        flipped[place] ^= 1
        with pytest.raises((DirectoryError, WireError)):
            world.owned.admit(bytes(flipped))
    assert len(world.owned.homes) == 5
    # The control: the very same way with the right keys does admit.
    assert world.owned.admit(_posted(invite, keys)) == (keys.entry(),)


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


def test_only_an_invited_device_enrols(world: World) -> None:
    # All that somebody with the server's certificate can know: fleet, names, public keys.
    keys = HomeKeys.create("hub")
    guessed = invite_of(Inviter.create(), fleet=world.owned.anchor.fleet)
    assert reason_of(world.server.enrol, guessed.enrolment(keys, NOW)) == "invite"
    assert reason_of(world.server.leave, leave_notice(world.owned.anchor.fleet, keys, NOW)) == (
        "not-listed"
    )
    assert reason_of(world.ask, "pending", inviter=Inviter.create()) == "signature"
    assert not (world.place.folder / "enrolments").exists()


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
    assert len(list((world.place.folder / "enrolments").iterdir())) == 1


def test_damaged_files_of_the_server_count_as_none(world: World) -> None:
    invite, keys = world.invite(), HomeKeys.create("hub")
    posted = invite.enrolment(keys, NOW)
    world.server.enrol(posted)
    (path,) = (world.place.folder / "enrolments").iterdir()
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
    asked = owner.Request(fleet=fleet, what="directory", time=NOW, body=directory)
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
    authority = world.owned._authority(PASSPHRASE)
    held = Directory.verify(second, authority.public)
    for changed, reason in (
        (replace(held, seed=bytes(32)), "fork"),
        (replace(held, epoch=9, fleet=bytes(16)), "fleet"),
        (replace(held, epoch=9, server=bytes(32)), "server"),
    ):
        assert reason_of(world.take, authority.issue(changed)) == reason
    assert (world.place.fleet / "directory.fh").read_bytes() == second


def test_admitting_is_all_or_nothing(world: World) -> None:
    sound = world.invite("a").enrolment(HomeKeys.create("a"), NOW)
    unsound = _posted(replace(world.invite("b"), secret=bytes(32)), HomeKeys.create("b"))
    assert reason_of(world.owned.admit, sound, unsound) == "signature"
    assert not {"a", "b"} & {*world.owned.homes}
    assert world.owned.invited == {"a": EXPIRES, "b": EXPIRES}
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
        assert reason_of(lambda: owned.invited) == "altered"


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


def test_a_ticket_with_odd_times_is_told_in_words() -> None:
    ticket = Ticket(fleet=FLEET, home="hub", expires=0, once=bytes(32), rest=bytes(32))
    with pytest.raises(DirectoryError, match="1970-01-01 00:00 UTC"):
        ticket.check_time(1)
    with pytest.raises(DirectoryError) as caught:
        ticket.check_time(1e15)
    assert "no calendar" in caught.value.hint
