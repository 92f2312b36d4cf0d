"""Joining: which clocks and releases a server takes, and one node of a home at a time."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgpack
import pytest
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from typer.testing import CliRunner

import fedhome.clients.agent.announce
import fedhome.clients.agent.resident
from fedhome.cli import app
from fedhome.clients.agent.resident import Agent
from fedhome.clients.agent.status_report import StatusReport
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.errors import DirectoryError, LinkError, ParameterError, SecAggError, WireError
from fedhome.fleet.cards import Card
from fedhome.fleet.claims import AHEAD_S, SKEW_S, Claim, Welcome, installed_app
from fedhome.fleet.entries import Anchor, home_keys
from fedhome.fleet.invites import Invite
from fedhome.fleet.owner_folder import Fleet
from fedhome.fleet.state_file import FileStore
from fedhome.flower.node_key import NodeKey
from fedhome.flower.superlink import NodeState
from fedhome.keys.signing import ServerKeys
from fedhome.plan.settings import Plan
from fedhome.secagg import Directory, HomeKeys
from fedhome.secagg.directory import Authority, Signed
from fedhome.server.daemon.home_marks import HomeMarks
from fedhome.server.daemon.known_nodes import KnownNodes
from fedhome.server.daemon.nodes import Nodes
from helpers.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

NOW = 1_700_000_000
FLEET = b"f" * 16
HOMES = ("ash", "elm", "oak")


class Link:
    """A SuperLink's list of nodes, as `Control` shows it."""

    def __init__(self) -> None:
        self.known: dict[bytes, NodeState] = {}
        self.count = 0

    def states(self, keys: list[bytes]) -> dict[bytes, NodeState]:
        return {key: self.known[key] for key in keys if key in self.known}

    def register(self, key: bytes) -> int:
        assert key not in self.known, "Flower takes no key again"
        self.count += 1
        self.known[key] = NodeState(self.count, key, online=True)
        return self.count

    def unregister(self, node: int) -> None:
        for key, state in self.known.items():
            if state.node == node:
                self.known[key] = state._replace(online=False, gone=True)

    def registered(self) -> set[bytes]:
        return {key for key, state in self.known.items() if not state.gone}

    def goes(self, key: bytes) -> None:
        self.known[key] = self.known[key]._replace(online=False)


class World:
    """A directory of three homes, and a server that keeps their claims."""

    def __init__(self, folder: Path) -> None:
        self.keys = {home: HomeKeys.create(home) for home in HOMES}
        self.authority, self.server = Authority(), ServerKeys()
        self.data = self.authority.issue(
            Directory(
                fleet=FLEET,
                epoch=1,
                seed=b"s" * 32,
                server=self.server.public,
                committee=3,
                corrupt=0,
                threshold=2,
                homes=tuple(keys.entry() for keys in self.keys.values()),
            )
        )
        self.directory = Directory.verify(self.data, self.authority.public)
        self.link, self.now = Link(), float(NOW)
        folder.mkdir()
        self.nodes = Nodes(folder, clock=lambda: self.now)
        place = SimpleNamespace(fleet=folder, directory=lambda: self.directory)
        self.known = KnownNodes(place, self.nodes)  # type: ignore[arg-type]
        self.marks = HomeMarks(folder)
        self.checks = True

    def claim(
        self,
        key: bytes,
        *,
        at: float = NOW,
        release: str = "",
        home: str = "oak",
        saves: int = 0,
        keys: HomeKeys | None = None,
    ) -> bytes:
        release = release or installed_app()[1]
        claim = Claim(
            fleet=FLEET, home=home, node_key=key, time=int(at), release=release, saves=saves
        )
        return claim.sign(keys or self.keys[home])

    def check(self, claim: Claim) -> None:
        if self.checks:
            self.known.check(claim)
            self.marks.check(claim.home, claim.saves, self.directory)

    def accept(self, data: bytes) -> int:
        claim, node = self.nodes.accept(
            data,
            self.directory,
            self.link,  # type: ignore[arg-type]
            self.check,
        )
        self.known.note(claim)
        return node

    def refused(self, data: bytes) -> DirectoryError:
        with pytest.raises(DirectoryError) as caught:
            self.accept(data)
        return caught.value


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "nodes")


