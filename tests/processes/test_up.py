"""Server and homes as real processes: the weights of a simulation, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

import fedhome
from fedhome.clients.agent.announce import join
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.method_state import FILE as METHOD_STATE
from fedhome.clients.membership.method_state import SealedState
from fedhome.clients.membership.own_models import FILE as OWN_MODEL
from fedhome.errors import LinkError
from fedhome.fleet.entries import home_keys
from fedhome.fleet.front_requests import JOIN
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.flower.node_key import NodeKey
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.privacy.privacy_ledger import FILE as LEDGER
from fedhome.privacy.privacy_ledger import PrivacyLedger
from fedhome.run.events import SPENT
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.front import FORWARDED
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from fedhome.wire.exchange import CHANGES
from helpers.living import (
    assert_predicts_as,
    assert_same_weights,
    lines_until,
    number_of,
    processes_of,
    tiny_plan,
    wait_until_gone,
)
from helpers.patience import PATIENCE_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

HOMES, ROUNDS = 5, 3
HORIZONS = ("1h", "6h")
FEDHOME = Path(sys.executable).parent / "fedhome"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan(HOMES, ROUNDS)


@pytest.fixture(scope="module")
def simulated(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fedhome.simulate(plan, out=tmp_path_factory.mktemp("simulated") / "run").folder


@contextmanager
def up(plan: Plan, out: Path, *, homes: int = HOMES) -> Iterator[subprocess.Popen[str]]:
    """Start `fedhome up`; what is left of it is ended."""
    file = out.with_suffix(".toml")
    file.write_text(plan.to_toml())
    command = [FEDHOME, "up", file, "--homes", str(homes), "--out", out]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_processes_give_what_a_simulation_gives(
    plan: Plan, simulated: RunFolder, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with up(plan, out) as process:
        printed = "".join(lines_until(process, "report: "))
        assert process.wait(PATIENCE_S) == 0
    assert f"round {ROUNDS}/{ROUNDS}  {HOMES}/{HOMES} homes" in printed
    assert "personalised" in printed
    run = RunFolder.open(out)
    assert run.finished
    assert_same_weights(run, simulated)
    assert run.report_path.exists()
    assert not processes_of(out)
    models = fedhome.Result(simulated).models
    kept = {path.parent.parent.name: path.parent.parent for path in out.rglob(OWN_MODEL)}
    assert sorted(kept) == sorted(models)
    for name, folder in kept.items():
        assert_predicts_as(HomeFolder(folder), models[name])


def test_what_a_method_keeps_is_sealed_in_each_home(plan: Plan, tmp_path: Path) -> None:
    """The homes learn two horizons at once: a head has an output for each."""
    by_method = plan.change(
        method={"name": "fedper"}, rounds={"count": 2}, data={"horizon": HORIZONS}
    )
    simulated = fedhome.simulate(by_method, out=tmp_path / "simulated").folder
    out = tmp_path / "run"
    with up(by_method, out) as process:
        "".join(lines_until(process, "report: "))
        assert process.wait(PATIENCE_S) == 0
    run = RunFolder.open(out)
    assert_same_weights(run, simulated)
    kept = sorted(path.parent.parent for path in out.rglob(METHOD_STATE))
    assert len(kept) == HOMES
    models = fedhome.Result(simulated).models
    for folder in kept:
        assert models[folder.name].horizons == HORIZONS
        assert_predicts_as(HomeFolder(folder), models[folder.name])
        state = SealedState(folder, folder.name).read(folder.name)
        assert state is not None
        (head,) = state.arrays.values()
        assert len(head) % len(HORIZONS) == 0
        (before,) = state.before.values()
        assert not np.array_equal(head, before)  # it was learnt on in the last round
    heads = {SealedState(f, f.name).read_bytes() for f in kept}
    assert len(heads) == HOMES


def test_homes_pay_for_noise_of_their_own(plan: Plan, simulated: RunFolder, tmp_path: Path) -> None:
    """Homes' noise is drawn anew: a private run ends with other weights each time."""
    out, noise = tmp_path / "run", {"mechanism": "discrete-gaussian", "epsilon": 50.0}
    with up(plan.change(privacy=noise), out) as process:
        printed = "".join(lines_until(process, "report: "))
        assert process.wait(PATIENCE_S) == 0
    assert "epsilon" in printed
    run = RunFolder.open(out)
    assert run.read_rounds().column("homes_answered").to_pylist() == [HOMES] * ROUNDS
    spent = [event.data for event in run.read_events() if event.event == SPENT]
    ledgers = [PrivacyLedger(path.parent) for path in out.rglob(LEDGER)]
    assert len(ledgers) == HOMES
    for ledger in ledgers:  # each home worked it out by itself
        assert [entry.sums for entry in ledger.runs] == [len(spent)]
        assert ledger.rho == pytest.approx(spent[-1]["rho"], rel=1e-6)
    with pytest.raises(AssertionError):
        assert_same_weights(run, simulated)


