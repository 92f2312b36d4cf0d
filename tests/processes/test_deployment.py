"""A deployment as its people type it: owner, server and five homes, each command a process.

The tests go on where the one before them ended, over one fleet: homes 1 to 5 run as a simulation
says, strangers and copies get nowhere, and in the end one home is revoked and one leaves.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import RegisterNodeFleetRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType

from fedhome.clients.agent.kept_releases import release_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.data.files.home_parquet import write_home
from fedhome.errors import LinkError
from fedhome.fleet.cards import Card
from fedhome.fleet.owner_folder import Fleet
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.flower.node_key import NodeKey
from fedhome.flower.superlink import LINK, Control
from fedhome.ops import local_socket
from fedhome.ops.listening import free_port
from fedhome.reasons import NOT_KEPT
from fedhome.registry import Registry
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.daemon.status import status_of
from fedhome.simulations.homes import generate
from helpers.living import SOCKETS, assert_same_weights, tiny_plan, wait_until_gone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

HOST, HOMES, ROUNDS, LEAST = "127.0.0.1", 5, 3, 3
NAMES = [f"home-000{number}" for number in range(1, HOMES + 1)]
FEDHOME = Path(sys.executable).parent / "fedhome"
SECRET = ("--passphrase-file", "passphrase")
WAIT_S = 150.0  # who was refused for long tries again once in a minute


def until(done: Callable[[], object], what: object = "") -> None:
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def ended(process: subprocess.Popen[bytes]) -> int:
    """End a process as an operator does, and return its status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