def test_a_clock_is_refused_where_flower_would_refuse_it() -> None:
    """A claim counts whole seconds, so one that is taken is at most one more ahead than it says."""
    assert AHEAD_S + 1 <= SYSTEM_TIME_TOLERANCE
    assert SKEW_S < TIMESTAMP_TOLERANCE


@pytest.mark.parametrize("off", [-120, -7, 0, 4])
def test_a_clock_that_is_near_enough(world: World, off: int) -> None:
    assert world.accept(world.claim(b"key", at=NOW + off)) == 1


_YEAR_APART = "2022-11-14 22:13 UTC, and there it is 2023-11-14 22:13 UTC"


@pytest.mark.parametrize(
    ("off", "told"),
    [
        (5, "the home's clock is 5 s ahead of the server's"),
        (3600, "the home's clock is 3600 s ahead of the server's"),
        (-121, "the home's clock is 121 s behind the server's"),
        (-365 * 86_400, f"the home's clock is 365 days behind the server's: {_YEAR_APART}"),
    ],
)
def test_a_clock_that_is_off_is_named(world: World, off: int, told: str) -> None:
    error = world.refused(world.claim(b"key", at=NOW + off))
    assert (error.reason, error.message) == ("clock", told)
    assert "NTP" in error.hint
    assert not world.link.known


def test_another_release_is_named(world: World) -> None:
    error = world.refused(world.claim(b"key", release="9.9.9"))
    assert error.reason == "version"
    assert "the home runs fedhome 9.9.9, the server " in error.message


def test_a_home_has_one_node_at_a_time(world: World) -> None:
    assert world.accept(world.claim(b"first")) == 1
    assert world.accept(world.claim(b"first", at=NOW + 1)) == 1  # the same again, as after a cut
    assert world.accept(world.claim(b"other", home="elm")) == 2
    error = world.refused(world.claim(b"second", at=NOW + 2))
    assert error.reason == "twice"
    assert "'oak' is connected from another device" in error.message
    assert world.link.registered() == {b"first", b"other"}
    # The one that was there goes: the other takes its place, and it is not known any more.
    world.link.goes(b"first")
    assert world.accept(world.claim(b"second", at=NOW + 3)) == 3
    assert world.link.registered() == {b"second", b"other"}
    assert world.refused(world.claim(b"first", at=NOW + 4)).reason == "twice"
    claimed = {claim.home: claim.node_key for claim in world.nodes.claims(world.directory)}
    assert claimed == {"oak": b"second", "elm": b"other"}
    # It cannot come back by the key that it had: Flower knows that one is no more.
    world.link.goes(b"second")
    world.now = NOW + 5
    assert world.refused(world.claim(b"first", at=NOW + 5)).reason == "retired"
    assert world.accept(world.claim(b"third", at=NOW + 6)) == 4
    assert world.link.registered() == {b"third", b"other"}


def test_an_older_claim_takes_nobodys_place(world: World) -> None:
    old = world.claim(b"first")
    world.accept(old)
    world.link.goes(b"first")
    world.accept(world.claim(b"second", at=NOW + 1))
    world.link.goes(b"second")
    assert world.refused(old).reason == "replayed"
    # Also with a SuperLink that was started anew, and knows no node.
    world.link.known.clear()
    assert world.refused(old).reason == "replayed"
    assert world.accept(world.claim(b"second", at=NOW + 1)) == 3


def test_no_home_claims_the_node_of_another(world: World) -> None:
    """A claim names a node's public key, and whoever signs it need not have the other half."""
    world.accept(world.claim(b"elm's", home="elm"))
    stolen = world.claim(b"elm's", at=NOW + 1)  # oak's, who read that key somewhere
    assert world.refused(stolen).reason == "retired"
    assert world.known.home_of(b"elm's") == "elm"
    # The control: it is taken, elm is a stranger to its own server, and loses its node for good
    # once oak comes again.
    world.checks = False
    world.accept(stolen)
    assert world.known.home_of(b"elm's") == "oak"
    world.link.goes(b"elm's")
    world.accept(world.claim(b"oak's", at=NOW + 2))
    world.now = NOW + 3
    assert world.refused(world.claim(b"elm's", home="elm", at=NOW + 3)).reason == "retired"


