"""The owner's permit: what the server knows of a request before it reads it."""

from __future__ import annotations

import pytest

from fedhome.errors import DirectoryError, SecAggError, WireError
from fedhome.fleet.cards import Inviter
from fedhome.fleet.owner_requests import OwnerPermit, OwnerRequest

FLEET, NOW = bytes(range(16)), 1_700_000_000


@pytest.fixture(scope="module")
def inviter() -> Inviter:
    return Inviter.create()


def verified(text: str, inviter: Inviter, *, fleet: bytes = FLEET, now: int = NOW) -> OwnerPermit:
    return OwnerPermit.verify(text.encode(), inviter.public, fleet, now)


def test_a_permit_says_how_much_comes(inviter: Inviter) -> None:
    permit = OwnerPermit(fleet=FLEET, time=NOW, size=12345)
    assert verified(permit.sign(inviter), inviter) == permit


def test_it_holds_for_two_minutes_one_fleet_and_one_owner(inviter: Inviter) -> None:
    text = OwnerPermit(fleet=FLEET, time=NOW, size=1).sign(inviter)
    for reason, ask in {
        "clock": lambda: verified(text, inviter, now=NOW + 121),
        "fleet": lambda: verified(text, inviter, fleet=bytes(16)),
        "signature": lambda: verified(text, Inviter.create()),
    }.items():
        with pytest.raises(DirectoryError) as raised:
            ask()
        assert raised.value.reason == reason


def test_what_is_no_permit_is_refused(inviter: Inviter) -> None:
    request = OwnerRequest(fleet=FLEET, what="pending", time=NOW, body=b"").sign(inviter)
    for text in (b"", b"?", b"\xff", b"AAAA", request):
        with pytest.raises(SecAggError):
            OwnerPermit.verify(text, inviter.public, FLEET, NOW)
    with pytest.raises(WireError):
        OwnerPermit.verify(b"not base64!", inviter.public, FLEET, NOW)