class Deployment:
    """A folder in which everybody types their commands.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ServerFolder(folder / "hub")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def home(self, name: str) -> HomeFolder:
        return HomeFolder(self.folder / name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def types(self, *words: str, status: int = 0) -> str:
        """Type a command, and return what it prints."""
        done = subprocess.run(
            [FEDHOME, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            cwd=self.folder,
            env=os.environ | {"COLUMNS": "250", "NO_COLOR": "1"},
        )
        assert done.returncode == status, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout

    def starts(self, name: str, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start what goes on; what it says is in a log of this name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder
            )
        self.running[name] = process
        return process

    def starts_home(self, name: str) -> None:
        self.starts(name, FEDHOME, "client", "start", name)

    def connected(self) -> list[str]:
        return status_of(self.server).connected or []

    def until_state(self, name: str, state: str, told: str = "") -> str:
        """Wait until a home's status says something, and return all that it says."""

        def says() -> bool:
            status = self.home(name).status
            return status is not None and status.state == state and told in status.detail

        until(says, (name, state, told))
        return self.types("client", "status", name)

    def run(self, name: str, *words: str) -> RunFolder:
        """Let the server run the plan, and wait for its end."""
        self.types("server", "run", "plan.toml", "--server", "hub", "--name", name, *words)
        return RunFolder.open(self.server.runs / name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A fleet of five homes, all of them admitted and connected."""
    there = Deployment(tmp_path_factory.mktemp("deployment"))
    plan = tiny_plan(HOMES, ROUNDS, min_cohort=LEAST)
    (there.folder / "plan.toml").write_text(plan.to_toml())
    (there.folder / "passphrase").write_text("a passphrase that is long enough\n")
    for table in generate(homes=HOMES, days=plan.data.days, seed=plan.seed):
        write_home(table, there.folder / f"{table.home}.parquet")
    try:
        _set_up(there)
        yield there
    finally:
        for process in there.running.values():
            process.kill()
            process.wait()
        wait_until_gone(there.folder)


def _set_up(there: Deployment) -> None:
    there.types("fleet", "init", "owner", *SECRET)
    port = str(free_port())
    where = ("--host", HOST, "--listen", HOST, "--port", port)
    there.types("server", "init", "hub", *where, "--fleet", "owner")
    there.starts("hub", FEDHOME, "server", "start", "hub")
    for name in NAMES:
        there.types("fleet", "invite", name, "--fleet", "owner", "--plan", "plan.toml")

    def join(name: str) -> str:
        data = f"{name}.parquet"
        return there.types("client", "join", f"{name}.invite", "--data", data, "--yes")

    until(lambda: "ready at " in there.log("hub"), "the server is ready")
    with ThreadPoolExecutor(2) as pool:
        for name, told in zip(NAMES, pool.map(join, NAMES), strict=True):
            assert f"enrolled {name} at {HOST}:{port}; made keys" in told
            assert "WHAT YOU AGREE TO" in told
    there.starts_home(NAMES[0])
    shown = there.until_state(NAMES[0], "waiting", "no directory yet")
    assert "`fedhome fleet admit`" in shown
    told = there.types("fleet", "admit", "--fleet", "owner", "--yes", *SECRET)
    assert f"on the list: {', '.join(NAMES)}" in told
    for name in NAMES[1:]:
        there.starts_home(name)
    until(lambda: there.connected() == NAMES, "all homes are connected")


def test_a_run_gives_what_a_simulation_gives(world: Deployment) -> None:
    printed = world.types("server", "run", "plan.toml", "--server", "hub", "--name", "mine")
    assert f"round {ROUNDS}/{ROUNDS}  {HOMES}/{HOMES} homes" in printed
    assert "no single home's score is shown" in printed
    world.types("simulate", "plan.toml", "--out", "simulated")
    run = RunFolder.open(world.server.runs / "mine")
    assert run.finished
    assert_same_weights(run, RunFolder.open(world.folder / "simulated"))

    shown = world.types("server", "status", "hub")
    assert "running, front up, SuperLink up" in shown
    assert f"{HOMES} of {HOMES}: {', '.join(NAMES)}" in shown
    assert f"mine, finished, round {ROUNDS} of {ROUNDS}" in shown
    told = json.loads(world.types("server", "status", "hub", "--json"))
    assert (told["epoch"], told["homes"], told["pending"]) == (1, HOMES, 0)
    assert told["release"]["round"] == ROUNDS
    assert told["faults"] == []
    assert "1 release, " in world.types("model", "verify", "hub/models")

    last = Registry.open(world.server.path / "models").releases()[-1]
    assert told["release"]["hash"] == last.hash.hex()

    def taken(name: str) -> bytes:
        release = release_of(world.home(name))
        return release.manifest.hash if release else b""

    until(lambda: {taken(name) for name in NAMES} == {last.hash}, "all homes have the release")
    shown = world.types("client", "status", NAMES[0])
    assert "connected" in shown
    assert f"release 1: round {ROUNDS} of mine, {last.hash.hex()[:12]}" in shown


def _post(
    url: str,
    request: object,
    headers: Mapping[str, str] | None = None,
    *,
    link: Path | None = None,
) -> httpx.Response:
    """Post a request; to the SuperLink's own socket, where that is given."""
    body = request.SerializeToString()  # type: ignore[attr-defined]
    kind = {"content-type": "application/protobuf"}
    socket = None if link is None else httpx.HTTPTransport(uds=local_socket.address(link))
    with httpx.Client(verify=False, transport=socket) as client:  # noqa: S501 - no stranger cares
        return client.post(url, content=body, headers=kind | dict(headers or {}))


def nodes_of(world: Deployment) -> dict[bytes, int]:
    """Return the numbers of the SuperLink's nodes by their keys."""
    with closing(Control(world.server.link)) as control:
        return {state.key: state.node for state in control.nodes() if not state.gone}


def test_a_stranger_with_the_certificate_alone(world: Deployment) -> None:
    settings, stranger = world.server.settings, NodeKey.create()
    front = f"https://{HOST}:{settings.port}"
    nodes = nodes_of(world)
    asked = {
        "/v1/fleet/register-node": RegisterNodeFleetRequest(public_key=stranger.public),
        "/v1/control/register-node": RegisterNodeRequest(public_key=stranger.public),
        "/v1/control/start-run": StartRunRequest(fab=Fab(content=b"an app")),
        "/v1/control/list-nodes": ListNodesRequest(),
        "/v1/runtime/acquire-task": AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]),
    }
    for path, request in asked.items():
        answer = _post(front + path, request)
        assert (answer.status_code, answer.content) == (404, b""), path
    # The requests are good ones: by the server's own account one of them is answered. So is no
    # task given to who lacks the secret.
    link = world.server.link
    listing, taking = "/v1/control/list-nodes", "/v1/runtime/acquire-task"
    assert _post(LINK + listing, asked[listing], link=link).is_success
    assert _post(LINK + taking, asked[taking], link=link).status_code in {401, 403}
    assert nodes_of(world) == nodes