def test_no_home_is_a_stranger_while_claims_are_read_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Homes that join ask in threads of their own, beside the front that asks of each request."""
    world.accept(world.claim(b"key"))
    first, claims, meanwhile = world.directory, world.nodes.claims, []

    def reading(directory: Directory) -> Iterator[Claim]:
        world.directory = first  # as another thread has it
        meanwhile.append(world.known.home_of(b"key"))
        return claims(directory)

    monkeypatch.setattr(world.nodes, "claims", reading)
    world.directory = replace(first)  # its file was replaced
    assert world.known.home_of(b"key") == "oak"
    assert meanwhile == ["oak"]


def test_a_claim_of_a_release_before_says_less_and_is_told_what_to_do(world: World) -> None:
    """As homes did not yet say how often their state was saved."""
    signed = Signed.from_bytes(world.claim(b"key"))
    fields = msgpack.unpackb(signed.body)
    body = msgpack.packb(fields[:-1])
    error = world.refused(replace(signed, body=body).to_bytes())
    assert (error.reason, error.hint) == (
        "version",
        "update the older one: both must run the same release",
    )
    assert installed_app()[1] in error.message
    with pytest.raises(WireError):  # the control: what is no claim at all is not told that
        Claim.verify(replace(signed, body=b"no claim").to_bytes(), world.directory)


def test_a_folder_that_is_put_back_whole_is_noticed(world: World, tmp_path: Path) -> None:
    """From inside it looks sound; its server heard how far it had come, which is no part of it."""
    place, backup, keys = tmp_path / "oak", tmp_path / "backup", world.keys["oak"]

    def comes(at: float) -> bytes:
        with FileStore.open(place, home="oak") as store:  # the control: nothing there is amiss
            return world.claim(b"key", at=at, saves=store.state.version, keys=store.keys)

    with FileStore.create(place, keys) as store:
        store.save(replace(store.state, version=store.state.version + 1))
    world.accept(comes(NOW))
    shutil.copytree(place, backup)
    with FileStore.open(place, home="oak") as store:
        store.save(replace(store.state, version=store.state.version + 1))
    world.accept(comes(NOW + 1))
    shutil.rmtree(place)
    shutil.copytree(backup, place)
    error = world.refused(comes(NOW + 2))
    assert (error.reason, error.message) == (
        "rolled-back",
        "the state of 'oak' was saved 1 times, and it had come to 2",
    )
    world.checks = False
    world.accept(comes(NOW + 3))  # as it was


def test_a_copy_of_a_folder_has_a_node_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("one\n")
    monkeypatch.setattr("fedhome.clients.membership.home_folder._BOOT", boot)
    place = HomeFolder(tmp_path / "oak")
    place.path.mkdir()
    first = place.node_key().public
    place.at_hand = b"a message"
    assert place.node_key().public == HomeFolder(place.path).node_key().public == first
    assert place.at_hand == b"a message"
    shutil.copytree(place.path, tmp_path / "copy")
    copy = HomeFolder(tmp_path / "copy")
    assert copy.node_key().public != first
    assert copy.at_hand is None
    assert place.node_key().public == first
    boot.write_text("two\n")  # another machine, or the same one after a reboot
    second = place.node_key().public
    assert second != first
    assert place.node_key().public == second
    place.retire_node_key()
    place.retire_node_key()
    assert place.node_key().public != second
    second = place.node_key().public
    # Whatever precedes it, it is a key as others read it.
    text = (place.path / "node.key").read_text()
    key = text[text.index("-----BEGIN") :].encode()
    assert NodeKey.from_bytes(key).public == second


def test_a_system_that_shows_nobody_when_it_was_started_has_a_node_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Android, where apps may not read it: what is there cannot be read."""
    monkeypatch.setattr("fedhome.clients.membership.home_folder._BOOT", tmp_path)
    place = HomeFolder(tmp_path / "oak")
    place.path.mkdir()
    first = place.node_key().public
    assert HomeFolder(place.path).node_key().public == first
    assert not place.is_elsewhere


