"""Two devices with one invite, at the same moment: one of them enrols, and the other is told so."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from fedhome.errors import FedHomeError, StateError
from fedhome.fleet.front_requests import ENROL, ask
from fedhome.fleet.invites import Invite
from fedhome.secagg import HomeKeys
from fedhome.server.daemon.applications import Applications
from helpers.client_world import World, front_of, owned_in, world_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "device").mkdir()
    with owned_in(tmp_path) as owned:
        yield world_of(owned, tmp_path / "device", monkeypatch)


@pytest.fixture
def bodies(world: World, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Enrolments of two devices with one invite; both are looked at before either is kept."""
    both, look = threading.Barrier(2), Applications._make_room

    def room(*arguments: object) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(2)  # where one waits for the other, this one comes alone
        look(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Applications, "_make_room", room)
    invite = Invite.from_text(world.invite("oak").read_text())
    return [invite.enrolment(HomeKeys.create("oak"), time.time()) for _ in range(2)]


def test_one_of_two_devices_at_the_front_becomes_the_home(
    world: World, bodies: list[bytes]
) -> None:
    def enrol(body: bytes) -> str:
        try:
            ask(world.card.server, world.card.authorities, ENROL, body)
        except FedHomeError as error:
            return str(getattr(error, "reason", ""))
        return "enrolled"

    with front_of(world.server), ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(enrol, bodies)) == ["enrolled", "used"]
    assert len(world.pending()) == 1


def test_without_its_turn_the_second_would_not_be_told(world: World, bodies: list[bytes]) -> None:
    """The control: the front answers what changes these files one request after the other."""
    server = Applications(world.server)

    def enrol(body: bytes) -> str:
        try:
            server.enrol(body)
        except StateError as error:  # as both write one file
            return error.reason
        return "enrolled"

    with ThreadPoolExecutor(2) as threads:
        assert "used" not in list(threads.map(enrol, bodies))