def test_a_home_gets_no_other_homes_messages(world: Deployment) -> None:
    first, second = (world.home(name).node_key() for name in NAMES[:2])
    numbers = nodes_of(world)
    card = world.server.card
    for key, node in (
        (NodeKey.create(), numbers[first.public]),
        (second, numbers[first.public]),
    ):
        connection = FleetConnection(card.server, card.authorities, key)
        try:
            with pytest.raises(LinkError):
                connection.activate(node)
            with pytest.raises(LinkError) as refused:
                connection.look()
            assert refused.value.reason == "refused"
        finally:
            connection.close()


def test_a_message_for_another_app_is_refused(world: Deployment) -> None:
    script = """\
import sys
from flwr.app import ConfigRecord, Message, RecordDict
import fedhome.server.daemon.flower_bundle
from fedhome.flower.messages import quiet
from fedhome.flower.run_grid import run_grid
from fedhome.server.daemon.server_folder import ServerFolder
quiet()
place = ServerFolder(sys.argv[1])
fedhome.server.daemon.flower_bundle.installed_app = lambda: (sys.argv[2], sys.argv[3])
bundle = fedhome.server.daemon.flower_bundle.app_bundle()
with run_grid(place.link, place.secret, bundle) as grid:
    content = RecordDict({"config": ConfigRecord({"x": 1})})
    asked = [Message(content, node, "query.bundle") for node in grid.get_node_ids()]
    for answer in grid.send_and_receive(asked, timeout=60):
        print(answer.error.reason if answer.has_error() else "answered")
"""
    here = json.loads(world.types("server", "status", "hub", "--json"))["connected"]
    for app in (("fedhome/fedhome", "9.9.9"), ("somebody/else", "0.1.0")):
        done = subprocess.run(
            [sys.executable, "-c", script, world.server.path, *app],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout.splitlines()
        assert len(told) == len(here)
        for line in told:
            assert line == "other-app"
        assert f"and nothing else; a question came for {' '.join(app)}" in world.log(NAMES[0])
        # One trouble is told once: the next one is told when this one is over.
        until(lambda: world.log(NAMES[0]).rstrip().endswith("other-app is over"))


def test_pause_and_resume(world: Deployment) -> None:
    name = NAMES[1]
    world.types("client", "pause", name)
    assert "paused" in world.until_state(name, "paused")
    until(lambda: world.connected() == [one for one in NAMES if one != name])
    world.types("client", "resume", name)
    world.until_state(name, "connected")
    assert world.connected() == NAMES


def test_a_copy_of_a_home_waits_while_the_home_is_there(world: Deployment) -> None:
    """One node of a home is valid at a time; and once the copy has come in, it is the home.

    It has erased one-time keys that the other folder still has. With those the server lets nobody
    in, no more than with a folder that was put back from a backup: the fleet's members open no key
    twice.
    """
    name, copy = NAMES[2], "copy"
    if not list(world.server.runs.glob("*")):  # homes leave a run with one-time keys of the next
        world.run("before-the-copy", "--set", "rounds.count=1")
    shutil.copytree(world.folder / name, world.folder / copy, ignore=SOCKETS)
    before = world.home(name).node_key().public
    world.starts_home(copy)
    shown = world.until_state(copy, "waiting", f"{name!r} is connected from another device")
    assert "end the other one if it is a copy" in shown
    assert world.home(copy).node_key().public != before
    world.until_state(name, "connected")
    assert world.connected() == NAMES

    assert ended(world.running[name]) == 0
    world.until_state(copy, "connected")
    world.starts_home(name)
    shown = world.until_state(name, "waiting", "and it had come to")
    assert "enrol the home anew" in shown
    assert world.connected() == NAMES
    run = world.run("by-the-copy", "--set", "rounds.count=1")
    assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES]

    assert ended(world.running.pop(copy)) == 0
    until(lambda: world.connected() == [one for one in NAMES if one != name])
    world.until_state(name, "waiting", "and it had come to")
    assert ended(world.running[name]) == 0
    shutil.rmtree(world.folder / name)
    (world.folder / copy).rename(world.folder / name)
    world.starts_home(name)
    world.until_state(name, "connected")  # the next run shows that it learns: sums a day are few


