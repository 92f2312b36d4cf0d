"""Flower's own simulation (``flwr run``, Ray) runs the app and gives the model that ours gives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

import fedhome
from fedhome.cli import app
from fedhome.ops.listening import free_port
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HOMES = 6


@dataclass(frozen=True)
class Link:
    """A SuperLink that simulates: its folder, and the environment for Flower's commands."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, project: Path, plan: Path, out: Path) -> str:
        """Submit an app, wait for the run's end, and return what it printed."""
        done = subprocess.run(
            [
                BIN / "flwr",
                "run",
                project,
                "--stream",
                f"--federation-config=num-supernodes={HOMES}",
                f"--run-config=plan='{plan}' out='{out}'",
            ],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Start a SuperLink of our own: the one that ``flwr run`` starts would outlive the test."""
    folder = tmp_path_factory.mktemp("flower")
    port = free_port()
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "ours"\n'
        f'[superlink.ours]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    environment = os.environ | {
        "FLWR_HOME": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",  # it starts its helpers by name
    }
    with (folder / "superlink.txt").open("w") as output:
        superlink = subprocess.Popen(
            [BIN / "flower-superlink", "--insecure", "--simulation", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        # Connecting is tried again, with growing pauses, until the SuperLink listens.
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=60) as client:
            assert client.get(f"http://127.0.0.1:{port}/health").is_success
        yield Link(folder, environment)
    finally:
        superlink.terminate()
        superlink.wait(60)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "tiny.toml"
    tiny = Plan.load(
        name="tiny",
        seed=3,
        data={"homes": HOMES, "days": 10},
        model={"hidden": [8]},
        rounds={"count": 2},
        personalise={"epochs": 2, "local_epochs": 2},
        engine={"name": "sequential"},
    )
    path.write_text(tiny.to_toml())
    return path


@pytest.fixture(scope="module")
def ours(plan: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("ours") / "run"
    return fedhome.simulate(Plan.load(plan), out=out).folder


def _counted(run: RunFolder) -> Mapping[str, object]:
    (data,) = [event.data for event in run.read_events() if event.event == "scores-counted"]
    return data


def assert_same_run(theirs: RunFolder, ours: RunFolder) -> None:
    """Compare a run of Flower's with one of ours: nodes come in another order."""
    assert theirs.finished
    assert theirs.read_rounds().num_rows == ours.read_rounds().num_rows == 2
    expected = ours.read_model().parameters
    found = theirs.read_model().parameters
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5)
    # Flower's server has no homes of its own to look at: it knows what was counted in secret.
    assert not theirs.homes_path.exists()
    counted = [_counted(run) for run in (theirs, ours)]
    assert counted[0] == counted[1]
    assert counted[0]["homes"] == HOMES
    assert "<svg" in theirs.report_path.read_text()


def test_the_checkout(link: Link, plan: Path, ours: RunFolder, tmp_path: Path) -> None:
    printed = link.run(ROOT, plan, tmp_path / "run")
    assert f"{HOMES} homes" in printed
    assert "round 2/2" in printed
    assert_same_run(RunFolder.open(tmp_path / "run"), ours)


def test_an_own_app_by_the_words_of_its_readme(link: Link, tmp_path: Path) -> None:
    folder = tmp_path / "my-app"
    made = CliRunner().invoke(app, ["new", str(folder)], catch_exceptions=False)
    assert made.exit_code == 0
    words = (folder / "README.md").read_text()
    start = words.index("    export FLWR")
    script = words[start : words.index("\n\n", start)]
    assert "flwr run . --stream" in script
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        env=link.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunFolder.open(folder / "runs" / "flower")
    assert run.finished
    assert run.read_rounds().num_rows == 5
    assert set(run.read_model().parameters) >= {"line.weight", "bend.weight"}
    assert run.read_plan()["strategy"]["name"] == f"{folder.resolve()}/strategy.py:PartWay"
