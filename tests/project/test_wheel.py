"""The wheel: what is in it, and that it works in an empty environment, far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "data.homes=6",
    "data.days=8",
    "model.hidden=[4]",
    "rounds.count=1",
    "personalise.epochs=1",
    "personalise.local_epochs=1",
]


def run(*command: str | Path, folder: Path) -> str:
    """Run a command with nothing of the checkout on its path; return what it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "VIRTUAL_ENV"}
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir")
    run(sys.executable, *build, out, ROOT, folder=ROOT)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` folder of an environment that holds the wheel and what it depends on."""
    home = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(home, with_pip=True)
    # pip finds the large packages in its cache: the tests' own environment needed them too.
    run(home / "bin" / "python", "-m", "pip", "install", "--quiet", wheel, folder=home)
    return home / "bin"


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_installs_one_top_level_package(wheel: Path) -> None:
    assert wheel.name == f"fedhome-{version('fedhome')}-py3-none-any.whl"
    top = {name.partition("/")[0] for name in names_in(wheel)}
    assert top == {"fedhome", f"fedhome-{version('fedhome')}.dist-info"}


def test_it_holds_every_file_of_the_packages(wheel: Path) -> None:
    expected = set()
    for part in ("fedhome", "clients", "server", "simulations"):
        place = part if part == "fedhome" else f"fedhome/_app/{part}"
        for path in (ROOT / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(f"{place}/{path.relative_to(ROOT / part).as_posix()}")
    held = names_in(wheel)
    assert {name for name in held if name.startswith("fedhome/")} == expected
    assert {
        "fedhome/_app/server/report/page.html.j2",
        "fedhome/_app/server/report/page.css",
        "fedhome/_app/server/report/page.js",
        "fedhome/_app/simulations/scenarios/few-days.toml",
    } <= held


def test_only_fedhome_is_added_to_site_packages(installed: Path) -> None:
    listing = (
        "import importlib.metadata as m;"
        "print(*sorted({str(f).split('/')[0] for f in m.files('fedhome')}))"
    )
    top = run(installed / "python", "-c", listing, folder=installed).split()
    assert {name for name in top if not name.endswith(".dist-info")} == {"..", "fedhome"}
    loose = (
        "import importlib.util as u;"
        "print([n for n in ('clients', 'server', 'simulations') if u.find_spec(n)])"
    )
    assert run(installed / "python", "-c", loose, folder=installed).strip() == "[]"


def test_it_simulates_far_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    settings = [word for setting in TINY for word in ("--set", setting)]
    printed = run(installed / "fedhome", "simulate", *settings, folder=tmp_path)
    assert "round 1/1" in printed
    assert "is used" not in printed
    out = tmp_path / "runs" / "default-1"
    assert (out / "model.safetensors").is_file()
    assert (out / "report.html").stat().st_size > 1_000_000
    scenario = run(installed / "fedhome", "plan", "show", "few-days", folder=tmp_path)
    assert "[rounds]" in scenario


def test_its_copy_of_the_app_is_what_runs(installed: Path, tmp_path: Path) -> None:
    run(installed / "fedhome", "new", "my-app", folder=tmp_path)
    copy = tmp_path / "my-app"
    with (copy / "server" / "rounds.py").open("a") as module:
        module.write('\nprint("the changed rounds are used")\n')
    settings = [word for setting in TINY for word in ("--set", setting)]
    printed = run(installed / "fedhome", "simulate", *settings, folder=copy)
    assert "the changed rounds are used" in printed
    assert f"the app in {copy} is used" in printed
