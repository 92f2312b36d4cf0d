"""An owner who invites and a server that enrols: for the tests of invites."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fedhome.errors import DirectoryError, StateError, WireError
from fedhome.fleet import invites, owner_requests
from fedhome.fleet import owner_folder as fleet_module
from fedhome.fleet.cards import Card, Inviter
from fedhome.fleet.entries import Anchor, signed_entry
from fedhome.fleet.invites import Invite
from fedhome.fleet.owner_folder import Fleet
from fedhome.secagg import HomeKeys
from fedhome.secagg.directory import Signed
from fedhome.server.daemon.applications import Applications
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings

PASSPHRASE = "correct horse battery staple"  # noqa: S105
CARD = Card(server="hub.example:9443", authorities=b"-----BEGIN CERTIFICATE-----\n")
PLAN = 'name = "a plan"\n'
NOW = 1_800_000_000
EXPIRES = NOW + 7 * 86_400
SKEW = 120
FLEET = bytes(range(16))


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the owner's time be now."""
    monkeypatch.setattr(fleet_module.time, "time", lambda: NOW)


@dataclass
class World:
    """An owner with an open fleet of five, and its server."""

    owned: Fleet
    server: Applications
    place: ServerFolder
    now: float = NOW

    def invite(self, home: str = "hub") -> Invite:
        return self.owned.invite(home, card=CARD, plan=PLAN, expires=EXPIRES)

    def sign(self) -> bytes:
        return self.owned.sign(PASSPHRASE).data

    def ask(self, what: str, body: bytes = b"", **changed: object) -> bytes:
        request = owner_requests.OwnerRequest(
            fleet=self.owned.anchor.fleet, what=what, time=int(self.now), body=body
        )
        inviter = changed.pop("inviter", self.owned.inviter)
        assert isinstance(inviter, Inviter)
        return self.server.owner(replace(request, **changed).sign(inviter))

    def take(self, directory: bytes) -> None:
        assert self.ask("directory", directory) == b""

    def pending(self) -> owner_requests.PendingApplications:
        return owner_requests.PendingApplications.from_bytes(self.ask("pending"))


def world_of(folder: Path) -> World:
    owned = Fleet.create(folder / "owner", PASSPHRASE)
    owned.add(*(HomeKeys.create(home).entry() for home in ("ash", "elm", "fir", "oak", "yew")))
    place = ServerFolder.create(
        folder / "server",
        ServerSettings(host="127.0.0.1", port=1),
        names=["localhost"],
    )
    shutil.copytree(folder / "owner" / "server", place.fleet, dirs_exist_ok=True)
    made = World(owned=owned, server=None, place=place)  # type: ignore[arg-type]
    made.server = Applications(place, clock=lambda: made.now)
    return made


def reason_of(call: Callable[..., object], *arguments: object, **more: object) -> str:
    with pytest.raises((DirectoryError, WireError, StateError)) as caught:
        call(*arguments, **more)
    assert caught.value.message
    return caught.value.reason


def invite_of(inviter: Inviter, home: str = "hub", fleet: bytes = FLEET) -> Invite:
    anchor = Anchor(fleet=fleet, authority=bytes(32))
    return Invite.create(inviter, anchor=anchor, home=home, card=CARD, plan=PLAN, expires=EXPIRES)


def unchecked(invite: Invite, keys: HomeKeys, **changed: object) -> bytes:
    """Return an enrolment that was made without `Invite.enrolment`'s own checks."""
    posted = invites.EnrolmentBody(ticket=invite.signed, entry=signed_entry(keys), time=NOW)
    body = replace(posted, **changed).to_bytes()
    key = Inviter.from_bytes(invite.secret)  # any Ed25519 key
    return Signed(body=body, signature=key.sign(b"fedhome/enrolment/1\0" + body)).to_bytes()
