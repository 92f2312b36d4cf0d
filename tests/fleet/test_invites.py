"""An invite says what a device needs; a damaged or changed one is refused."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import DirectoryError, WireError
from fedhome.fleet import owner_requests
from fedhome.fleet.cards import Card, Inviter
from fedhome.fleet.invites import Enrolment, Invite, Ticket
from fedhome.fleet.leave_notice import Leave
from fedhome.secagg import HomeKeys
from helpers.examples import share_of
from helpers.invite_world import (
    CARD,
    EXPIRES,
    FLEET,
    NOW,
    PLAN,
    invite_of,
    reason_of,
    stop_the_clock,
)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_the_clock(monkeypatch)


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


@pytest.mark.long
@settings(max_examples=share_of(300))
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


@pytest.mark.long
@settings(max_examples=share_of(300))
@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_an_invite_with_one_bit_flipped_is_refused(place: int, bit: int) -> None:
    data = bytearray(Invite.from_text(_SOUND).to_bytes())
    data[place % len(data)] ^= 1 << bit
    text = "fedhome-invite-1\n" + base64.b64encode(data).decode()
    assert reason_of(Invite.from_text, text) == "invite"


@pytest.mark.long
@settings(max_examples=share_of(200))
@given(data=st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_whatever_is_posted_is_refused_in_words(data: bytes) -> None:
    inviter = Inviter.create().public
    for call in (
        lambda: Enrolment.verify(data, inviter, FLEET, NOW),
        lambda: Leave.verify(data, FLEET),
        lambda: owner_requests.OwnerRequest.verify(data, inviter, FLEET, NOW),
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


def test_a_ticket_with_odd_times_is_told_in_words() -> None:
    ticket = Ticket(fleet=FLEET, home="hub", expires=0, once=bytes(32), rest=bytes(32))
    with pytest.raises(DirectoryError, match="1970-01-01 00:00 UTC"):
        ticket.check_time(1)
    with pytest.raises(DirectoryError) as caught:
        ticket.check_time(1e15)
    assert "no calendar" in caught.value.hint