@contextmanager
def _running(agent: Agent) -> Iterator[None]:
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield
    finally:
        agent.stop()
        thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    ("off", "told"),
    [
        (42.0, "the home's clock is 42 s ahead of the server's; set both clocks by the network"),
        (-900.0, "the home's clock is 900 s behind the server's; set both clocks by the network"),
    ],
)
def test_an_agent_says_that_its_clock_is_off(  # noqa: PLR0917 - pytest gives them by name
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    off: float,
    told: str,
) -> None:
    place = HomeFolder(tmp_path / "oak")
    keys, _ = home_keys("oak", place.path)
    world.keys["oak"] = keys
    world.directory.entries["oak"] = keys.entry()
    place.fill(
        HomeSettings(home="oak", server="hub.example:8443", data="readings.csv"),
        plan=Plan.load(),
        anchor=Anchor(fleet=FLEET, authority=world.authority.public),
        authorities=b"",
    )

    def ask(address: str, authorities: bytes, path: str, body: bytes) -> bytes:
        """Answer as the front does."""
        del address, authorities, path
        try:
            node = world.accept(body)
        except SecAggError as error:
            raise LinkError(error.message, reason=error.reason, hint=error.hint) from None
        return Welcome(node=node, directory=world.data).to_bytes()

    waiting = threading.Event()
    tell = StatusReport.tell

    def telling(self: StatusReport, state: str, detail: str = "", **more: int) -> None:
        tell(self, state, detail, **more)
        if detail:
            waiting.set()

    monkeypatch.setattr(fedhome.clients.agent.announce, "ask", ask)
    monkeypatch.setattr(time, "time", lambda: NOW + off)
    monkeypatch.setattr(StatusReport, "tell", telling)
    monkeypatch.setenv("COLUMNS", "200")
    with FileStore.open(place.path, home="oak") as store, _running(Agent(place, store)):
        assert waiting.wait(PATIENCE_S)
        status = place.status
        assert status is not None
        assert (status.state, status.detail.startswith(told)) == ("waiting", True)
        shown = CliRunner().invoke(app, ["client", "status", str(place.path)]).output
    assert told in shown
    assert f"{told.partition(';')[0]}\n  hint: set both clocks by the network (NTP)" in caplog.text


@pytest.mark.parametrize(
    ("homes", "mode", "told"),
    [
        (7, "secure", "fedhome fleet directory --fleet {0}`"),
        (5, "secure", "--min-cohort 4`, as 4 homes are fewer than the plan's 5: no run goes on"),
        (5, "plain", "fedhome fleet directory --fleet {0}`"),
        (2, "secure", "that takes two homes at least; until then, stop the server"),
    ],
)
def test_revoking_says_how_the_home_is_put_out(
    tmp_path: Path, homes: int, mode: str, told: str
) -> None:
    folder = tmp_path / "mine"
    with Fleet.create(folder, "correct horse") as fleet:
        fleet.add(*(HomeKeys.create(f"h{number}").entry() for number in range(homes)))
    (folder / "plan.toml").write_text(f'[aggregation]\nmode = "{mode}"\n')
    typed = ["fleet", "revoke", "h0", "--fleet", str(folder)]
    done = CliRunner().invoke(app, typed)
    assert done.exit_code == 0, done.output
    assert "took h0 off the list" in done.output
    assert told.format(folder) in done.output


def test_a_directory_of_too_few_homes_says_how_one_is_put_out(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "mine", "correct horse") as fleet:
        fleet.add(*(HomeKeys.create(f"h{number}").entry() for number in range(5)))
        fleet.sign("correct horse")
        fleet.revoke("h0")
    typed = ["fleet", "directory", "--fleet", str(tmp_path / "mine")]
    for asked in ([], ["--min-cohort", "5"]):
        with pytest.raises(ParameterError) as error:
            CliRunner().invoke(app, [*typed, *asked], catch_exceptions=False)
        assert ("--min-cohort 4`, as 4 homes are fewer" in error.value.hint) == (not asked)


