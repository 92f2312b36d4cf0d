"""Every command of the guide to deployment is typed as it stands there, in its order.

Three begin what goes on (server, home, run): real processes of them are the subject of
``tests/processes/test_deployment.py``. Here the server is its front, in a thread.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.ops.listening import free_port
from fedhome.plan.settings import Plan
from fedhome.registry import Registry, release_of
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder
from helpers.client_world import HOST, front_of, write_readings
from helpers.registry_world import ORIGIN, SERVER, model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks"),
]

GUIDE = Path(__file__).parents[2] / "docs" / "deploy.md"
PROMPT = re.compile(r"^(?:owner|hub|oak|eve)\$ +(.*)$", re.MULTILINE)
GO_ON = {"server start", "client start", "server run"}
WITH_A_PASSPHRASE = {
    "init",
    "admit",
    "rotate",
    "directory",
    "owner-key",
    "cosign",
}
PLACES = {"hub.example": HOST, "/srv/readings/oak.parquet": "oak.parquet"}
BROUGHT = {
    "server init": ["hub/server.card"],
    "fleet invite": ["myfleet/plan.toml"],
    "fleet owner-key": ["theirs/owner.pub"],
    "fleet rotate": ["myfleet/keys.draft"],
    "fleet directory": ["myfleet/directory.draft"],
}
"""What the guide's people take from one machine to another, after a command."""
HOMES = ("oak", "elm", "ash", "fir", "yew")


def commands() -> list[list[str]]:
    """Return the guide's commands of fedhome, a list of words each."""
    lines = [line.split("#")[0].split("&&")[0] for line in PROMPT.findall(GUIDE.read_text("utf-8"))]
    return [shlex.split(line) for line in lines if line.startswith("fedhome ")]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which everybody types, with what they bring."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    (tmp_path / "passphrase").chmod(0o600)
    write_readings(tmp_path / "oak.parquet")
    csv.write_csv(pq.read_table(tmp_path / "oak.parquet"), tmp_path / "example.csv")
    return tmp_path


def typed(words: list[str]) -> None:
    """Type a command, with what the guide leaves to its reader: places, and a passphrase."""
    words = [
        {"hub.example": HOST, "/srv/readings/oak.parquet": "oak.parquet"}.get(w, w) for w in words
    ]
    if words[:2] == ["fedhome", "fleet"] and words[2] in WITH_A_PASSPHRASE:
        words += ["--passphrase-file", "passphrase"]
    if words[:3] == ["fedhome", "server", "init"]:
        words += ["--port", str(free_port())]
    done = CliRunner().invoke(app, words[1:], input="y\n" * 9)
    assert done.exit_code == 0, f"{words} {done.output[-900:]} {done.exception!r}"


def test_each_command_of_the_guide_runs(desk: Path) -> None:
    seen = set[str]()
    with ExitStack() as stack:
        for words in commands():
            name = " ".join(words[1:3])
            seen.add(name)
            if name in GO_ON:
                continue
            if name == "plan show":
                done = CliRunner().invoke(app, ["plan", "show"])
                assert done.exit_code == 0
                (desk / "plan.toml").write_text(done.stdout)
                continue
            if name == "server init":
                shutil.copytree(desk / "myfleet" / "server", desk / "server-part")  # scp -r
            if name == "client join":
                stack.enter_context(front_of(ServerFolder(desk / "hub")))
                for home in HOMES[1:]:
                    typed(["fedhome", "client", "join", f"{home}.invite", "--data", "oak.parquet"])
            if name == "model list":
                registry = Registry.create(
                    desk / "hub" / MODELS, fleet=bytes(16), server=SERVER.public
                )
                registry.publish(release_of(model(), ORIGIN, round=1, homes=5), SERVER)
            typed(words)
            for brought in BROUGHT.get(name, ()):
                shutil.copy(desk / brought, desk)
    assert seen > GO_ON
    assert Plan.load(desk / "myfleet" / "plan.toml").data.inputs
