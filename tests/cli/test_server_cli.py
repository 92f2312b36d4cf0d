"""`fedhome server`: what it makes, what it refuses, and what it survives."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.text import Text
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.cli.console import Console
from fedhome.cli.server import _watch
from fedhome.cli.server_words import rows_of
from fedhome.cli.service import print_written
from fedhome.errors import DirectoryError, FedHomeError, PlanError, RunError, StateError, WireError
from fedhome.fleet.cards import Card
from fedhome.fleet.claims import Claim
from fedhome.fleet.entries import home_keys
from fedhome.fleet.owner_folder import Fleet
from fedhome.fleet.owner_keys import AUTHORITY
from fedhome.fleet.server_secret import server_keys
from fedhome.flower.node_key import NodeKey
from fedhome.ops.local_answer import LocalAnswer
from fedhome.ops.processes import Child
from fedhome.ops.service import Kind
from fedhome.plan.settings import Plan
from fedhome.run import events
from fedhome.run import summary as run_summary
from fedhome.run.events import EventLog
from fedhome.server.daemon import deploy, starting, supervisor
from fedhome.server.daemon.current_run import (
    CANCELLED,
    DONE,
    FAILED,
    FINISHED,
    RUNNING,
    Current,
    Runs,
)
from fedhome.server.daemon.follow import follow
from fedhome.server.daemon.health import Health, Up
from fedhome.server.daemon.initialise import make_server
from fedhome.server.daemon.nodes import Nodes
from fedhome.server.daemon.retention import trim
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.server_status import ServerStatus
from fedhome.server.daemon.starting import is_starting
from fedhome.server.daemon.status import status_of
from fedhome.server.daemon.status_sources import StatusSources
from fedhome.server.daemon.supervisor import Daemon, is_running
from fedhome.server.daemon.told_status import STATUS, told_status
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.refusals import Refusals
from fedhome.store import disk
from helpers.client_world import until
from helpers.living import tiny_plan
from helpers.patience import PATIENCE_S

if TYPE_CHECKING:
    from fedhome.run.events import Event

HOMES = 5
PASSPHRASE = "a passphrase that is long enough"  # noqa: S105 - of a fleet in a temporary folder


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan(HOMES, 3)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An owner's folder; a passphrase takes long, so that one does for all tests."""
    folder = tmp_path_factory.mktemp("fleet") / "owner"
    with Fleet.create(folder, PASSPHRASE) as fleet:
        fleet.add_trial(*(f"home-{number}" for number in range(HOMES)))
        fleet.sign(PASSPHRASE, corrupt=0.25, dropped=0.2, committee=None)
    return folder


@pytest.fixture
def owner(fleet: Path, tmp_path: Path) -> Path:
    return shutil.copytree(fleet, tmp_path / "owner")


@pytest.fixture
def place(owner: Path, tmp_path: Path) -> ServerFolder:
    """A server's folder whose fleet has a directory."""
    return make_server(
        tmp_path / "hub",
        hosts=["hub.example", "10.0.0.7"],
        port=8443,
        listen="127.0.0.1",
        fleet=owner,
    )


def said(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: str | Path) -> FedHomeError:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, FedHomeError), done.output
    return done.exception


@pytest.mark.long
def test_status_names_who_refuses_and_what_to_do(
    place: ServerFolder, owner: Path, plan: Plan
) -> None:
    first, second = place.directory().names[:2]
    keys = home_keys(first, owner / "homes" / first)[0]
    claim = Claim(
        fleet=place.anchor.fleet,
        home=first,
        node_key=NodeKey.create().public,
        time=1_790_000_000,
        release="0.1.0",
        refused="older-head",
    )
    disk.put(Nodes(place.nodes)._path(first), claim.sign(keys))
    runs = Runs(place)
    runs.begin(plan, "mine")
    with EventLog(runs.folder("mine").events_path) as log:
        refusals = Refusals(log)
        refusals.hear(second, "train", "replayed")
        refusals.hear(first, "train", "replayed")
        refusals.hear(first, "train", "")
    shown = " ".join(said("server", "status", place.path).replace("│", "").split())
    assert f"refuse train {second}: a sum whose number has passed (replayed); the server" in shown
    assert f"do not connect {first}: terms that name an older release" in shown
    found = status_of(place)
    assert ServerStatus.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert found.run is not None
    assert [(one.home, one.reason) for one in found.run.refusing] == [(second, "replayed")]
    assert [(one.home, one.since) for one in found.refusing] == [
        (first, "2026-09-21T14:13:20+00:00")
    ]


