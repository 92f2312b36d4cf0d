"""`fedhome client` on a home's device, against a real front over TLS."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from click.testing import Result
from typer.testing import CliRunner

from clients import leaving
from clients.consent import Consent
from clients.place import Place, Status
from fedhome import tls
from fedhome.cards import Card
from fedhome.cli import app
from fedhome.enrolment import fingerprint, home_keys
from fedhome.errors import (
    DataError,
    DirectoryError,
    FedHomeError,
    LinkError,
    PlanError,
    RunError,
    StateError,
)
from fedhome.fleet import Fleet
from fedhome.invites import Invite
from fedhome.inviting import SERVER
from fedhome.plan import Plan
from fedhome.secagg import disk
from fedhome.secagg.sealing import Scrypt
from fedhome.secagg.store import FileStore
from server.front import Front
from server.place import Place as ServerPlace
from server.place import Settings as ServerSettings

HOST = "127.0.0.1"
WEEK_S = 7 * 86_400
PLAN = Plan.load(
    name="tiny", data={"lags": [1, 2], "gap": 2}, model={"hidden": [4]}, rounds={"count": 1}
)
HOURS = 24 * 9


@dataclass
class World:
    """An owner, a server with its front, and a device's folder.

    Args:
        fleet: The owner's folder.
        card: The server's.
        device: Where the device's commands run.
        server: The server's folder.
    """

    fleet: Fleet
    card: Card
    device: Path
    server: ServerPlace

    def invite(
        self, home: str = "oak", *, plan: str | None = None, card: Card | None = None
    ) -> Path:
        """Write an invite; two for the same home differ."""
        text = PLAN.to_toml() if plan is None else plan
        expires = int(time.time()) + WEEK_S
        made = self.fleet.invite(home, card=card or self.card, plan=text, expires=expires)
        path = self.device / f"{home}.invite"
        path.write_text(made.to_text())
        return path

    def pending(self) -> list[str]:
        """Return which tickets' enrolments the server keeps."""
        return sorted(path.name for path in (self.server.folder / "enrolments").glob("*.*"))


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, ServerPlace]]:
    cheap = Scrypt(salt=b"0123456789abcdef", log2_n=10, r=8, p=1)
    root = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scrypt, "fresh", lambda: cheap)
        fleet = Fleet.create(root / "owner", "correct horse")
    settings = ServerSettings(host=HOST, port=_free_port(), link_port=_free_port())
    server = ServerPlace.create(root / "server", settings, names=[HOST])
    shutil.copytree(root / "owner" / SERVER, server.fleet, dirs_exist_ok=True)
    with fleet:
        yield fleet, server


