"""``fedhome model``: from a finished run to a registry, and all that is done with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.errors import FedHomeError, RegistryError, RunError
from fedhome.fleet.owner_folder import Fleet
from fedhome.plan.settings import Plan
from fedhome.registry import Registry, accept
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.model_file import Learnt
from fedhome.run.results import ROUNDS, rounds_table
from fedhome.secagg import Directory
from helpers import command
from helpers.json_guide import checked
from helpers.registry_world import LAYOUT, numbers

pytestmark = pytest.mark.long

WORDS = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "words").write_text(f"{WORDS}\n")


def run(name: str, seed: int = 1, *, finished: bool = True) -> RunFolder:
    """Make the folder of a run of four rounds."""
    folder = RunFolder.create(name)
    folder.write_plan(Plan().change(name="small").to_toml())
    with EventLog(folder.events_path) as log:
        log.append("run-started", plan="small")
        if finished:
            log.append("run-finished", seconds=1.0)
    usual = dict.fromkeys(ROUNDS.names, 0)
    rows = [{**usual, "round": number, "homes_answered": 4 + number} for number in range(1, 5)]
    folder.write_rounds(rounds_table(rows))
    folder.write_model(
        LAYOUT.unflatten(numbers(seed)), plan="small", round_number=4, learnt="level"
    )
    return folder


def model(*arguments: str, **more: Any) -> str:
    """Run a command that must succeed, and return what it prints."""
    done = _invoke(*arguments, **more)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def error_of(*arguments: str, **more: Any) -> FedHomeError:
    done = _invoke(*arguments, **more)
    assert isinstance(done.exception, FedHomeError), (done.output, done.exception)
    assert done.exception.hint
    return done.exception


def _invoke(*arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(app, ["model", *arguments], **more)


def test_as_a_process(tmp_path: Path) -> None:
    run("a")
    program = "from fedhome.cli import main; main()"

    def fedhome(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, "model", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"NO_COLOR": "1"},
        )

    done = fedhome("publish", "a")
    assert (done.returncode, done.stderr) == (0, "")
    made, told = done.stdout.splitlines()
    assert made == "made the registry registry, signed by itself, for trials"
    found = Registry.open("registry").find("latest")
    digits = found.hash.hex()[:12]
    size = found.manifest.fidelity.size
    assert told == f"release 1: round 4 of a, {digits}, {size} bytes of {size}, largest error 0"
    (tmp_path / "registry" / "registry.fh").write_bytes(b"nothing")
    failed = command.fedhome("model", "list", folder=tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: registry/registry.fh is no sealed file of fedhome's\n")
    assert "hint:" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_from_run_to_registry_and_back() -> None:
    folder = run("a")
    model("publish", "a")
    assert model("publish", "a").startswith("release 1: ")  # the very same once more
    run("b", seed=2)
    told = model("publish", "b", "--storage", "sparse-int8", "--share", "0.25")
    assert told.startswith("release 2: round 4 of b")
    listed = model("list").splitlines()
    assert len(listed) == 4
    assert re.search(r"^ *1 +│ +4 │ a +│ [0-9a-f]{12} │ .* │ +8 │ float32 ", listed[2])
    assert re.search(r"^ *2 +│ +4 │ b +│ [0-9a-f]{12} │ .* │ +8 │ sparse-int8 ", listed[3])
    first, second = Registry.open("registry").releases()
    shown = model("show", "latest")
    for text in (
        second.hash.hex(),
        first.hash.hex(),
        f"small, {first.manifest.plan_hash.hex()[:12]}",
        "no noise was added",
        "25.0%",
        "0.weight [4, 3]",
    ):
        assert text in shown
    assert model("verify").splitlines() == [
        "signed by the registry itself, for trials: no directory names its key",
        "2 releases, 2 models read, no faults",
    ]
    digits = first.hash.hex()[:12]
    assert model("rollback", digits).startswith("release 3 gives the model of release 1: ")
    assert "back to release 1" in model("list")
    assert model("export", "latest", "out.safetensors") == "release 3: out.safetensors\n"
    with np.load(exported("out.npz")) as npz:
        assert npz["0.bias"].tobytes() == LAYOUT.unflatten(numbers(1))["0.bias"].tobytes()
    out = RunFolder("elsewhere")
    out.path.mkdir()
    model("export", digits, str(out.model_path))
    assert out.model_path.read_bytes() == folder.model_path.read_bytes()


def test_what_a_model_states_goes_with_it_from_run_to_release_to_file() -> None:
    for name, learnt in (("a", "level"), ("b", "change")):
        folder = run(name)
        folder.write_model(
            LAYOUT.unflatten(numbers(1)),
            plan="small",
            round_number=4,
            learnt=cast("Learnt", learnt),
        )
        model("publish", name)
        assert ("its changes" in model("show", "latest")) == (learnt == "change")
        assert checked("model show", model("show", "latest", "--json"))["learnt"] == learnt
        out = RunFolder(f"{name}-out")
        out.path.mkdir()
        model("export", "latest", str(out.model_path))
        assert out.read_model().learnt == learnt
    first = Registry.open("registry").releases()[0]
    model("rollback", first.hash.hex()[:12])
    assert Registry.open("registry").find("latest").manifest.learnt == "level"


def exported(name: str) -> str:
    model("export", "latest", name)
    return name


def test_keeping_and_removing() -> None:
    for seed, name in enumerate("abcd"):
        run(name, seed)
        model("publish", name)
    releases = Registry.open("registry").releases()
    digits = releases[0].hash.hex()[:8]
    assert model("pin", digits) == "the model of release 1 stays\n"
    assert model("prune", "--keep", "1") == "removed 2 models: 2, 3\n"
    assert "pinned" in model("show", digits)
    assert model("list").count("model removed") == 2
    assert "model removed" in model("show", releases[1].hash.hex())
    listed = checked("model list", model("list", "--json"))
    assert [(one["pinned"], one["kept"]) for one in listed] == [
        (True, True),
        (False, False),
        (False, False),
        (False, True),
    ]
    gone = checked("model show", model("show", releases[1].hash.hex(), "--json"))
    assert (gone["number"], gone["parameters"]) == (2, None)
    assert gone["previous"] == releases[0].hash.hex()
    first = checked("model show", model("show", digits, "--json"))
    assert first["parameters"][0] == {"name": "0.weight", "shape": [4, 3]}
    assert (first["previous"], first["privacy"]) == (None, None)
    assert model("pin", "--remove", digits) == "the model of release 1 goes when it is old\n"
    assert model("prune", "--keep", "1") == "removed 1 model: 1\n"
    assert model("verify").endswith("4 releases, 1 model read, no faults\n")
    found = checked("model verify", model("verify", "--json"))
    assert found == {"releases": 4, "models": 1, "faults": [], "leftovers": []}
    assert error_of("rollback", digits).message == "the model of release 1 was removed"


def test_faults_are_told() -> None:
    run("a")
    model("publish", "a")
    path = Path("registry", "releases", "00000001.model")
    path.write_bytes(path.read_bytes()[:-1])
    path.with_name("00000002.model").write_bytes(b"")
    done = _invoke("verify")
    assert isinstance(done.exception, RegistryError)
    assert done.exception.reason == "faults"
    assert f"fault: {path} ends too early" in done.stdout
    assert f"left by a crash, and no release: {path.with_name('00000002.model')}" in done.stdout
    assert "1 release, 0 models read, 1 fault\n" in done.stdout


def test_keys() -> None:
    run("a")
    model("publish", "a", "r")
    old = Path("r", "registry.key").read_bytes()
    model("rotate", "r")
    assert Path("r", "registry.key").read_bytes() != old
    model("rotate", "r", "--new-passphrase-file", "words")
    assert "float32" in model("list", "r", "--passphrase-file", "words")
    assert "float32" in model("list", "r", input=f"{WORDS}\n")
    assert "does not open" in error_of("list", "r", input="something else\n").message
    model("rotate", "r", "--passphrase-file", "words", "--new-key-file", "new.key")
    assert error_of("list", "r").message == "r/registry.key: No such file or directory"
    assert "float32" in model("list", "r", "--key-file", "new.key")
    model("rotate", "r", "--key-file", "new.key", "--to-passphrase", input=f"{WORDS}\n{WORDS}\n")
    run("b")
    model("publish", "b", "r", "--passphrase-file", "words")
    model("publish", "b", "s", "--passphrase-file", "words")
    assert not Path("s", "registry.key").exists()


def test_a_fleets_server_signs() -> None:
    with Fleet.create("fleet", WORDS) as owned:
        owned.add_trial("ash", "elm", "fir", "oak", "yew")
        issued = owned.sign(WORDS)
        fleet = owned.anchor
    run("a")
    made = model("publish", "a", "--server", "fleet/server").splitlines()[0]
    assert made == "made the registry registry, signed by the fleet's server"
    directory = Directory.verify(issued.data, fleet.authority)
    taken = accept(Registry.open("registry").package(), directory, layout=LAYOUT.hash)
    assert taken.model.flat.tobytes() == numbers(1).tobytes()
    sound = "1 release, 1 model read, no faults\n"
    assert model("verify", "--directory", "fleet/directory.fh") == sound
    run("b", seed=2)
    assert isinstance(error_of("publish", "b"), RegistryError)  # the registry has no key itself
    model("publish", "b", "--server", "fleet/server")
    first = Registry.open("registry").releases()[0].hash.hex()
    model("rollback", first, "--server", "fleet/server")
    with Fleet.create("other", WORDS) as owned:
        owned.add_trial("ash", "elm", "fir", "oak", "yew")
        owned.sign(WORDS)
    done = _invoke("verify", "--directory", "other/directory.fh")
    assert "fault: the fleet's directory names another server or fleet" in done.stdout
    assert isinstance(done.exception, RegistryError)


def test_runs_that_cannot_be_published() -> None:
    run("a", finished=False)
    assert "is not finished" in error_of("publish", "a").message
    assert isinstance(error_of("publish", "none"), RunError)
    assert not Path("registry").exists()
    run("b")
    assert "'int4' is no storage format" in error_of("publish", "b", "--storage", "int4").message
    assert not Path("registry").exists()
    assert error_of("list").message == "there is no registry in registry"
