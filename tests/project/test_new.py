"""``fedhome new``: a small app that runs, tests itself, and that Flower takes."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from flwr.cli.build import build_fab_from_disk
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.errors import RunError
from fedhome.run.folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
FEDHOME = Path(sys.executable).parent / "fedhome"
# Flower asks pathspec for its patterns by an old name.
old_name_of_patterns = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
TINY = ("data.homes=5", "data.days=10", "rounds.count=1", "personalise.name=none")


def make(folder: Path) -> Path:
    result = CliRunner().invoke(app, ["new", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    return folder


def ran(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_a_page_and_pins_nothing(tmp_path: Path) -> None:
    made = make(tmp_path / "my-app")
    files = {path.name: path.read_text() for path in made.iterdir()}
    assert sorted(files) == [
        ".gitignore",
        "README.md",
        "method.py",
        "model.py",
        "plan.toml",
        "pyproject.toml",
        "strategy.py",
        "test_app.py",
    ]
    assert sum(text.count("\n") for text in files.values()) < 200
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == project["tool"]["flwr"]["app"]["publisher"] == "my-app"
    (dependency,) = project["project"]["dependencies"]
    assert dependency.startswith("fedhome>=")
    assert tomllib.loads(files["plan.toml"])["name"] == "my-app"
    assert "{" not in files["README.md"]


@pytest.mark.slow
def test_its_own_test_passes(tmp_path: Path) -> None:
    made = make(tmp_path / "my-app")
    assert "2 passed" in ran(sys.executable, "-m", "pytest", "-q", folder=made)


@pytest.mark.slow
def test_its_plan_is_run_from_any_folder(tmp_path: Path) -> None:
    made = make(tmp_path / "my-app")
    sets = [word for setting in TINY for word in ("--set", setting)]
    ran(FEDHOME, "simulate", "my-app/plan.toml", *sets, folder=tmp_path)
    kept = tomllib.loads((tmp_path / "runs" / "my-app-1" / "plan.toml").read_text())
    assert kept["model"]["name"] == f"{made.resolve()}/model.py:Forecaster"
    assert kept["method"]["name"] == f"{made.resolve()}/method.py:Tether"
    assert kept["strategy"]["name"] == f"{made.resolve()}/strategy.py:PartWay"


@pytest.mark.slow
def test_its_code_reaches_real_processes_and_rays_workers(tmp_path: Path) -> None:
    make(tmp_path / "my-app")
    sets = [word for setting in TINY for word in ("--set", setting)]
    plan = ("my-app/plan.toml", *sets)
    ran(FEDHOME, "simulate", *plan, "--out", "here", folder=tmp_path)
    ran(FEDHOME, "up", *plan, "--homes", "5", "--out", "up", folder=tmp_path)
    ran(FEDHOME, "simulate", *plan, "--engine", "ray", "--out", "ray", folder=tmp_path)
    expected = RunFolder.open(tmp_path / "here").read_model().parameters
    for name in ("up", "ray"):
        found = RunFolder.open(tmp_path / name).read_model().parameters
        assert set(found) == set(expected)
        for key, array in expected.items():
            np.testing.assert_allclose(found[key], array, rtol=0, atol=1e-5)


@old_name_of_patterns
def test_flower_takes_it_as_a_bundle_and_leaves_runs_out(tmp_path: Path) -> None:
    made = make(tmp_path / "Home-2")
    (made / "runs" / "first").mkdir(parents=True)
    (made / "runs" / "first" / "plan.toml").write_text("seed = 1\n")
    bundle = build_fab_from_disk(made)  # refuses more than 10 MB and what its rules forbid
    held = set(zipfile.ZipFile(io.BytesIO(bundle)).namelist())
    assert {"pyproject.toml", "model.py", "method.py", "strategy.py"} <= held
    assert not {name for name in held if name.startswith("runs/")}


@pytest.mark.slow
@old_name_of_patterns
def test_flower_takes_the_checkout_as_a_bundle_without_our_files() -> None:
    held = zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT))).namelist()
    assert {name.partition("/")[0] for name in held} == {"pyproject.toml", "README.md", ".info"}


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


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_text

    def full(path: Path, text: str, *, encoding: str) -> int:
        if path.name == "method.py":
            written(path, text[:10], encoding=encoding)
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(path, text, encoding=encoding)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match=r"method\.py cannot be written: No space left") as caught:
        CliRunner().invoke(app, ["new", str(tmp_path / "app")], catch_exceptions=False)
    assert "make room" in caught.value.hint
    assert not (tmp_path / "app" / "method.py").exists()


def new_method(name: str) -> str:
    return CliRunner().invoke(app, ["new", "method", name], catch_exceptions=False).output


@pytest.mark.slow
def test_the_test_that_is_written_with_a_method_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = new_method("slow-start")
    assert "`fedhome simulate --set method.name=slow_start.py:SlowStart`" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "slow_start.py",
        "test_slow_start.py",
    ]
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "new_method" not in text
    assert "NewMethod" not in text
    assert "3 passed" in ran(sys.executable, "-m", "pytest", "-q", folder=tmp_path)
    broken = (
        (tmp_path / "slow_start.py").read_text().replace("last_layers(names, 1)", "frozenset()")
    )
    (tmp_path / "slow_start.py").write_text(broken)
    failed = [sys.executable, "-m", "pytest", "-q", "-k", "private"]
    done = subprocess.run(failed, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed" in done.stdout  # it sees what leaves


@pytest.mark.parametrize("name", ["Slow", "slow start", "9lives", "class", "a" * 49, "../slow"])
def test_a_method_is_called_what_a_module_may_be(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="cannot be the name of a method"):
        new_method(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("fedavg", 'a method of fedhome\'s, as `method.name = "fedavg"`'),
        ("home_embedding", 'as `method.name = "home-embedding"`'),
        ("queue", "a module of Python's, which queue.py would stand in front of"),
    ],
)
def test_a_method_takes_no_name_that_is_of_something_else(
    name: str, of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError) as refused:
        new_method(name)
    assert of in refused.value.message
    assert not list(tmp_path.iterdir())


def test_a_method_s_files_take_the_place_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_slow_start.py").write_text("mine")
    with pytest.raises(RunError, match=r"^test_slow_start.py exists already"):
        new_method("slow_start")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    for words, why in (
        (["method"], "a method needs a name"),
        (["an-app", "one"], "no new 'an-app'"),
    ):
        with pytest.raises(RunError, match=why):
            CliRunner().invoke(app, ["new", *words], catch_exceptions=False)
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_is_written_through_a_link_that_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads to nothing, so nothing is seen there; in a folder of all, others may lay it."""
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    (here / "slow_start.py").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"slow_start\.py cannot be written: File exists"):
        new_method("slow_start")
    assert not (tmp_path / "elsewhere").exists()
    assert (here / "slow_start.py").is_symlink()
    monkeypatch.setattr(Path, "touch", lambda *_, **__: None)
    new_method("slow_start")
    assert (tmp_path / "elsewhere").exists(), "the control"
