"""A server that moves: the owner signs where to, homes keep both addresses, and try both."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.cli.client_words import rows_of
from fedhome.clients.agent import resident
from fedhome.clients.agent.kept_releases import ReleaseKeeper
from fedhome.clients.agent.resident import Agent
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.server_addresses import addresses_of, hear_move
from fedhome.errors import DirectoryError, LinkError
from fedhome.fleet.cards import Card
from fedhome.fleet.owner_folder import Fleet
from fedhome.fleet.server_move import MOVE, ServerMove
from fedhome.fleet.state_file import FileStore
from fedhome.flower.messages import take_identity
from fedhome.keys.roots import Root
from fedhome.secagg import Authority
from helpers.publishing import HOMES, OWNER, Hub, hub_in
from helpers.registry_world import FLEET

ROOT = Root.first(FLEET, OWNER.public)
THEN = 1_800_000_000
PASSPHRASE = "a passphrase that is long enough"  # noqa: S105 - of a fleet in a temporary folder


def word(server: str = "new.example:1", *, at: int = THEN, fleet: bytes = FLEET) -> bytes:
    return ServerMove(fleet=fleet, time=at, server=server).sign(OWNER, ROOT)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    take_identity(1)
    return hub_in(tmp_path, monkeypatch)


@pytest.fixture
def place(hub: Hub, tmp_path: Path) -> HomeFolder:
    return hub.home(tmp_path / "home")


def test_a_home_knows_both_addresses_and_the_later_word_counts(place: HomeFolder) -> None:
    own = place.settings.server
    assert addresses_of(place, ROOT) == (own,)
    assert hear_move(place, b"", ROOT) is None
    assert hear_move(place, word(), ROOT) == "new.example:1"
    assert addresses_of(place, ROOT) == (own, "new.example:1")
    assert hear_move(place, word("old.example:1", at=THEN - 1), ROOT) is None
    assert hear_move(place, word(), ROOT) is None, "the same once more is no news"
    assert hear_move(place, word("last.example:1", at=THEN + 1), ROOT) == "last.example:1"
    assert dict(rows_of(place, THEN))["server"].endswith("last.example:1")
    (place.path / MOVE).write_bytes(b"half")
    assert addresses_of(place, ROOT) == (own,)
    assert hear_move(place, word(own), ROOT) == own
    assert addresses_of(place, ROOT) == (own,), "it stays where it is"


def test_nobody_but_the_owner_leads_a_home_away(place: HomeFolder) -> None:
    thief = Authority(b"t" * 32)
    forged = ServerMove(fleet=FLEET, time=THEN, server="evil.example:1").sign(thief, ROOT)
    other = Root.first(bytes(16), OWNER.public)
    for data, root, reason in (
        (forged, ROOT, "signature"),
        (word()[:-1] + b"x", ROOT, "signature"),
        (word(), other, "fleet"),
        (b"nonsense", ROOT, "format"),
    ):
        with pytest.raises(DirectoryError) as refused:
            hear_move(place, data, root)
        assert refused.value.reason == reason
    assert not (place.path / MOVE).exists()


@given(st.binary(max_size=400))
def test_what_is_no_move_is_refused(data: bytes) -> None:
    with pytest.raises(DirectoryError):
        ServerMove.verify(data, ROOT)


def test_where_several_keys_must_sign_one_does_not_do(place: HomeFolder) -> None:
    two = ROOT.next([OWNER.public, Authority(b"u" * 32).public], 2)
    with pytest.raises(DirectoryError, match="2 of the owner's keys") as refused:
        ServerMove(fleet=FLEET, time=THEN, server="new.example:1").sign(OWNER, two)
    assert refused.value.reason == "threshold"
    with pytest.raises(DirectoryError, match="not signed"):
        hear_move(place, word(), two)


def test_the_server_hands_the_word_over_and_a_forged_one_costs_no_release(
    hub: Hub, place: HomeFolder
) -> None:
    hub.publish(1)
    (hub.place.fleet / MOVE).write_bytes(b"nonsense")
    releases = ReleaseKeeper(place, HOMES["a"])
    assert releases.update() is not None
    assert len(addresses_of(place, ROOT)) == 1
    (hub.place.fleet / MOVE).write_bytes(word())
    assert releases.update() is None, "no newer release"
    assert addresses_of(place, ROOT)[1:] == ("new.example:1",)


class Work:
    layout: str | None = None

    def rest(self) -> None: ...

    def close(self) -> None: ...


def test_an_agent_tries_both_addresses_in_turn(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear_move(place, word(), ROOT)
    asked: list[str] = []

    def join(address: str, *_: object, **__: object) -> None:
        asked.append(address)
        raise LinkError("nobody is there", reason="unreachable")

    monkeypatch.setattr(resident, "join", join)
    with FileStore.create(place.path, HOMES["a"]) as store:
        agent = Agent(place, store, lambda *_: Work())  # type: ignore[arg-type,return-value]
        agent._draw = SimpleNamespace(uniform=lambda *_: 0.0)  # type: ignore[assignment]
        for _ in range(3):
            with pytest.raises(LinkError) as away:
                agent._join_and_serve()
            agent._back_off_after(away.value)
    own = place.settings.server
    assert asked == [own, "new.example:1", own]


@pytest.mark.long
def test_the_owner_signs_a_move_and_not_to_a_stranger(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "owner", PASSPHRASE) as owned:
        root = owned.root
    (tmp_path / "pass").write_text(PASSPHRASE)
    (tmp_path / "owner" / "server.card").write_text(
        Card(server="old.example:1", authorities=b"ours").to_text()
    )

    def moved(card: Card) -> object:
        (tmp_path / "new.card").write_text(card.to_text())
        words = ["fleet", "move", tmp_path / "new.card", "--fleet", tmp_path / "owner"]
        words += ["--passphrase-file", tmp_path / "pass"]
        return CliRunner().invoke(app, [str(one) for one in words]).exception

    refused = moved(Card(server="evil.example:1", authorities=b"theirs"))
    assert isinstance(refused, DirectoryError)
    assert refused.reason == "card"
    assert moved(Card(server="new.example:1", authorities=b"ours")) is None
    data = (tmp_path / "owner" / MOVE).read_bytes()
    assert ServerMove.verify(data, root).server == "new.example:1"
    assert "old.example" in Card.from_text((tmp_path / "owner" / "server.card").read_text()).server