def test_who_asks_for_a_status_again_reads_what_has_changed_alone(
    place: ServerFolder, owner: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = place.directory().names[0]
    node = NodeKey.create().public
    claim = Claim(
        fleet=place.anchor.fleet,
        home=home,
        node_key=node,
        time=1_790_000_000,
        release="0.1.0",
        refused="older-head",
    )
    disk.put(Nodes(place.nodes)._path(home), claim.sign(home_keys(home, owner / "homes" / home)[0]))
    runs = Runs(place)
    runs.begin(plan, "mine")
    read = list[str]()
    for owner_of, name in (
        (Claim, "verify"),
        (Nodes, "claims"),
        (ServerFolder, "directory"),
        (events, "_verify_line"),
    ):
        _count(monkeypatch, owner_of, name, read)
    sources = StatusSources(place)
    with EventLog(runs.folder("mine").events_path) as log:
        log.append("round-closed", round=1)
        assert status_of(place, sources=sources).run is not None
        assert {"verify", "directory", "_verify_line"} <= set(read)
        del read[:]
        log.append("round-closed", round=2)
        run = status_of(place, sources=sources).run
    assert run is not None
    assert run.round == 2
    assert read == ["claims", "_verify_line"], "homes are looked through once; one line is new"


def _count(monkeypatch: pytest.MonkeyPatch, owner_of: object, name: str, read: list[str]) -> None:
    """Take note of each call of a function."""
    function = getattr(owner_of, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        read.append(name)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner_of, name, counted)


@pytest.mark.long
def test_status_asks_the_server_that_runs_and_loads_nothing_for_it(
    place: ServerFolder,
) -> None:
    told = replace(status_of(place), running=True, address="asked.example:1")
    words = ["fedhome", "server", "status", str(place.path)]
    program = (
        f"import sys; sys.argv = {words!r}; from fedhome.cli import app_of\n"
        "app_of(['server'])(standalone_mode=False)\n"
        "costly = ['flwr', 'numpy', 'pydantic', 'httpx', 'fedhome.secagg', 'fedhome.registry']\n"
        "print([one for one in costly if one in sys.modules])"
    )
    log = logging.getLogger("fedhome.front")
    with LocalAnswer(place.path / STATUS, lambda: json.dumps(told.as_json()).encode(), log):
        until(lambda: told_status(place.path) is not None)
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
    assert "asked.example:1" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    assert told_status(place.path) is None
    assert "asked.example" not in said("server", "status", place.path), "found out by itself"


@pytest.mark.long
def test_init_takes_the_servers_part_of_the_fleet_and_nothing_else(
    owner: Path, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    told = said("server", "init", hub, "--host", "hub.example", "--port", "9001", "--fleet", owner)
    place = ServerFolder(hub)
    assert server_keys(place.fleet).public == server_keys(owner / "server").public
    assert place.directory().epoch == 1
    assert place.anchor.fleet.hex() in told
    assert f"fedhome server start {hub}" in told
    card = Card.from_text((owner / "server.card").read_text())
    assert card == place.card
    assert card.server == "hub.example:9001"
    assert card.authorities == (place.tls / "ca.pem").read_bytes()
    secret = (owner / AUTHORITY).read_bytes()
    files = [path for path in hub.rglob("*") if path.is_file()]
    assert all(path.read_bytes() != secret for path in files)
    assert {path.name for path in place.fleet.iterdir()} == {
        "server.fh",
        "server.key",
        "fleet.pub",
        "inviter.pub",
        "directory.fh",
    }
    for path in (hub, place.fleet, place.link, place.tls, place.runs):
        assert path.stat().st_mode & 0o077 == 0
    for path in (place.fleet / "server.key", place.tls / "key.pem", place.link / "secret"):
        assert path.stat().st_mode & 0o077 == 0
    settings = place.settings
    assert (settings.host, settings.port) == ("0.0.0.0", 9001)  # noqa: S104 - compared


@pytest.mark.long
def test_init_from_a_copy_of_the_servers_part(owner: Path, tmp_path: Path) -> None:
    told = said(
        "server", "init", tmp_path / "hub", "--host", "2001:db8::7", "--fleet", owner / "server"
    )
    place = ServerFolder(tmp_path / "hub")
    assert place.card.server == "[2001:db8::7]:8443"
    assert "give the owner this file" in told
    assert not (owner / "server.card").exists()
    with pytest.raises(DirectoryError) as none:
        place.directory()
    assert none.value.reason == "no-directory"


@pytest.mark.long
def test_init_refuses_before_anything_is_made(owner: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    init = ("server", "init", hub, "--host", "hub.example")
    assert "fedhome fleet init OWNER" in refused(*init).hint
    assert "fedhome fleet init OWNER" in refused(*init, "--fleet", tmp_path / "nobody").hint
    for host in ("https://hub.example", "hub.example:8443", "hub example", "", "hüb"):
        error = refused("server", "init", hub, "--host", host, "--fleet", owner)
        assert isinstance(error, RunError)
    (owner / "directory.fh").write_bytes(b"nonsense")
    assert isinstance(refused(*init, "--fleet", owner), WireError | DirectoryError)
    (owner / "directory.fh").unlink()
    (owner / "server" / "server.key").write_bytes(bytes(32))
    assert isinstance(refused(*init, "--fleet", owner), StateError)
    assert not hub.exists()


@pytest.mark.long
def test_init_refuses_a_second_server_in_a_folder(place: ServerFolder, owner: Path) -> None:
    before = (place.tls / "key.pem").read_bytes()
    error = refused("server", "init", place.path, "--host", "other", "--fleet", owner)
    assert isinstance(error, StateError)
    assert error.reason == "exists"
    assert (place.tls / "key.pem").read_bytes() == before


@pytest.mark.long
def test_status_of_a_server_that_is_down(place: ServerFolder) -> None:
    told = said("server", "status", place.path)
    assert "down" in told
    assert "hub.example:8443" in told
    assert f"epoch 1, {HOMES} homes" in told
    assert f"fedhome server start {place.path}" in told
    found = json.loads(said("server", "status", place.path, "--json"))
    assert (found["running"], found["front"], found["link"]) == (False, False, False)
    assert (found["epoch"], found["homes"], found["connected"]) == (1, HOMES, None)
    assert (found["run"], found["release"], found["faults"]) == (None, None, [])


@pytest.mark.long
def test_a_run_of_a_server_that_is_down_does_not_run(place: ServerFolder, plan: Plan) -> None:
    Runs(place).begin(plan, "mine")
    told = " ".join(said("server", "status", place.path).replace("│", "").split())
    assert "mine, goes on when the server starts" in told
    shown = replace(status_of(place), running=True)
    assert ("run", "mine, running") in rows_of(shown)


def test_status_warns_of_a_certificate_that_ends(place: ServerFolder) -> None:
    whole = status_of(place).certificate_days
    assert 820 <= whole <= 825
    enough = datetime.now(UTC) + timedelta(days=whole - 31)
    few = datetime.now(UTC) + timedelta(days=whole - 28)
    # The directory is over by then, which is another fault.
    assert [one for one in status_of(place, now=enough).faults if "certificate" in one] == []
    assert [one for one in status_of(place, now=few).faults if "certificate" in one]


def test_status_warns_of_a_directory_that_ends(place: ServerFolder) -> None:
    now = datetime.now(UTC)
    assert not status_of(place, now=now + timedelta(days=339)).faults
    for days, word in ((341, "holds until"), (401, "held until")):
        (fault,) = status_of(place, now=now + timedelta(days=days)).faults
        assert word in fault
        assert "fedhome fleet directory" in fault


def test_status_of_what_is_damaged(place: ServerFolder) -> None:
    (place.fleet / "directory.fh").write_bytes(b"nonsense")
    (place.path / "current").write_text("nonsense")
    found = status_of(place)
    assert len(found.faults) == 2
    assert (found.epoch, found.run) == (0, None)


@pytest.mark.long
def test_commands_where_there_is_no_server(tmp_path: Path) -> None:
    for command in ("start", "status", "cancel", "service"):
        assert "fedhome server init" in refused("server", command, tmp_path).hint
    assert "fedhome server init" in refused("server", "run", "--server", tmp_path).hint


def test_service_writes_a_unit_that_starts_this_server(place: ServerFolder, tmp_path: Path) -> None:
    told = said("server", "service", place.path, "--out", tmp_path / "units")
    (unit,) = (tmp_path / "units").iterdir()
    assert str(unit) in told.replace("\n", "")
    assert f"server start {place.path}" in unit.read_text()


def test_a_folder_that_no_unit_sees_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    unit = Path("fedhome-server.service")
    kinds: tuple[Kind, ...] = ("systemd", "compose")
    for kind in kinds:
        uses = [Path("/tmp/hub"), Path("/srv/hub"), Path("/var/tmp/x")]  # noqa: S108 - read by nobody
        print_written(Console(), kind, [unit, unit], uses=uses)
        told = " ".join(capsys.readouterr().out.split())
        assert ("does not see /tmp/hub" in told) == (kind == "systemd")
        assert told.count("does not see") == (2 if kind == "systemd" else 0)


@pytest.mark.long
def test_a_run_needs_a_server_that_runs(place: ServerFolder, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    error = refused("server", "run", tmp_path / "plan.toml", "--server", place.path)
    assert f"fedhome server start {place.path}" in error.hint
    assert Runs(place).current is None
    assert isinstance(refused("server", "run", "--set", "seed=1"), PlanError)
    assert isinstance(refused("server", "run", "default", "--resume", "tiny-1"), PlanError)


@pytest.mark.long
def test_a_run_is_handed_over_once(place: ServerFolder, plan: Plan) -> None:
    runs = Runs(place)
    assert runs.begin(plan) == Current(run="tiny-1")
    assert Plan.load(runs.folder("tiny-1").plan_path) == plan
    with pytest.raises(RunError, match="tiny-1 is in progress") as second:
        runs.begin(plan)
    assert f"fedhome server cancel {place.path}" in second.value.hint
    with pytest.raises(RunError, match="tiny-1 is in progress"):
        runs.resume("tiny-1")
    assert "cancelled tiny-1" in said("server", "cancel", place.path)
    assert Runs(place).current == Current(run="tiny-1", state=CANCELLED)
    assert isinstance(refused("server", "cancel", place.path), RunError)
    assert runs.end("tiny-1", FINISHED) is None  # it was cancelled before that came
    assert runs.begin(plan).run == "tiny-2"
    assert runs.end("tiny-1", FINISHED) is None  # another one's end
    runs.end("tiny-2", FAILED, reason="too few homes", hint="wait")
    assert "too few homes" in said("server", "status", place.path)
    assert runs.resume("tiny-1") == Current(run="tiny-1", state=RUNNING)


def test_a_run_that_cannot_be_is_refused(place: ServerFolder, plan: Plan) -> None:
    runs = Runs(place)
    with pytest.raises(PlanError, match="simulations alone"):
        runs.begin(plan.change(aggregation={"mode": "ideal"}))
    with pytest.raises(PlanError, match="no sum is opened"):
        runs.begin(plan.change(aggregation={"min_cohort": HOMES + 1}))
    for name in ("", "../out", "a/b", ".hidden", "x" * 65):
        with pytest.raises(RunError):
            runs.begin(plan, name)
        with pytest.raises(RunError):
            runs.resume(name)
    assert runs.current is None
    assert not list(place.runs.iterdir())
    runs.begin(plan, "mine")
    runs.end("mine", CANCELLED)
    with pytest.raises(RunError, match="already holds"):
        runs.begin(plan, "mine")
    (place.fleet / "directory.fh").unlink()
    with pytest.raises(DirectoryError) as none:
        runs.begin(plan)
    assert none.value.reason == "no-directory"


def test_following_a_run_that_another_one_followed(place: ServerFolder, plan: Plan) -> None:
    runs = Runs(place)
    runs.begin(plan, "first")
    with EventLog(runs.folder("first").events_path) as log:
        log.append("run-started")
    runs.end("first", CANCELLED)
    runs.begin(plan, "second")
    seen: list[str] = []

    def show(events: Sequence[Event]) -> None:
        seen.extend(event.event for event in events)

    assert follow(place, "first", show, seen.append).state == CANCELLED
    assert seen == ["run-started"]


@pytest.mark.parametrize("changed", [True, False])
def test_a_run_that_changed_no_model_is_no_success(
    changed: bool, place: ServerFolder, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(place)
    runs.begin(plan, "first")
    with EventLog(runs.folder("first").events_path) as log:
        if not changed:
            log.append("round-unused", round=1, reason="the strategy gave no model")
        losses = dict.fromkeys(("train_loss", "validation_loss", "validation_score"))
        log.append("round-closed", round=1, homes_asked=5, homes_answered=5, **losses)
    runs.end("first", FINISHED)
    monkeypatch.setattr(run_summary, "print_summary", lambda *_: None)  # it has no scores
    if changed:
        _watch(Console(), place, "first", "hub")
    else:
        with pytest.raises(RunError, match=r"no round of .*first changed the model"):
            _watch(Console(), place, "first", "hub")


def test_a_log_is_kept_from_growing_without_end(tmp_path: Path) -> None:
    path = tmp_path / "link.log"
    with path.open("ab") as log:
        log.write(b"x" * 100)
        log.flush()
        assert not trim(path, most=100)
        assert path.stat().st_size == 100
        log.write(b"y")
        log.flush()
        assert trim(path, most=100)
        assert path.stat().st_size == 0
        log.write(b"z")
    assert path.read_bytes() == b"z"
    assert (tmp_path / "link.log.1").read_bytes() == b"x" * 100 + b"y"


@pytest.mark.long
def test_a_second_daemon_is_refused(place: ServerFolder) -> None:
    assert not is_running(place)
    lock = disk.lock(place.path)
    try:
        assert is_running(place)
        with pytest.raises(StateError, match=r"runs in .* already") as second:
            Daemon(place, print).serve()
    finally:
        os.close(lock)
    assert second.value.reason == "in-use"
    assert "fedhome server status" in second.value.hint


def test_a_server_that_is_being_started_is_not_told_as_down(
    place: ServerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a new directory, for which the SuperLink begins anew."""

    def state() -> str:
        return Text.from_markup(dict(rows_of(status_of(place)))["state"]).plain

    daemon = Daemon(place, print)
    link = daemon._processes.children["link"] = Child("link", [], starts=1)
    up = Up(front=False, link=False)
    monkeypatch.setattr(starting, "_ASK_S", 0.0)

    def starts() -> bool:
        with monkeypatch.context() as asked:
            asked.setattr(Health, "ask", lambda _: up)
            daemon._starting.tend(daemon._is_back)
        return is_starting(place)

    lock = disk.lock(place.path)
    try:
        assert state() == "running, front down, SuperLink down"
        daemon._begin_anew()
        assert starts()
        assert state() == "running, front starting, SuperLink starting"
        assert status_of(place).as_json()["starting"] is True
        up = Up(front=True, link=True)
        assert starts(), "the old one answers while it ends"
        up, link.starts = Up(front=True, link=False), 2
        assert starts(), "the new one does not answer yet"
        up = Up(front=True, link=True)
        assert not starts()
        assert state() == "running, front down, SuperLink down", "now it is a fault"
        daemon._starting.begin(within_s=0.0)
        assert not starts(), "it took too long"
        daemon._starting.begin()
    finally:
        os.close(lock)
    assert is_starting(place), "the control: a mark is left of one that was killed"
    assert state() == "down"


def test_a_start_that_fails_or_was_killed_leaves_nothing_that_starts(
    place: ServerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one that runs begins with a mark of its own, and takes it away."""

    def taken(*_: object) -> None:
        assert status_of(place).starting, "from its first moment on"
        raise RunError("the port is taken")

    with monkeypatch.context() as failing:
        failing.setattr(supervisor, "_wait_for_port", taken)
        with pytest.raises(RunError, match="the port is taken"):
            Daemon(place, print).serve()
    assert not status_of(place).starting
    assert is_starting(place), "the control: its mark is left"
    daemon = Daemon(place, print)
    monkeypatch.setattr(daemon._processes, "start", lambda *_, **__: None)
    monkeypatch.setattr(Health, "ask", lambda _: Up(front=True, link=True))
    daemon._start()
    assert not is_starting(place)


def test_whether_a_server_runs_is_not_guessed_where_it_cannot_be_told(place: ServerFolder) -> None:
    """`sudo fedhome server status` said of another account's server, which ran, to start it."""
    lock = disk.lock(place.path)
    place.path.chmod(0o777)  # refused as another account's folder is
    try:
        error = refused("server", "status", place.path)
    finally:
        place.path.chmod(0o700)
        os.close(lock)
    assert isinstance(error, StateError)
    assert error.reason == "permissions"


def test_a_port_that_is_taken_is_told(place: ServerFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedhome.server.daemon.supervisor.FREE_S", 0.0)
    with socket.socket() as taken:
        taken.bind((place.settings.host, place.settings.port))
        taken.listen()
        with pytest.raises(RunError, match=str(place.settings.port)):
            Daemon(place, print).serve()
    assert not is_running(place)


def test_a_port_that_is_taken_is_told_before_anything_slow(
    place: ServerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server waits for it, and said nothing for all that time."""
    begun = list[list[str]]()
    monkeypatch.setattr("fedhome.cli.server.os.execv", lambda _, command: begun.append(command))
    address = f"{place.settings.host}:{place.settings.port}"
    with socket.socket() as taken:
        taken.bind((place.settings.host, place.settings.port))
        taken.listen()
        told = CliRunner().invoke(app, ["server", "start", str(place.path)]).output
        assert (
            f"cannot listen at {address} yet: Address already in use; it tries again for up to 15"
            in told
        )
        lock = disk.lock(place.path)  # a server runs there: it is this one's own
        try:
            assert CliRunner().invoke(app, ["server", "start", str(place.path)]).output == ""
        finally:
            os.close(lock)
    assert CliRunner().invoke(app, ["server", "start", str(place.path)]).output == ""
    assert len(begun) == 3


def test_why_a_run_failed_is_in_its_log(place: ServerFolder, plan: Plan) -> None:
    runs = Runs(place)
    runs.begin(plan, "mine")
    (place.fleet / "directory.fh").unlink()
    folder = runs.folder("mine")
    with pytest.raises(DirectoryError):
        deploy.main([str(place.path), str(folder.path), "1"])
    last = folder.read_events()[-1]
    assert last.event == "run-failed"
    assert "no directory" in str(last.data["reason"])
    assert "fedhome fleet admit" in str(last.data["hint"])


def test_a_run_that_ended_before_its_report_gets_it(place: ServerFolder, plan: Plan) -> None:
    runs = Runs(place)
    runs.begin(plan, "mine")
    folder = runs.folder("mine")
    with EventLog(folder.events_path) as log:
        log.append("run-started", plan="tiny")
        log.append("run-finished", seconds=1.0)
    assert deploy.main([str(place.path), str(folder.path), "1"]) == DONE
    assert folder.report_path.exists()


@pytest.mark.long
def test_homes_that_are_left_out_are_listed_until_they_are_asked_again(place: ServerFolder) -> None:
    assert "left out" not in said("server", "status", place.path)
    directory = place.directory()
    listed = LeftOut(place.left_out, directory=directory, run="run-1")
    listed.add(["home-1", "home-2"], "one of both spoils sums", suspected=True)
    listed.add(["home-3"], "it deals wrong shares")
    told = " ".join(said("server", "status", place.path).split())
    assert "home-1, home-2: one of both spoils sums" in told
    assert "home-3: it deals wrong shares" in told
    as_json = json.loads(said("server", "status", place.path, "--json"))
    assert [one["home"] for one in as_json["left_out"]] == ["home-1", "home-2", "home-3"]
    done = said("server", "readmit", "home-1", "home-3", "--server", place.path)
    assert "home-1, home-3" in done
    assert set(listed.reasons) == {"home-2"}
    assert (
        "not left out: home-1"
        in refused("server", "readmit", "home-1", "--server", place.path).message
    )
    place.left_out.write_text("{}")
    assert "left-out is damaged" in " ".join(said("server", "status", place.path).split())


def test_a_home_of_the_same_name_with_new_keys_is_another(place: ServerFolder) -> None:
    directory = place.directory()
    LeftOut(place.left_out, directory=directory).add(["home-1"], "it deals wrong shares")
    first = next(one for one in directory.homes if one.home == "home-1")
    anew = replace(first, identity=bytes(32))
    others = tuple(one for one in directory.homes if one.home != "home-1")
    later = replace(directory, homes=tuple(sorted((*others, anew), key=lambda one: one.home)))
    assert LeftOut(place.left_out, directory=directory).reasons
    assert not LeftOut(place.left_out, directory=later).reasons