@pytest.fixture(scope="module")
def front(owned: tuple[Fleet, ServerPlace]) -> Iterator[None]:
    _, place = owned
    config = uvicorn.Config(
        Front(place),
        host=HOST,
        port=place.settings.port,
        ssl_certfile=place.tls / tls.CERTIFICATE,
        ssl_keyfile=str(place.tls / tls.KEY),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        log_level="error",
        ws="none",  # what it would import for them is deprecated
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield
    server.should_exit = True
    thread.join()


@pytest.fixture
def world(
    owned: tuple[Fleet, ServerPlace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """An owner and a server that is away; readings lie in the device's folder."""
    fleet, server = owned
    shutil.rmtree(server.folder / "enrolments", ignore_errors=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_readings(tmp_path / "readings.parquet")
    card = Card(
        server=f"{HOST}:{server.settings.port}", authorities=(server.tls / tls.CA).read_bytes()
    )
    return World(fleet, card, tmp_path, server)


def write_readings(path: Path, hours: int = HOURS, target: str = "load_kwh") -> None:
    times = [1_700_000_000 // 3600 * 3600 + 3600 * hour for hour in range(hours)]
    load = [0.5 + (hour % 24) / 24 + (hour % 7) / 50 for hour in range(hours)]
    columns = {
        "time": pa.array(times, pa.timestamp("s", tz="UTC")),
        target: pa.array(load),
        "outdoor_c": pa.array([float(hour % 24) for hour in range(hours)]),
    }
    pq.write_table(pa.table(columns), path)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def fedhome(*words: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["client", *map(str, words)], input=answer)


def join(invite: Path, *words: object, answer: str | None = "y\n") -> Result:
    return fedhome("join", invite, "--data", "readings.parquet", *words, answer=answer)


def refused(result: Result, kind: type[FedHomeError], words: str) -> FedHomeError:
    assert isinstance(result.exception, kind), result.output
    assert words in str(result.exception)
    return result.exception


def joined(world: World) -> Place:
    """Return the folder of a home that has joined."""
    done = join(world.invite())
    assert done.exit_code == 0, done.exception
    return Place(world.device / "oak")


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


@pytest.mark.usefixtures("front")
def test_a_device_joins(world: World) -> None:
    done = join(world.invite())
    assert done.exit_code == 0, done.exception
    for words in (
        f"{HOURS} rows over 9.0 days, 2023-11-14 to 2023-11-23",
        "2: load_kwh, outdoor_c",
        "tiny: predict load_kwh",
        "WHAT LEAVES THIS DEVICE\n",
        f"  server  {world.card.server}\n",
        "Take part as oak? [y/N]: y",
        "next: `fedhome client start oak`",
    ):
        assert words in done.output
    place = Place(world.device / "oak")
    keys, made = home_keys("oak", place.folder)
    assert not made
    assert f"fingerprint: {fingerprint(keys.entry())}" in done.output
    assert place.settings.data == str(world.device / "readings.parquet")
    assert (place.settings.home, place.settings.server) == ("oak", world.card.server)
    assert (place.anchor, place.authorities) == (world.fleet.anchor, world.card.authorities)
    consent = Consent.of(place)
    assert consent is not None
    assert consent.text in done.output
    # The server has it, and the owner admits these very keys.
    (name,) = world.pending()
    (entry,) = world.fleet.admit((world.server.folder / "enrolments" / name).read_bytes())
    assert entry == keys.entry()
    world.fleet.revoke("oak")


@pytest.mark.usefixtures("front")
def test_joining_again_keeps_the_keys_and_the_consent(world: World) -> None:
    place = joined(world)
    keys, _ = home_keys("oak", place.folder)
    settings = (place.folder / "home.toml").read_text()
    (place.folder / "home.toml").write_text(settings.replace("120.0", "7.5"))
    before = (place.folder / "consent.json").read_bytes()
    again = join(world.device / "oak.invite", answer=None)  # nobody is asked
    assert again.exit_code == 0, again.exception
    assert "agreed to the same on" in again.output
    assert "kept the keys" in again.output
    newer = join(world.invite(), answer=None)
    assert newer.exit_code == 0, newer.exception
    assert home_keys("oak", place.folder)[0].entry() == keys.entry()
    assert (place.folder / "consent.json").read_bytes() == before
    assert place.settings.worker_idle_s == 7.5  # what was changed by hand stays
    assert len(world.pending()) == 2


@pytest.mark.usefixtures("front")
def test_a_new_plan_asks_anew(world: World) -> None:
    place = joined(world)
    before = place.plan_path.read_bytes()
    invite = world.invite(plan=PLAN.change(rounds={"count": 2}).to_toml())
    declined = join(invite, answer="n\n")
    assert "WHAT LEAVES THIS DEVICE" in declined.output
    assert place.plan_path.read_bytes() == before
    assert join(invite).exit_code == 0
    assert place.plan_path.read_bytes() != before
    assert started(place)


def test_declining_writes_and_sends_nothing(world: World) -> None:
    for answer in ("n\n", "\n", ""):
        declined = join(world.invite(), answer=answer)
        assert declined.exit_code == 1
        assert not (world.device / "oak").exists()
    assert "nothing was written, and nothing was sent" in join(world.invite(), answer="n\n").output


def test_a_server_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    invite = world.invite(card=Card(server=f"{HOST}:9", authorities=world.card.authorities))
    error = refused(join(invite), LinkError, "cannot be reached")
    assert "try again" in error.hint
    place = Place(world.device / "oak")
    keys, made = home_keys("oak", place.folder)
    assert not made
    refused(fedhome("start", "oak"), RunError, "join")
    refused(fedhome("status", "oak"), RunError, "join")
    # It comes back: the very same keys enrol.
    posted: list[bytes] = []

    def ask(server: str, authorities: bytes, _: str, body: bytes) -> bytes:
        assert (server, authorities) == (f"{HOST}:9", world.card.authorities)
        posted.append(body)
        return answered.to_bytes()

    from fedhome.invites import Enrolled  # noqa: PLC0415

    answered = Enrolled(admitted=True)
    monkeypatch.setattr("clients.membership.ask", ask)
    done = join(invite)
    assert done.exit_code == 0, done.exception
    assert "has admitted this home already" in done.output
    assert world.fleet.check(posted[0]).entry == keys.entry()


@pytest.mark.usefixtures("front")
def test_what_the_server_refuses_is_told(world: World) -> None:
    invite = world.invite()
    assert join(invite).exit_code == 0
    # The same invite on a second device.
    error = refused(join(invite, "--home", "other"), LinkError, "used by another device")
    assert error.hint
    refused(fedhome("start", "other"), RunError, "join")


def test_an_invite_that_does_not_hold(world: World) -> None:
    text = world.invite().read_text()
    path = world.device / "bad.invite"
    path.write_text(text[:-40])
    refused(join(path), DirectoryError, "damaged")
    path.write_bytes(b"\xff\xfe")
    refused(join(path), DirectoryError, "damaged")
    refused(join(world.device / "none.invite"), StateError, "none.invite")
    fleet = world.fleet
    old = Invite.create(
        fleet.inviter, anchor=fleet.anchor, home="oak", card=world.card, plan="", expires=1
    )
    path.write_text(old.to_text())
    refused(join(path), DirectoryError, "held until 1970-01-01")
    for plan, words in (("a = [", "not TOML"), ("[data]\ncolour = 1", "data.colour")):
        refused(join(world.invite(plan=plan)), PlanError, words)
    assert not (world.device / "oak").exists()


def test_readings_that_do_not_fit(world: World) -> None:
    invite = world.invite()
    write_readings(world.device / "readings.parquet", target="power")
    refused(join(invite), DataError, "'load_kwh' is not a column")
    write_readings(world.device / "readings.parquet", hours=12)
    refused(join(invite), DataError, "too few whole rows")
    (world.device / "readings.parquet").unlink()
    refused(join(invite), DataError, "readings.parquet")
    assert not (world.device / "oak").exists()


@pytest.mark.usefixtures("front")
def test_a_folder_is_one_homes_of_one_fleet(world: World, tmp_path: Path) -> None:
    place = joined(world)
    refused(join(world.invite("elm"), "--home", "oak"), RunError, "is of home oak")
    (place.folder / "home.toml").unlink()  # as after a lost answer: the keys tell it too
    refused(join(world.invite("elm"), "--home", "oak"), StateError, "is of home 'oak'")
    cheap = Scrypt(salt=b"0123456789abcdef", log2_n=10, r=8, p=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scrypt, "fresh", lambda: cheap)
        with Fleet.create(tmp_path / "stranger", "correct horse") as stranger:
            other = World(stranger, world.card, world.device, world.server)
            refused(join(other.invite()), RunError, "another fleet")
    assert join(world.invite()).exit_code == 0
    with disk_held(place.folder):
        refused(join(world.invite()), StateError, "in use")


class disk_held:  # noqa: N801 - reads as what it does
    """Hold a folder as its agent does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._lock = disk.lock(self._folder)

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


def started(place: Place) -> list[str]:
    """Return the command that `start` becomes."""
    commands: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execv", lambda _, words: commands.append(words))
        done = fedhome("start", place.folder)
    assert done.exit_code == 0, done.output
    return commands[0]


def not_started(place: Place, words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execv", lambda *_: pytest.fail("it was started"))
        done = fedhome("start", place.folder)
    assert (done.exit_code, words in done.output) == (78, True), done.output


@pytest.mark.usefixtures("front")
def test_start_becomes_the_agent(world: World) -> None:
    place = joined(world)
    module = ["-m", "fedhome.processes", "0", "clients.agent", str(place.folder)]
    assert started(place) == [sys.executable, *module]
    with disk_held(place.folder):
        refused(fedhome("start", place.folder), StateError, "in use")


@pytest.mark.usefixtures("front")
def test_start_refuses_what_nobody_agreed_to(world: World) -> None:
    place = joined(world)
    consent = place.folder / "consent.json"
    sound = consent.read_bytes()
    consent.unlink()
    not_started(place, "nobody has agreed")
    consent.write_bytes(sound)
    plan = place.plan_path.read_text()
    place.plan_path.write_text(plan.replace('mode = "auto"', 'mode = "plain"'))
    not_started(place, "not the plan that was agreed to")
    place.plan_path.write_text(plan)
    started(place)
    place.left = True
    not_started(place, "has left its fleet")
    place.left = False
    (place.folder / "state.fh").unlink()
    not_started(place, "state.fh")
    refused(fedhome("start", world.device / "nowhere"), RunError, "join")


@pytest.mark.usefixtures("front")
def test_status(world: World) -> None:
    place = joined(world)
    shown = fedhome("status", "oak").output
    for words in (world.fleet.anchor.fleet.hex(), "not running", "none yet", "no directory yet"):
        assert words in shown
    now = time.time()
    told = Status(state="connected", process=41, epoch=3, answered=1234, last="train")
    for ago, words in ((1.0, "1 s ago"), (600.0, "10 minutes ago"), (86_400 * 3, "3 days ago")):
        place.status = Status(**{**vars(told), "last_time": now - ago})
        assert f"train, {words}; 1,234 since" in fedhome("status", "oak").output
    assert "not running" in fedhome("status", "oak").output  # the process is gone
    with disk_held(place.folder):
        shown = fedhome("status", "oak").output
        assert "connected, as of" in shown
        assert "runs, process 41" in shown
        place.status = Status(state="waiting", detail="the server [away]")
        assert "waiting: the server [away]" in fedhome("status", "oak").output
    (world.device / "readings.parquet").rename(world.device / "moved")
    (place.folder / "plan.toml").write_text("")
    shown = fedhome("status", "oak").output
    assert "not there" in shown
    assert "to another plan than the one in the folder" in shown
    (place.folder / "consent.json").unlink()
    assert "none" in fedhome("status", "oak").output


@pytest.mark.usefixtures("front")
def test_pause_and_resume(world: World) -> None:
    place = joined(world)
    with disk_held(place.folder):  # also while the agent runs
        assert fedhome("pause", "oak").exit_code == 0
        assert place.paused
    assert "paused, and not running" in fedhome("status", "oak").output
    assert "takes part again" in fedhome("resume", "oak").output
    assert not place.paused
    assert "was not paused" in fedhome("resume", "oak").output
    place.left = True
    refused(fedhome("pause", "oak"), RunError, "has left")
    refused(fedhome("resume", "oak"), RunError, "has left")


@pytest.mark.usefixtures("front")
def test_leaving_and_coming_back(world: World) -> None:
    place = joined(world)
    assert fedhome("leave", "oak", answer="n\n").exit_code == 1
    assert not place.left
    done = fedhome("leave", "oak", answer="y\n")
    assert "its owner is told" in done.output
    assert place.left
    assert [name for name in world.pending() if name.endswith(".leave")]
    assert fedhome("leave", "oak").exit_code == 0  # again, without being asked
    not_started(place, "has left its fleet")
    assert "has left its fleet" in fedhome("status", "oak").output
    refused(join(world.device / "oak.invite"), RunError, "this invite was used before")
    back = join(world.invite())
    assert "Take part as oak?" in back.output  # it asks again, though nothing is new
    assert not place.left
    started(place)


@pytest.mark.usefixtures("front")
def test_leaving_when_the_fleet_knows_nothing(world: World) -> None:
    place = joined(world)
    shutil.rmtree(world.server.folder / "enrolments")
    assert "does not know it" in fedhome("leave", "oak", "--yes").output
    assert place.left


@pytest.mark.usefixtures("front")
def test_leaving_while_the_server_is_away(world: World) -> None:
    place = joined(world)
    path = place.folder / "home.toml"
    sound = path.read_text()
    path.write_text(sound.replace(str(world.server.settings.port), "9"))
    error = refused(fedhome("leave", "oak", "--yes"), LinkError, "the server was not told")
    assert "the same command" in error.hint
    not_started(place, "has left its fleet")
    path.write_text(sound)
    assert "its owner is told" in fedhome("leave", "oak").output


@pytest.mark.usefixtures("front")
def test_leaving_waits_for_the_agent(world: World) -> None:
    place = joined(world)
    lock = disk.lock(place.folder)

    def agent() -> None:  # ends once it sees that the home has left
        until(lambda: place.left)
        os.close(lock)

    thread = threading.Thread(target=agent)
    thread.start()
    assert leaving.leave(place)
    thread.join()
    with disk_held(place.folder), pytest.raises(StateError, match="still busy") as busy:
        leaving.leave(place, patience_s=0.0)
    assert "again" in busy.value.hint


@pytest.mark.usefixtures("front")
def test_forgetting_erases_what_is_ours_alone(world: World) -> None:
    place = joined(world)
    place.node_key()
    place.keep_directory(b"directory")
    place.at_hand, place.paused, place.status = b"message", True, Status(state="stopped")
    (place.folder / "model").mkdir()
    for name in ("release.fh", "00.seen"):
        (place.folder / "model" / name).write_bytes(b"")
    (place.folder / "flower" / "apps").mkdir(parents=True)
    (place.folder / "flower" / "apps" / "app.py").write_text("unpacked by a SuperNode")
    (place.folder / "state.fh.new").write_bytes(b"left by a crash")
    (place.folder / "oak.entry").write_text("public")
    with FileStore.open(place.folder):
        refused(fedhome("forget", "oak", "--yes"), StateError, "in use")
    asked = fedhome("forget", "oak", answer="n\n")
    assert "this home has not left its fleet" in asked.output
    assert "nothing was erased" in asked.output
    assert (place.folder / "state.key").exists()
    assert fedhome("forget", "oak", answer="y\n").exit_code == 0
    assert not place.folder.exists()
    assert (world.device / "readings.parquet").exists()
    refused(fedhome("forget", "oak", "--yes"), RunError, "there is no home")


@pytest.mark.usefixtures("front")
def test_forgetting_keeps_readings_in_the_folder(world: World) -> None:
    (world.device / "oak").mkdir()
    data = world.device / "oak" / "status.json"  # a name of ours, even
    write_readings(data.with_name("mine.parquet"))
    done = fedhome("join", world.invite(), "--data", data.with_name("mine.parquet"), "--yes")
    assert done.exit_code == 0, done.exception
    settings = Path("oak/home.toml").read_text()
    Path("oak/home.toml").write_text(settings.replace("mine.parquet", "status.json"))
    data.write_bytes(b"readings")
    kept = fedhome("forget", "oak", "--yes")
    assert "oak stays: it holds files that are not fedhome's" in kept.output
    assert sorted(path.name for path in data.parent.iterdir()) == ["mine.parquet", "status.json"]


@pytest.mark.usefixtures("front")
def test_the_consent_can_be_read_again(world: World) -> None:
    place = joined(world)
    consent = Consent.of(place)
    assert consent is not None
    assert consent.text in fedhome("consent", "oak").output
    (place.folder / "consent.json").unlink()
    refused(fedhome("consent", "oak"), RunError, "nobody has agreed")


@pytest.mark.usefixtures("front")
def test_service_files(world: World) -> None:
    place = joined(world)
    done = fedhome("service", "oak", "--out", "files", "--memory-mb", 512, "--cpus", 0.5)
    assert done.exit_code == 0, done.exception
    assert "systemctl enable --now fedhome-client-oak.service" in done.output
    unit = Path("files/fedhome-client-oak.service").read_text()
    assert f"client start {place.folder}\n" in unit
    assert "MemoryMax=512M\nCPUQuota=50%\n" in unit
    done = fedhome("service", "oak", "--kind", "compose", "--out", "files")
    assert "docker compose -f files/compose.yaml up" in done.output
    assert "docker build" in fedhome("service", "oak", "--kind", "container", "--out", "f").output
    user = fedhome("service", "oak", "--user", "--out", "files")
    assert "systemctl --user enable --now" in user.output


@pytest.mark.usefixtures("front")
@pytest.mark.skipif(sys.platform != "linux", reason="asks the agent as systemd does")
def test_the_agent_as_a_process(world: World) -> None:
    place = joined(world)
    program = [sys.executable, "-c", "from fedhome.cli import main; main()", "client", "start"]
    environment = {**os.environ, "COVERAGE_PROCESS_START": ""}
    with subprocess.Popen(
        [*program, str(place.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as agent:
        until(lambda: place.status is not None and place.status.process == agent.pid)
        assert f"runs, process {agent.pid}" in fedhome("status", "oak").output
        refused(fedhome("forget", "oak", "--yes"), StateError, "in use")
        agent.send_signal(signal.SIGTERM)
        told, _ = agent.communicate(timeout=30)
    assert agent.returncode == 0
    assert "the agent of oak runs" in told
    assert "not running" in fedhome("status", "oak").output
