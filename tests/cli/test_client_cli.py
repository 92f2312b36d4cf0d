"""`fedhome client` in a home that has joined, against a real front over TLS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedhome.cli import ages
from fedhome.clients.agent.known_head import HeadKeeper
from fedhome.clients.lean_process import LEAN
from fedhome.clients.membership import leave
from fedhome.clients.membership.consent_record import ConsentRecord
from fedhome.clients.membership.consent_summary import short_of
from fedhome.clients.membership.home_folder import HomeStatus
from fedhome.clients.membership.own_models import OwnModels
from fedhome.errors import LinkError, RunError, StateError
from fedhome.fleet.entries import Anchor
from fedhome.fleet.freshness import Freshness
from fedhome.fleet.owner_folder import Fleet
from fedhome.fleet.state_file import FileStore
from fedhome.secagg import Authority, Directory, HomeKeys, ServerKeys
from fedhome.secagg.ledger import LedgerEntry
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.store import disk
from helpers.client_world import (
    World,
    disk_held,
    fedhome,
    front_of,
    join,
    joined,
    not_started,
    owned_in,
    refused,
    started,
    until,
    world_of,
    write_readings,
)
from helpers.json_guide import checked
from helpers.patience import PATIENCE_S

NOW = 1_790_000_000.0  # 2026-09-21

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, ServerFolder]]:
    with owned_in(tmp_path_factory.mktemp("fleet")) as owned:
        yield owned


@pytest.fixture(scope="module")
def front(owned: tuple[Fleet, ServerFolder]) -> Iterator[None]:
    with front_of(owned[1]):
        yield


@pytest.fixture
def world(
    owned: tuple[Fleet, ServerFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """The server is away, unless a test uses its front."""
    return world_of(owned, tmp_path, monkeypatch)


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_status_tells_until_when_the_directory_holds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = joined(world)
    authority = Authority()
    server = ServerKeys()
    directory = Directory(
        fleet=world.fleet.anchor.fleet,
        epoch=4,
        expires=1_800_000_000,
        seed=b"s" * 32,
        server=server.public,
        committee=1,
        corrupt=0,
        threshold=1,
        homes=(HomeKeys.create("oak").entry(),),
    )
    anchor = Anchor(fleet=directory.fleet, authority=authority.public)
    (place.path / "fleet.pub").write_text(anchor.to_text())
    place.keep_directory(authority.issue(directory))
    heads = HeadKeeper(place, lambda: 1_799_990_000.0)
    heads.take(Freshness.of(directory, now=1_799_990_000).sign(server), directory)
    for now, words in (
        (1_799_990_600, "until 2027-01-15 08:00 UTC; the newest, the server said 10 minutes ago"),
        (1_800_000_000, "held until 2027-01-15 08:00 UTC: the fleet's owner signs the next one"),
    ):
        monkeypatch.setattr(ages, "now", lambda now=now: float(now))
        shown = fedhome("status", "oak").output
        assert f"epoch 4, {directory.hash.hex()[:12]}, {words}" in shown


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_start_becomes_the_agent(world: World) -> None:
    place = joined(world)
    module = [
        "-P",
        "-m",
        "fedhome.ops.processes",
        "0",
        LEAN,
        "fedhome.clients.agent.resident",
        str(place.path),
    ]
    assert started(place) == [sys.executable, *module]
    with disk_held(place.path):
        refused(fedhome("start", place.path), StateError, "in use")


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_start_refuses_what_nobody_agreed_to(world: World) -> None:
    place = joined(world)
    consent = place.path / "consent.json"
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
    (place.path / "state.fh").unlink()
    not_started(place, "state.fh")
    refused(fedhome("start", world.device / "nowhere"), RunError, "join")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s ago"),  # a clock that was set back
        (0.4, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 minutes ago"),
        (7199, "120 minutes ago"),
        (7200, "2 hours ago"),
        (86_400 * 2, "2 days ago"),
        (86_400 * 2.6, "3 days ago"),
    ],
)
def test_an_age_is_told_in_the_largest_unit_of_which_there_are_two(
    seconds: float, words: str
) -> None:
    assert ages.ago(NOW - seconds, NOW) == words


def test_a_reading_that_is_yet_to_come_is_never_told_as_new() -> None:
    assert ages.of_reading(NOW - 120, NOW) == "2 minutes ago"
    assert ages.of_reading(NOW + 60, NOW) == "0 s ago"  # two clocks may differ
    told = "ahead of this device's clock: check that, and the readings' time zone"
    assert ages.of_reading(NOW + 61, NOW) == f"61 s {told}"
    assert ages.of_reading(NOW + 7200, NOW) == f"2 hours {told}"


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_status(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    place = joined(world)
    monkeypatch.setattr(ages, "now", lambda: NOW)
    shown = fedhome("status", "oak").output
    for words in (world.fleet.anchor.fleet.hex(), "not running", "none yet", "no directory yet"):
        assert words in shown
    told = HomeStatus(state="connected", process=41, epoch=3, answered=1234, last="train")
    for ago, words in ((1.0, "1 s ago"), (600.0, "10 minutes ago"), (86_400 * 3, "3 days ago")):
        place.status = HomeStatus(**{**vars(told), "last_time": NOW - ago})
        assert f"train, {words}; 1,234 since" in fedhome("status", "oak").output
    assert "not running" in fedhome("status", "oak").output  # the process is gone
    place.status = HomeStatus(**{**vars(told), "time": NOW - 7})
    with disk_held(place.path):
        shown = fedhome("status", "oak").output
        assert "connected, as of 7 s ago" in shown
        assert "runs, process 41" in shown
        as_json = checked("client status", fedhome("status", "oak", "--json").output)
        assert (as_json["running"], as_json["state"], as_json["process"]) == (True, "connected", 41)
        assert (as_json["answered"], as_json["last"], as_json["faults"]) == (1234, "train", [])
        assert (as_json["consent_holds"], as_json["release"], as_json["epoch"]) == (True, None, 0)
        place.status = HomeStatus(state="waiting", detail="the server [away]")
        assert "waiting: the server [away]" in fedhome("status", "oak").output
    (world.device / "readings.parquet").rename(world.device / "moved")
    (place.path / "plan.toml").write_text("")
    shown = fedhome("status", "oak").output
    assert "not there" in shown
    assert "to another plan than the one in the folder" in shown
    as_json = checked("client status", fedhome("status", "oak", "--json").output)
    assert (as_json["running"], as_json["process"], as_json["data_there"]) == (False, None, False)
    assert not as_json["consent_holds"]
    assert len(as_json["faults"]) == 2
    (place.path / "consent.json").unlink()
    assert "none" in fedhome("status", "oak").output


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_pause_and_resume(world: World) -> None:
    place = joined(world)
    with disk_held(place.path):  # also while the agent runs
        assert fedhome("pause", "oak").exit_code == 0
        assert place.paused
    assert "paused, and not running" in fedhome("status", "oak").output
    assert "takes part again" in fedhome("resume", "oak").output
    assert not place.paused
    assert "was not paused" in fedhome("resume", "oak").output
    place.left = True
    refused(fedhome("pause", "oak"), RunError, "has left")
    refused(fedhome("resume", "oak"), RunError, "has left")


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_leaving_when_the_fleet_knows_nothing(world: World) -> None:
    place = joined(world)
    shutil.rmtree(world.server.path / "enrolments")
    assert "does not know it" in fedhome("leave", "oak", "--yes").output
    assert place.left


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_leaving_while_the_server_is_away(world: World) -> None:
    place = joined(world)
    path = place.path / "home.toml"
    sound = path.read_text()
    path.write_text(sound.replace(str(world.server.settings.port), "9"))
    error = refused(fedhome("leave", "oak", "--yes"), LinkError, "the server was not told")
    assert "the same command" in error.hint
    not_started(place, "has left its fleet")
    path.write_text(sound)
    assert "its owner is told" in fedhome("leave", "oak").output


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_leaving_waits_for_the_agent(world: World) -> None:
    place = joined(world)
    lock = disk.lock(place.path)

    def agent() -> None:  # ends once it sees that the home has left
        until(lambda: place.left)
        os.close(lock)

    thread = threading.Thread(target=agent)
    thread.start()
    assert leave.leave(place)
    thread.join()
    with disk_held(place.path), pytest.raises(StateError, match="still busy") as busy:
        leave.leave(place, patience_s=0.0)
    assert "again" in busy.value.hint


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_forgetting_erases_what_is_ours_alone(world: World) -> None:
    place = joined(world)
    place.node_key()
    place.keep_directory(b"directory")
    place.at_hand, place.paused, place.status = b"message", True, HomeStatus(state="stopped")
    (place.path / "model").mkdir()
    for name in ("release.fh", "00.seen"):
        (place.path / "model" / name).write_bytes(b"")
    OwnModels(place.path, "oak").replace(b"its own")
    (place.path / "flower" / "apps").mkdir(parents=True)
    (place.path / "flower" / "apps" / "app.py").write_text("unpacked by a SuperNode")
    (place.path / "state.fh.new").write_bytes(b"left by a crash")
    (place.path / "oak.entry").write_text("public")
    with FileStore.open(place.path):
        refused(fedhome("forget", "oak", "--yes"), StateError, "in use")
    asked = fedhome("forget", "oak", answer="n\n")
    assert "this home has not left its fleet" in asked.output
    assert "nothing was erased" in asked.output
    assert (place.path / "state.key").exists()
    assert fedhome("forget", "oak", answer="y\n").exit_code == 0
    assert not place.path.exists()
    assert (world.device / "readings.parquet").exists()
    for flags in ([], ["--yes"]):  # it asks about nothing
        refused(fedhome("forget", "oak", *flags), RunError, "there is no home")


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_the_consent_can_be_read_again(world: World) -> None:
    place = joined(world)
    consent = ConsentRecord.of(place)
    assert consent is not None
    assert consent.text in fedhome("consent", "oak", "--all").output
    short = fedhome("consent", "oak").output
    assert short.startswith(short_of(consent.text))
    assert "every point of it: `fedhome client consent --all`" in short
    told = checked("client consent", fedhome("consent", "oak", "--json").output)
    assert (told["text"], told["plan"]) == (consent.text, consent.plan)
    spent = checked("client privacy", fedhome("privacy", "oak", "--json").output)
    assert (spent["noise"], spent["ceiling"], spent["runs"]) == (False, None, [])
    (place.path / "consent.json").unlink()
    refused(fedhome("consent", "oak"), RunError, "nobody has agreed")


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_service_files(world: World) -> None:
    place = joined(world)
    done = fedhome("service", "oak", "--out", "files", "--memory-mb", 512, "--cpus", 0.5)
    assert done.exit_code == 0, done.exception
    assert "systemctl enable --now fedhome-client-oak.service" in done.output
    unit = Path("files/fedhome-client-oak.service").read_text()
    assert f"client start {place.path}\n" in unit
    assert "MemoryMax=512M\nCPUQuota=50%\n" in unit
    done = fedhome("service", "oak", "--kind", "compose", "--out", "files")
    assert "docker compose -f files/compose.yaml up" in done.output
    assert "docker build" in fedhome("service", "oak", "--kind", "container", "--out", "f").output
    user = fedhome("service", "oak", "--user", "--out", "files")
    assert "systemctl --user enable --now" in user.output


@pytest.mark.long
@pytest.mark.usefixtures("front")
@pytest.mark.skipif(sys.platform != "linux", reason="asks the agent as systemd does")
def test_the_agent_as_a_process(world: World) -> None:
    place = joined(world)
    program = [sys.executable, "-c", "from fedhome.cli import main; main()", "client", "start"]
    environment = {**os.environ, "COVERAGE_PROCESS_START": ""}
    with subprocess.Popen(
        [*program, str(place.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as agent:
        until(lambda: place.status is not None and place.status.process == agent.pid)
        assert f"runs, process {agent.pid}" in fedhome("status", "oak").output
        refused(fedhome("forget", "oak", "--yes"), StateError, "in use")
        agent.send_signal(signal.SIGTERM)
        told, _ = agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0
    assert "the agent of oak runs" in told
    assert "not running" in fedhome("status", "oak").output


@pytest.mark.long
@pytest.mark.usefixtures("front")
def test_the_ledger_lists_what_was_answered_and_opened(world: World) -> None:
    place = joined(world)
    assert "oak has answered nothing yet" in fedhome("ledger", place.path).output
    entry = LedgerEntry(
        subject=b"s" * 32,
        group=0,
        epoch=1,
        manifest=b"m" * 32,
        round=7,
        day=20_000,
        kind="train",
    )
    with FileStore.open(place.path, home="oak") as store:
        state = store.state.with_sum(1, 1, entry).with_openings({}, entry)
        store.save(replace(state, version=store.state.version + 1))
        # It is read while the agent holds the folder.
        told = fedhome("ledger", place.path, "--json").output.splitlines()
        assert all(checked("client ledger", line) for line in told)
        shown = fedhome("ledger", place.path).output
    rows = [json.loads(line) for line in told]
    assert [row["part"] for row in rows] == ["answered", "opened"]
    assert {row["day"] for row in rows} == {"2024-10-04"}
    assert {(row["what"], row["round"], row["attempts"]) for row in rows} == {("train", 7, 1)}
    assert "2024-10-04" in shown
    assert b"s".hex() * 6 in shown
