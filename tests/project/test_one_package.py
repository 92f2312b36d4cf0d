"""One import package: nothing generic is importable because of us, and a file is one module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("clients", "server", "simulations")
SIMULATE = """
import fedhome
fedhome.simulate(fedhome.Plan.load(sets=[
    "data.homes=3", "data.days=8", "model.hidden=[2]", "rounds.count=1", "engine.threads=1",
    'personalise.name="none"', 'aggregation.mode="plain"',
]), out="run")
"""
REPORT = """
from fedhome.cli import app
app(["report", "run", "--out", "again.html"], standalone_mode=False)
"""
THEIRS = """
import clients, server, simulations
assert (server.WHOSE, clients.WHOSE, simulations.WHOSE) == ("theirs",) * 3
"""
ONE_MODULE_A_FILE = f"""
import collections, os
modules = collections.defaultdict(list)
for name, module in list(sys.modules.items()):
    file = os.path.realpath(getattr(module, "__file__", None) or "")
    folder = os.path.relpath(file, {str(ROOT)!r}).partition(os.sep)[0]
    if file and folder in ("fedhome", "clients", "server", "simulations"):
        modules[file].append(name)
assert all(len(names) == 1 for names in modules.values()), modules
assert all(name.partition(".")[0] == "fedhome" for (name,) in modules.values()), modules
print(len(modules))
"""


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder as a user would, with nothing of the checkout on its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def write_packages(folder: Path, *, server: str) -> None:
    """Write a project of somebody whose packages have the names of our folders."""
    for name in ("clients/__init__.py", "simulations/__init__.py", server):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('WHOSE = "theirs"\n')


@pytest.mark.parametrize(
    ("server", "first"),
    [("server/__init__.py", THEIRS), pytest.param("server.py", "", marks=pytest.mark.slow)],
    ids=["their packages first", "ours first"],
)
def test_a_project_keeps_its_own_server_clients_and_simulations(
    tmp_path: Path, server: str, first: str
) -> None:
    write_packages(tmp_path, server=server)
    begin = "import sys; before = list(sys.path)\n"
    end = "assert sys.path == before, sys.path\n"
    steps = (first, SIMULATE, ONE_MODULE_A_FILE, REPORT, ONE_MODULE_A_FILE, THEIRS)
    done = python(begin + "".join(steps) + end, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    simulated, reported = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    assert 100 < simulated < reported  # the commands' modules were added
    assert (tmp_path / "again.html").is_file()


def test_to_import_fedhome_makes_one_module_of_each_file(tmp_path: Path) -> None:
    done = python(f"import sys, fedhome\n{ONE_MODULE_A_FILE}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 1


def test_nothing_but_fedhome_is_importable_because_of_us(tmp_path: Path) -> None:
    paths = [*ROOT.iterdir(), *(ROOT / "fedhome").iterdir()]
    names = {path.stem for path in paths if path.stem.isidentifier()}
    names -= {"fedhome", "__init__", "__main__", "__pycache__"}
    assert {*TOPS, "tests", "docs", "plan", "run"} <= names
    program = f"""
import importlib.util
from pathlib import Path
import fedhome
for name in {sorted(names)!r}:
    found = importlib.util.find_spec(name)
    origin = found and (found.origin or next(iter(found.submodule_search_locations)))
    if origin and Path({str(ROOT)!r}) in Path(origin).resolve().parents:
        print(name, origin)
"""
    done = python(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", TOPS)
def test_in_the_checkout_a_folder_says_by_what_name_it_is_imported(name: str) -> None:
    done = python(f"import {name}", ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: this folder is the package fedhome.{name}: import it by that name"
    )