def test_an_answer_that_was_not_kept_is_told_until_one_is(world: Deployment) -> None:
    name = NAMES[1]

    def cannot_send() -> list[str]:
        return [one.home for one in status_of(world.server).refusing if one.reason == NOT_KEPT]

    patch = (
        "from fedhome.clients.agent import resident\n"
        "begin = resident.Agent.__init__\n"
        "def gave_up(agent, *given, **more):\n"
        "    begin(agent, *given, **more)\n"
        f"    agent._refused = {NOT_KEPT!r}\n"
        "resident.Agent.__init__ = gave_up"
    )
    with _agent(world, name, patch):
        until(lambda: world.connected() == NAMES, "it is back")
        until(lambda: cannot_send() == [name], "it says so")
        run = world.run("kept-again", "--set", "rounds.count=2")
        assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES, HOMES]
        assert cannot_send() == []
        assert world.connected() == NAMES


@contextmanager
def _agent(world: Deployment, name: str, patch: str) -> Iterator[None]:
    """Run a home's agent with something of it replaced, in place of the one that runs."""
    assert ended(world.running[name]) == 0
    script = (
        f"{patch}\nimport sys\nfrom fedhome.clients.agent.resident import main\nmain(sys.argv[1:])"
    )
    other = world.starts(name, sys.executable, "-c", script, str(world.folder / name))
    yield
    assert ended(other) == 0
    world.starts_home(name)
    world.until_state(name, "connected")


@pytest.mark.parametrize(
    ("patch", "told", "hint"),
    [
        (
            "import time; now = time.time; time.time = lambda: now() + 60",
            "clock is 60 s ahead of the server's",
            "NTP",
        ),
        (
            "import time; now = time.time; time.time = lambda: now() - 3600",
            "s behind the server's",
            "NTP",
        ),
        (
            "from fedhome.clients.agent import announce as a; a.installed_build = lambda: '9.9.9'",
            "the home runs fedhome 9.9.9, the server ",
            "update the older one",
        ),
    ],
    ids=["ahead", "behind", "release"],
)
def test_another_clock_or_release_is_named(
    world: Deployment, patch: str, told: str, hint: str
) -> None:
    name = NAMES[3]
    with _agent(world, name, patch):
        shown = world.until_state(name, "waiting", told)
        assert hint in shown
        assert told in world.log(name)
        assert hint in world.log(name)
        assert name not in world.connected()


def test_a_home_is_asked_for_another_plan(world: Deployment) -> None:
    name = NAMES[1]
    before, keys = world.home(name).plan_path.read_text(), world.home(name).node_key().public
    (world.folder / "other.toml").write_text(before.replace("count = 3", "count = 4"))
    invite = ("fleet", "invite", name, "--fleet", "owner", "--out", "again")
    assert "there is a home" in world.types(*invite, "--plan", "other.toml", status=1)
    world.types(*invite, "--plan", "other.toml", "--again")
    join = ("client", "join", f"again/{name}.invite", "--data", f"{name}.parquet", "--yes")
    assert "is in use by" in world.types(*join, status=1)
    assert ended(world.running[name]) == 0
    told = world.types(*join)
    assert "WHAT YOU AGREE TO" in told
    assert "kept the keys that were there" in told
    assert "the fleet's owner has admitted this home already" in told
    assert world.home(name).plan_path.read_text() != before
    world.starts_home(name)
    world.until_state(name, "connected")
    assert world.home(name).node_key().public == keys


