"""``fedhome new``: a copy of the app that runs, and which app runs where."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fedhome.apps import PARTS, app_root, installed_root, own_copy
from flwr.cli.build import build_fab_from_disk
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.errors import FedHomeError, RunError

ROOT = Path(__file__).resolve().parents[2]
FEDHOME = Path(sys.executable).parent / "fedhome"
OWN_SCENARIO = """
name = "of-mine"
data = { homes = 6, days = 8 }
model = { hidden = [4] }
rounds = { count = 1 }
personalise = { name = "none" }
"""
# Flower asks pathspec for its patterns by an old name.
old_name_of_patterns = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")


def fedhome(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as its users do, in a folder."""
    return subprocess.run(
        [FEDHOME, *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def make(folder: Path) -> Path:
    result = CliRunner().invoke(app, ["new", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    return folder


def test_the_copy_is_what_runs_in_its_folder(tmp_path: Path) -> None:
    made = fedhome("new", "my-app", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    copy = tmp_path / "my-app"
    (copy / "simulations" / "scenarios" / "of-mine.toml").write_text(OWN_SCENARIO)
    with (copy / "server" / "rounds.py").open("a") as module:
        module.write('\nprint("the changed rounds are used")\n')

    inside = fedhome("simulate", "of-mine", folder=copy)
    assert inside.returncode == 0, inside.stderr
    assert "the changed rounds are used" in inside.stdout
    assert f"the app in {copy} is used" in inside.stderr
    assert (copy / "runs" / "of-mine-1" / "model.safetensors").is_file()

    outside = fedhome("plan", "show", "of-mine", folder=tmp_path)
    assert outside.returncode == 1
    assert "there is no such file or scenario" in outside.stderr
    assert "is used" not in outside.stderr


@old_name_of_patterns
def test_flower_takes_the_copy_as_a_bundle_and_leaves_runs_out(tmp_path: Path) -> None:
    copy = make(tmp_path / "Home-2")
    (copy / "runs" / "first").mkdir(parents=True)
    (copy / "runs" / "first" / "plan.toml").write_text("seed = 1\n")
    bundle = build_fab_from_disk(copy)  # refuses more than 10 MB and what its rules forbid
    held = set(zipfile.ZipFile(io.BytesIO(bundle)).namelist())
    assert {
        "pyproject.toml",
        "clients/client_app.py",
        "server/server_app.py",
        "simulations/gather.py",
    } <= held
    assert not {name for name in held if name.startswith("runs/")}


@old_name_of_patterns
def test_flower_takes_the_checkout_as_a_bundle_of_the_app_alone() -> None:
    held = zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT))).namelist()
    folders = {name.partition("/")[0] for name in held}
    assert folders == {"pyproject.toml", ".info", *PARTS}


def test_the_copy_holds_every_file_of_the_app_but_the_benchmarks(tmp_path: Path) -> None:
    copy = make(tmp_path / "app")

    def files(root: Path) -> set[str]:
        return {
            str(path.relative_to(root))
            for part in PARTS
            for path in (root / part).rglob("*")
            if path.is_file() and not {"__pycache__", "benchmarks"} & set(path.parts)
        }

    assert files(copy) == files(installed_root())
    assert "server/report/page.css" in files(copy)


@pytest.mark.parametrize("name", ["my_app", "2homes", "über", "a" * 33, "my app"])
def test_a_name_that_flower_refuses_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot be the name of an app"):
        CliRunner().invoke(app, ["new", str(tmp_path / name)], catch_exceptions=False)
    assert not (tmp_path / name).exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        CliRunner().invoke(app, ["new", str(tmp_path / "app")], catch_exceptions=False)
    assert [path.name for path in (tmp_path / "app").iterdir()] == ["notes.txt"]


def test_only_a_flower_app_with_all_three_packages_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = make(tmp_path / "app")
    project = copy / "pyproject.toml"
    monkeypatch.chdir(copy)
    assert own_copy(copy) == app_root() == copy.resolve()

    text = project.read_text()
    project.write_text('[project]\nname = "somebody-elses"\n')
    assert own_copy(copy) is None
    assert app_root() == installed_root()

    project.write_text(text)
    (copy / "server" / "__init__.py").unlink()
    assert own_copy(copy) is None

    project.unlink()
    assert own_copy(copy) is None


def test_a_copy_whose_pyproject_is_damaged_is_told_not_passed_over(tmp_path: Path) -> None:
    copy = make(tmp_path / "app")
    (copy / "pyproject.toml").write_text("[tool.flwr.app\n")
    with pytest.raises(FedHomeError, match="cannot be read") as caught:
        own_copy(copy)
    assert caught.value.hint
    told = fedhome("plan", "show", folder=copy)
    assert told.returncode == 1
    assert "cannot be read" in told.stderr
    assert "Traceback" not in told.stderr