def test_a_home_is_invited_again_and_keeps_its_keys(tmp_path: Path) -> None:
    keys, thief = HomeKeys.create("oak"), HomeKeys.create("oak")
    now = int(time.time())
    card = Card(server="hub.example:8443", authorities=b"-")

    def refused(reason: str, act: Callable[[], object]) -> None:
        with pytest.raises(DirectoryError) as caught:
            act()
        assert caught.value.reason == reason

    with Fleet.create(tmp_path / "mine", "correct horse") as fleet:
        fleet.add(keys.entry())

        def invited(home: str, *, again: bool) -> Invite:
            return fleet.invite(home, card=card, plan="", expires=now + 600, again=again)

        refused("home-twice", lambda: invited("oak", again=False))
        refused("unknown-home", lambda: invited("elm", again=True))
        invite = invited("oak", again=True)
        assert fleet.open_invites == {}
        same, other = (invite.enrolment(one, now) for one in (keys, thief))
        refused("admitted", lambda: fleet.check(same, now=now))
        refused("used", lambda: fleet.check(other, now=now))
        fleet.revoke("oak")  # it brings nobody back
        refused("used", lambda: fleet.check(same, now=now))


@pytest.mark.long
def test_invites_go_into_a_folder_that_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folder, card = tmp_path / "mine", tmp_path / "server.card"
    card.write_text(Card(server="hub.example:8443", authorities=b"-").to_text())
    (tmp_path / "plan.toml").write_text("[data]\ninputs = []\n")
    with Fleet.create(folder, "correct horse") as fleet:
        fleet.add(HomeKeys.create("oak").entry())

    def typed(*words: str) -> str:
        out = ("--fleet", str(folder), "--server", str(card), "--out", str(tmp_path / "new" / "er"))
        done = CliRunner().invoke(app, ["fleet", "invite", *words, *out])
        assert done.exit_code == 0, done.exception
        return done.output

    told = typed("elm", "--plan", str(tmp_path / "plan.toml"))
    assert "one device becomes elm with it" in told
    assert "tolerates no absence" not in told, "two homes are too few for any run"
    assert "no run begins yet: 2 homes are asked, but no sum is opened over fewer than 5" in told
    assert "min_cohort = 2" not in told, "of two, each would learn what the other adds"
    told = typed("ash", "fir", "yew")
    assert "no run begins" not in told
    assert "with these 5 homes this fleet tolerates no absence: a sum takes 5" in told
    assert "tolerates" not in typed("ivy"), "a sixth home is one more than a sum takes"
    told = typed("oak", "--again")
    assert "the device of oak joins again with it" in told
    assert "stop the agent, `fedhome client join oak.invite --data SOURCE`, and start it" in told
    assert "fleet admit" not in told
    for home in ("oak", "elm"):
        assert Invite.from_text((tmp_path / "new" / "er" / f"{home}.invite").read_text())


@pytest.mark.parametrize(
    ("reason", "told"), [("fields", "version"), ("label", "version"), ("clock", "clock")]
)
def test_a_home_says_that_a_server_of_another_release_does_not_read_it(
    monkeypatch: pytest.MonkeyPatch, reason: str, told: str
) -> None:
    """A server of before cannot say so itself: it tells which of its own checks failed."""

    def ask(*_: object) -> bytes:
        raise LinkError("no fedhome/claim message: another number of fields", reason=reason)

    monkeypatch.setattr(fedhome.clients.agent.announce, "ask", ask)
    with pytest.raises(LinkError) as caught:
        _joins()
    assert caught.value.reason == told
    assert ("upgrade the older one, the server first" in caught.value.hint) == (told == "version")


def test_a_welcome_of_another_release_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    longer = msgpack.packb(["fedhome/welcome", 1, 7, b"directory", b"word", 0])
    monkeypatch.setattr(fedhome.clients.agent.announce, "ask", lambda *_: longer)
    with pytest.raises(LinkError, match="cannot read each other's messages") as caught:
        _joins()
    assert caught.value.reason == "version"
    monkeypatch.setattr(fedhome.clients.agent.announce, "ask", lambda *_: b"no message")
    with pytest.raises(WireError):
        _joins()


def _joins() -> None:
    fedhome.clients.agent.announce.join(
        "hub.example:8443",
        b"",
        fleet=FLEET,
        keys=HomeKeys.create("oak"),
        node=NodeKey.create(),
        saves=1,
    )