def test_invites_that_do_not_hold(world: Deployment) -> None:
    with Fleet.open(world.folder / "owner") as owned:
        text, card, now = (world.folder / "plan.toml").read_text(), world.server.card, time.time()
        past = int(now) - 60
        late = owned.invite("late", card=card, plan=text, expires=past, now=past - 60)
        shutil.copyfile(world.folder / f"{NAMES[0]}.parquet", world.folder / "new.parquet")
        (world.folder / "late.invite").write_text(late.to_text())
        # The same address, and a certificate of somebody else's.
        other = ServerFolder.create(world.folder / "other", world.server.settings, names=[HOST])
        evil = Card(server=card.server, authorities=other.card.authorities)
        expires = int(now) + 600
        foreign = owned.invite("foreign", card=evil, plan=text, expires=expires)
        (world.folder / "foreign.invite").write_text(foreign.to_text())
    for home, why, hint in (
        ("late", "the invite of 'late' held until 20", "ask the fleet's owner for another one"),
        ("foreign", "shows no certificate of this fleet's server", ""),
    ):
        join = ("client", "join", f"{home}.invite", "--data", "new.parquet", "--yes")
        told = world.types(*join, status=1)
        assert why in told
        assert hint in told
        assert not (world.folder / home / "home.toml").exists()
    assert json.loads(world.types("server", "status", "hub", "--json"))["pending"] == 0


def test_a_revoked_home_is_out_within_seconds(world: Deployment) -> None:
    name = NAMES[4]
    told = world.types("fleet", "revoke", name, "--fleet", "owner")
    assert "it is out once you sign the next directory" in told
    signed = ("fleet", "directory", "--fleet", "owner", *SECRET)
    begin = time.monotonic()
    assert f"left out        │ 1: {name}" in world.types(*signed)
    shown = world.until_state(name, "waiting", "is not in the fleet's directory")
    assert time.monotonic() - begin < 60
    assert "it needs a new invite" in shown
    until(lambda: world.connected() == NAMES[:4])
    came = world.log(name).count(" came: ")
    assert came > 0
    run = world.run("without", "--set", "rounds.count=1")
    assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES - 1]
    assert world.log(name).count(" came: ") == came

    # Its invite was used once, and the server says so at once.
    assert ended(world.running.pop(name)) == 0
    joined = ("client", "join", f"{name}.invite", "--data", f"{name}.parquet", "--yes")
    told = world.types(*joined, status=1)
    assert f"the invite of {name!r} was used, and its home is not in the fleet any more" in told
    assert f"ask the fleet's owner for a new one: `fedhome fleet invite {name}`" in told
    assert "nobody waits" in world.types("fleet", "admit", "--fleet", "owner", "--yes", *SECRET)
    assert world.server.directory().names == tuple(NAMES[:4])
    assert world.server.directory().epoch == 2


def test_a_home_that_leaves_is_taken_off(world: Deployment) -> None:
    name = NAMES[3]
    assert "its owner is told" in world.types("client", "leave", name, "--yes")
    assert world.running.pop(name).wait(60) == 1
    assert "has left its fleet" in world.types("client", "status", name)
    assert "has left its fleet" in world.types("client", "start", name, status=78)
    told = world.types("fleet", "admit", "--fleet", "owner", "--yes", *SECRET)
    assert f"{name} wants to leave" in told
    until(lambda: world.connected() == NAMES[:3])
    assert world.server.directory().names == tuple(NAMES[:3])
    assert "erased" in world.types("client", "forget", name, "--yes")
    assert not (world.folder / name).exists()
    assert (world.folder / f"{name}.parquet").exists()


def test_everything_ends_when_it_is_told_to(world: Deployment) -> None:
    for name in list(world.running):
        assert ended(world.running.pop(name)) == 0, world.log(name)
    assert "stopped" in world.log("hub")
    shown = world.types("server", "status", "hub")
    assert "start it: `fedhome server start hub`" in shown
    assert "not running" in world.types("client", "status", NAMES[0])
    wait_until_gone(world.folder)