@pytest.mark.parametrize(
    "victim", [("fedhome.clients.agent.resident", "home-0002"), ("fedhome.server.daemon.front",)]
)
def test_a_process_is_killed_in_mid_run(
    plan: Plan, simulated: RunFolder, tmp_path: Path, victim: Sequence[str]
) -> None:
    out = tmp_path / "run"
    with up(plan, out) as process:
        lines_until(process, "round 1/")
        os.kill(number_of(out, *victim), signal.SIGKILL)
        lines_until(process, "report: ")
        assert process.wait(PATIENCE_S) == 0
    run = RunFolder.open(out)
    assert run.finished
    assert run.read_rounds().num_rows == ROUNDS
    asked = run.read_rounds().column("homes_answered").to_pylist()
    if asked == [HOMES] * ROUNDS:  # no round was lost: it is as if nothing had happened
        assert_same_weights(run, simulated)
    wait_until_gone(out)


@pytest.mark.usefixtures("unforked")  # the kernel is to end what it started
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Two homes that need no masks have as many kinds of processes as five that do."""
    out, homes = tmp_path / "run", 2
    with up(tiny_plan(homes, ROUNDS, mode="plain"), out, homes=homes) as process:
        lines_until(process, "round 1/")
        words = [word for words in processes_of(out).values() for word in words]
        assert words.count("fedhome.clients.agent.resident") == homes
        assert words.count("fedhome.clients.agent.worker") == homes
        for part in ("front", "superlink_process", "deploy"):
            assert f"fedhome.server.daemon.{part}" in words
        process.send_signal(number)
        process.wait(PATIENCE_S)
        wait_until_gone(out)


@pytest.fixture(scope="module")
def server(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFolder]:
    """A server without homes that are connected."""
    tables = generate(homes=HOMES, days=2, seed=3)
    place, _ = prepare(tmp_path_factory.mktemp("server"), plan, tables)
    with Processes() as processes:
        start(processes, place, [])
        yield place


@pytest.fixture
def web(server: ServerFolder) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=server.tls / "ca.pem")
    port = server.settings.port
    with httpx.Client(verify=context, base_url=f"https://localhost:{port}") as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/v1/control/start-run",
        "/v1/control/list-nodes",
        "/v1/control/register-node",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/../control/list-nodes",
        "/v1/fleet/%2e%2e/control/list-nodes",
        "//v1/control/list-nodes",
        "/v1/runtime/acquire-task",
        "/v1/runtime/push-messages",
        CHANGES,
    ],
)
def test_nothing_else_is_at_the_front(web: httpx.Client, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        answer = web.request(method, path)
        assert (answer.status_code, answer.content) == (404, b"")


def test_what_is_at_the_front(web: httpx.Client) -> None:
    assert web.get("/health").json() == {"status": "ok"}
    for path in FORWARDED:
        assert web.get(path).status_code == 404
        answer = web.post(path, headers={"content-type": "application/protobuf"})
        assert 400 <= answer.status_code < 500, path
        assert answer.status_code != 404, path
    assert web.post(JOIN, content=b"nonsense").status_code == 403
    assert web.post(JOIN, content=bytes(10_000)).status_code == 413


def test_a_stranger_is_told_nothing(server: ServerFolder, tmp_path: Path) -> None:
    address = f"localhost:{server.settings.port}"
    authorities = (server.tls / "ca.pem").read_bytes()
    fleet, node = server.directory().fleet, NodeKey.create()
    for name, reason in (("stranger", "not-listed"), ("home-0001", "signature")):
        keys, _ = home_keys(name, tmp_path / name)
        with pytest.raises(LinkError) as refused:
            join(address, authorities, fleet=fleet, keys=keys, node=node, saves=0)
        assert refused.value.reason == reason
    connection = FleetConnection(address, authorities, node)
    try:
        with pytest.raises(LinkError):
            connection.activate(1)
        with pytest.raises(LinkError):
            connection.look()
    finally:
        connection.close()


def test_another_authority_is_not_trusted(server: ServerFolder, tmp_path: Path) -> None:
    from fedhome.ops.tls import make_certificates  # noqa: PLC0415

    make_certificates(tmp_path / "tls", ["localhost"])
    keys, _ = home_keys("home-0001", server.path.parent / "homes" / "home-0001")
    with pytest.raises(LinkError, match="certificate") as refused:
        join(
            f"localhost:{server.settings.port}",
            (tmp_path / "tls" / "ca.pem").read_bytes(),
            fleet=server.directory().fleet,
            keys=keys,
            node=NodeKey.create(),
            saves=0,
        )
    assert refused.value.reason == "unreachable"
