"""Enrolment over a real front on loopback: what owner, device and stranger type and post."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fedhome.errors import LinkError
from fedhome.fleet import owner_requests
from fedhome.fleet.cards import Card, Inviter
from fedhome.fleet.entries import fingerprint
from fedhome.fleet.front_requests import ENROL, JOIN, LEAVE, OWNER, ask
from fedhome.fleet.invites import EnrolmentResponse, Invite
from fedhome.fleet.leave_notice import leave_notice
from fedhome.fleet.owner_folder import Fleet
from fedhome.ops import tls
from fedhome.ops.listening import free_port
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.secagg import Directory, HomeKeys
from fedhome.server.daemon.initialise import make_server
from fedhome.server.daemon.server_folder import ServerFolder
from helpers.patience import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HOST = "127.0.0.1"
SMALL = 'name = "small"\n[data]\ninputs = [{ name = "outdoor_c" }]\n[aggregation]\nmin_cohort = 3\n'


@dataclass
class Scene:
    """An owner's folder and a server's, side by side."""

    folder: Path
    place: ServerFolder

    @property
    def owner(self) -> Path:
        return self.folder / "owner"

    @property
    def card(self) -> Card:
        return self.place.card

    def type(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Type a command of the owner's."""
        return subprocess.run(
            [sys.executable, "-c", "from fedhome.cli import main; main()", "fleet", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            input=typed,
            env=os.environ | {"COLUMNS": "160", "NO_COLOR": "1"},
        )

    def types(self, *arguments: str, typed: str = "") -> str:
        """Type a command that works, and return what it prints."""
        done = self.type(*arguments, typed=typed)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def invite(self, home: str) -> Invite:
        return Invite.from_text((self.folder / f"{home}.invite").read_text())

    def post(self, path: str, body: bytes) -> bytes:
        return ask(self.card.server, self.card.authorities, path, body)

    def enrol(self, home: str) -> HomeKeys:
        keys = HomeKeys.create(home)
        answer = self.post(ENROL, self.invite(home).enrolment(keys, time.time()))
        assert not EnrolmentResponse.from_bytes(answer).admitted
        return keys

    def directory(self) -> Directory:
        return self.place.directory()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A fleet without homes, and a server that does not run yet."""
    (tmp_path / "passphrase").write_text("correct horse battery staple\n")
    with Fleet.create(tmp_path / "owner", "correct horse battery staple"):
        pass
    place = make_server(
        tmp_path / "server", hosts=[HOST], port=free_port(), listen=HOST, fleet=tmp_path / "owner"
    )
    (tmp_path / "small.toml").write_text(SMALL)
    return Scene(folder=tmp_path, place=place)


@contextmanager
def front(scene: Scene) -> Iterator[None]:
    """Run the server's front, without the SuperLink behind it."""

    def there() -> bool:
        with socket.socket() as trial:
            return trial.connect_ex((HOST, scene.place.settings.port)) == 0

    with Processes() as processes:
        processes.start(
            "front",
            "fedhome.server.daemon.front",
            str(scene.place.path),
            log=scene.place.logs / "front.log",
        )
        processes.until(there, what="the front came up", timeout_s=PATIENCE_S)
        yield


def refused(scene: Scene, path: str, body: bytes) -> str:
    with pytest.raises(LinkError) as caught:
        scene.post(path, body)
    return caught.value.reason


def test_from_invites_to_a_fleet_and_out_of_it(scene: Scene) -> None:
    secret, begin = ("--passphrase-file", "passphrase"), int(time.time())
    printed = scene.types("invite", "a", "b", "--fleet", "owner", "--plan", "small.toml")
    assert "a.invite: one device becomes a with it, until 20" in printed
    assert "fedhome client join a.invite --data SOURCE" in printed
    for home in "ab":
        path = scene.folder / f"{home}.invite"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        invite = scene.invite(home)
        assert (invite.home, invite.card) == (home, scene.card)
        assert invite.plan == Plan.load(scene.folder / "small.toml").to_toml()
        assert begin <= invite.expires - 7 * 86_400 <= time.time()
    # Plan and server are remembered; what is there already is not replaced.
    kept = (scene.folder / "a.invite").read_bytes()
    again = scene.type("invite", "c", "a", "--fleet", "owner")
    assert (again.returncode, again.stderr.split("\n")[0]) == (
        1,
        "error: a.invite is there already",
    )
    assert (scene.folder / "a.invite").read_bytes() == kept
    assert not (scene.folder / "c.invite").exists()
    scene.types("invite", "c", "--fleet", "owner", "--days", "0.5")
    assert scene.invite("c").plan == scene.invite("a").plan
    shown = scene.types("show", "--fleet", "owner")
    assert shown.count("invited until 20") == 3

    with front(scene):
        assert "nobody waits" in scene.types("admit", "--fleet", "owner")
        keys = {home: scene.enrol(home) for home in "ab"}
        declined = scene.type("admit", "--fleet", "owner", typed="n\n")
        for home in "ab":
            assert fingerprint(keys[home].entry()) in declined.stdout
        assert "nothing was changed; who waits goes on waiting" in declined.stdout
        assert not scene.owner.joinpath("directory.fh").exists()
        some = scene.type("admit", "b", "nobody", "--fleet", "owner")
        assert "error: nobody: no such home waits for you" in some.stderr
        early = scene.types("admit", "--fleet", "owner", "--yes", *secret)
        assert "on the list: a, b" in early
        assert "nothing is signed yet: 2 homes are fewer than min_cohort = 3" in early
        keys["c"] = scene.enrol("c")
        done = scene.types("admit", "--fleet", "owner", *secret, typed="y\n")
        assert fingerprint(keys["c"].entry()) in done
        assert fingerprint(keys["a"].entry()) not in done
        for text in (f"the server at {scene.card.server} has it", "a sum takes 3 homes"):
            assert text in done
        assert "next, on the server: `fedhome server run PLAN --server DIR`" in done
        directory = scene.directory()
        assert directory.names == ("a", "b", "c")
        assert {entry.identity for entry in directory.homes} == {
            keys[home].entry().identity for home in "abc"
        }
        assert (directory.epoch, directory.threshold) == (1, 2)

        # One leaves, and one comes: its place is taken in one go.
        notice = leave_notice(directory.fleet, keys["b"], time.time())
        assert scene.post(LEAVE, notice) == b""
        scene.types("invite", "d", "--fleet", "owner")
        scene.enrol("d")
        done = scene.types("admit", "--fleet", "owner", *secret, typed="y\ny\n")
        assert "b wants to leave, it said on 20" in done
        assert (scene.directory().names, scene.directory().epoch) == (("a", "c", "d"), 2)
        assert _suffixes(scene.place.path / "enrolments") == {".used"}
        _too_few_stay(scene, keys["c"], secret)


def _too_few_stay(scene: Scene, leaving: HomeKeys, secret: tuple[str, ...]) -> None:
    """One more leaves: what its place waits for is told."""
    scene.post(LEAVE, leave_notice(scene.directory().fleet, leaving, time.time()))
    told = scene.types("admit", "--fleet", "owner", *secret, typed="y\n")
    assert "2 homes are fewer than min_cohort = 3" in told
    assert "the server knows c by the old keys, and takes no new ones" in told
    assert "`fedhome fleet directory --fleet owner --min-cohort 2`" in told


def _suffixes(folder: Path) -> set[str]:
    """What kinds of files lie there: of an invite that was used, its mark alone is left."""
    return {path.suffix for path in folder.iterdir()}


def test_what_was_signed_while_the_server_was_away(scene: Scene) -> None:
    scene.types("add", *"abc", "--fleet", "owner")
    secret = ("--fleet", "owner", "--passphrase-file", "passphrase")
    (scene.owner / "plan.toml").write_text(SMALL)
    away = scene.type("directory", *secret)
    assert away.returncode == 1
    assert "epoch 1 is signed, but the server has not got it" in away.stderr
    assert "once it is back: `fedhome fleet send --fleet owner`" in away.stderr
    assert not (scene.place.fleet / "directory.fh").exists()
    assert scene.type("admit", *secret).returncode == 1
    with front(scene):
        assert "has the directory of epoch 1 now" in scene.types("send", "--fleet", "owner")
        assert scene.directory().names == ("a", "b", "c")
        assert "has it" in scene.types("directory", *secret)
        assert scene.directory().epoch == 2
        # An older copy of the owner's folder cannot take the server back.
        old = scene.owner / "directory.fh"
        newer = old.read_bytes()
        scene.types("directory", *secret)
        old.write_bytes(newer)
        late = scene.type("send", "--fleet", "owner")
        assert late.returncode == 1
        assert "a directory of epoch 2 came after one of 3" in late.stderr


def test_strangers_get_nowhere(scene: Scene) -> None:
    scene.types("invite", "hub", "--fleet", "owner", "--plan", "small.toml")
    invite, fleet = scene.invite("hub"), scene.invite("hub").anchor.fleet
    stranger, now = Inviter.create(), time.time()
    forged = Invite.create(
        stranger,
        anchor=invite.anchor,
        home="hub",
        card=invite.card,
        plan=invite.plan,
        expires=invite.expires,
    )
    with front(scene):
        # All that follows from the server's certificate and the public names alone.
        assert refused(scene, ENROL, forged.enrolment(HomeKeys.create("hub"), now)) == "invite"
        assert refused(scene, LEAVE, leave_notice(fleet, HomeKeys.create("hub"), now)) == (
            "not-listed"
        )
        for what in ("pending", "directory"):
            asked = owner_requests.OwnerRequest(fleet=fleet, what=what, time=int(now), body=b"")
            assert refused(scene, OWNER, asked.sign(stranger)) == "format"  # without a permit
            with pytest.raises(LinkError) as told:
                owner_requests._ask(scene.card, stranger, asked)
            assert told.value.reason == "signature"
        for path in (ENROL, LEAVE, OWNER, JOIN):
            assert refused(scene, path, b"") != "unreachable"
            assert refused(scene, path, os.urandom(200)) != "unreachable"
        with pytest.raises(LinkError, match="answers 413"):
            scene.post(ENROL, bytes(5000))
        # Another server with another certificate is not even asked.
        tls.make_certificates(scene.folder / "evil", [HOST])
        evil = (scene.folder / "evil" / "ca.pem").read_bytes()
        with pytest.raises(LinkError) as caught:
            ask(scene.card.server, evil, ENROL, invite.enrolment(HomeKeys.create("hub"), now))
        assert caught.value.reason == "unreachable"
        with httpx.Client(verify=False) as client:  # noqa: S501 - a stranger does not care
            for path in (ENROL, LEAVE, OWNER):
                assert client.get(f"https://{scene.card.server}{path}").status_code == 404
        assert not (scene.place.path / "enrolments").exists()

        # The invited device, and then a thief of its file.
        keys = scene.enrol("hub")
        assert refused(scene, ENROL, invite.enrolment(HomeKeys.create("hub"), now)) == "used"
        listed = scene.type("admit", "--fleet", "owner", typed="n\n").stdout
        assert fingerprint(keys.entry()) in listed
