"""Homes that a server does not let connect are named, once in its log and in its status."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from fedhome.errors import DirectoryError
from fedhome.fleet.claims import _SIGNED, Claim, installed_app
from fedhome.installed_build import installed_build
from fedhome.reasons import ANSWER, CLAIMED, NOT_KEPT, NOTHING
from fedhome.secagg import HomeKeys
from fedhome.secagg.directory import Signed
from fedhome.server.daemon.home_marks import HomeMarks
from fedhome.server.daemon.nodes import Nodes
from fedhome.server.daemon.server_status import RefusingHome
from fedhome.server.daemon.status import _other_builds, _refusing
from fedhome.server.daemon.turned_away import TurnedAway
from fedhome.wire.codec import Id, Message, number, octets
from helpers.listed_homes import listing

NOW = 1_790_000_000
OAK, ELM = HomeKeys.create("oak"), HomeKeys.create("elm")


class Link:
    """A SuperLink at which every node is new."""

    def states(self, _: list[bytes]) -> dict[bytes, object]:
        return {}

    def register(self, _: bytes) -> int:
        return 1


class World:
    """A front's doors without the front."""

    def __init__(self, folder: Path) -> None:
        self.now, self.directory = float(NOW), listing(OAK, ELM)
        self.turned_away = TurnedAway(lambda: self.now)
        self.nodes = Nodes(folder, lambda: self.now, turned_away=self.turned_away)
        self.marks = HomeMarks(folder, lambda: self.now)

    def join(
        self,
        saves: int,
        *,
        keys: HomeKeys = OAK,
        release: str = "",
        home: str = "",
        refused: str = NOTHING,
    ) -> str:
        """Return the word with which a claim is refused; empty: it is not."""
        claim = Claim(
            fleet=self.directory.fleet,
            home=home or keys.home,
            node_key=b"node of " + keys.home.encode(),
            time=int(self.now),
            release=release or installed_app()[1],
            saves=saves,
            refused=refused,
        )
        try:
            self.nodes.accept(
                claim.sign(keys),
                self.directory,
                Link(),  # type: ignore[arg-type]
                lambda one: self.marks.check(one.home, one.saves, self.directory),
            )
        except DirectoryError as error:
            return error.reason
        return ""

    def refusing(self, connected: list[str] | None) -> list[RefusingHome]:
        claims = self.nodes.claims(self.directory)
        return _refusing(self.directory, connected, claims, self.turned_away)

    def shown(self, connected: list[str] | None = None) -> dict[str, str]:
        """Return what the status says of homes that do not connect."""
        found = self.refusing(connected)
        assert all(one.why == CLAIMED[one.reason].why for one in found)
        assert all(json.dumps(one.since) for one in found)
        return {one.home: one.reason for one in found}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_home_that_came_from_a_backup_is_named_until_it_has_new_keys(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    assert world.join(7) == world.join(1, keys=ELM) == ""
    assert world.shown() == {}
    for _ in range(3):
        assert world.join(6) == "rolled-back"
    assert world.shown(["elm"]) == {"oak": "rolled-back"}
    assert caplog.text.count("oak does not connect") == 1  # it asks again every minute
    assert "it had come to 7 (rolled-back)" in caplog.text
    anew = HomeKeys.create("oak")
    world.directory = listing(anew, ELM)
    assert world.shown() == {}
    assert world.join(0, keys=anew) == ""
    assert world.shown() == {}


def test_why_is_what_the_server_said_last_and_passes_when_the_home_is_there(world: World) -> None:
    assert world.join(7, release="0.0.1") == "version"
    assert world.shown() == {"oak": "version"}
    world.now += 60.0
    assert world.join(7) == ""
    assert world.join(6) == "rolled-back"
    assert world.shown() == {"oak": "rolled-back"}
    assert world.shown(["oak"]) == {}  # its other folder is there
    assert world.join(8) == ""
    assert world.shown() == {}


def test_homes_of_another_build_are_named_and_take_part(world: World) -> None:
    assert world.join(7, release=f"{installed_app()[1]}+00000000") == ""
    assert world.join(1, keys=ELM, release=installed_build()) == ""
    found = _other_builds(world.nodes.claims(world.directory))
    assert found == {"oak": f"{installed_app()[1]}+00000000"}
    assert world.shown() == {}


def test_a_home_whose_answer_was_not_kept_is_named_though_it_is_there(world: World) -> None:
    assert world.join(7, refused=NOT_KEPT) == world.join(1, keys=ELM, refused="clock") == ""
    assert world.shown(["oak", "elm"]) == {"oak": NOT_KEPT}
    (one,) = world.refusing(["oak", "elm"])
    assert one.question == ANSWER
    assert "superlink.log" in one.remedy
    world.now += 60.0
    assert world.join(7) == ""
    assert world.shown(["oak", "elm"]) == {}


def test_what_a_home_has_not_signed_names_nobody(world: World) -> None:
    assert world.join(6, keys=ELM, home="oak", release="0.0.1") == "signature"
    assert world.shown() == {}


@dataclass(frozen=True, kw_only=True)
class EarlierClaim(Message, label="claim", most=2048):
    """A claim as releases wrote it that did not say how often a home's state was saved."""

    fleet: Annotated[bytes, octets(16)]
    home: Id
    node_key: Annotated[bytes, octets(most=1024)]
    time: Annotated[int, number()]
    release: Id
    refused: Id = "none"


@dataclass(frozen=True, kw_only=True)
class LaterClaim(EarlierClaim, label="claim", most=2048):
    """A claim of a release to come, which says more."""

    saves: Annotated[int, number()] = 0
    more: Annotated[int, number()] = 0


@pytest.mark.parametrize(
    ("written", "which"), [(EarlierClaim, "an earlier"), (LaterClaim, "a later")]
)
def test_a_home_of_another_release_is_named_though_its_claim_cannot_be_read(
    world: World, caplog: pytest.LogCaptureFixture, written: type[EarlierClaim], which: str
) -> None:
    fleet = world.directory.fleet
    body = written(fleet=fleet, home="oak", node_key=b"node", time=NOW, release="0.1.0").to_bytes()

    def refused(keys: HomeKeys) -> DirectoryError:
        signed = Signed(body=body, signature=keys.sign(_SIGNED + body)).to_bytes()
        with pytest.raises(DirectoryError) as caught:
            world.nodes.accept(signed, world.directory, Link(), pytest.fail)  # type: ignore[arg-type]
        return caught.value

    assert refused(ELM).reason == "version"
    assert world.shown() == {}, "oak has not signed that"
    error = refused(OAK)
    assert error.message.startswith(f"the home runs {which} release than the server's, ")
    assert world.shown(["elm"]) == {"oak": "version"}
    assert f"oak does not connect: the home runs {which} release" in caplog.text
    assert world.join(1) == ""
    assert world.shown() == {}, "it was upgraded"
