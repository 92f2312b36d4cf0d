"""The wheel: what is in it, and that it works in an empty environment, far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import Distribution, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """Run a command with nothing of the checkout on its path; return what it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "VIRTUAL_ENV"}
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"COLUMNS": "200"} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(out: Path, *arguments: str) -> Path:
    """Build into a folder, as a release is built; return the wheel."""
    command = (sys.executable, "-m", "build", "--no-isolation", *arguments)
    run(*command, "--outdir", out, ROOT, folder=ROOT)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that is built of the sdist, with the sdist beside it."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` folder of an environment that holds the wheel and what it depends on.

    That is linked from where it is installed with the tests' own tools: to unpack it once more
    takes minutes. Whether pip finds it in an index, the install of these has shown.
    """
    home = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", where, folder=home).strip())
    for held in needed_by(wheel):
        for top in {file.parts[0] for file in held.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():  # a namespace of several
                (site / top).symlink_to(Path(str(held.locate_file(top))))
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, folder=home)
    run(python, "-m", "pip", "check", folder=home)
    return home / "bin"


def needed_by(wheel: Path) -> list[Distribution]:
    """Return what is installed here of what a wheel asks for, and of what that asks for."""
    (name,) = (name for name in files_in(wheel) if name.endswith(".dist-info/METADATA"))
    asked = message_from_bytes(files_in(wheel)[name]).get_all("Requires-Dist", [])
    waiting = [(text, frozenset[str]()) for text in asked]
    found, seen = dict[str, Distribution](), set[tuple[str, frozenset[str]]]()
    while waiting:
        text, extras = waiting.pop()
        one = Requirement(text)
        if one.marker and not any(one.marker.evaluate({"extra": e}) for e in ("", *extras)):
            continue
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key not in seen:
            seen.add(key)
            found[key[0]] = distribution(one.name)
            waiting += [(text, key[1]) for text in found[key[0]].requires or []]
    return [*found.values()]


def files_in(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as held:
        return {name: held.read(name) for name in held.namelist()}


def test_it_is_the_same_bytes_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    left = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "runs")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=left, copy_function=shutil.copyfile)
    wheels = []
    for number, source in enumerate((ROOT, copy)):
        out = tmp_path / str(number)
        command = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out)
        run(*command, source, folder=source, SOURCE_DATE_EPOCH="1700000000")
        (wheel,) = out.glob("*.whl")
        wheels.append(wheel.read_bytes())
    assert wheels[0] == wheels[1]


def test_it_installs_one_top_level_package(wheel: Path) -> None:
    assert wheel.name == f"fedhome-{version('fedhome')}-py3-none-any.whl"
    top = {name.partition("/")[0] for name in files_in(wheel)}
    assert top == {"fedhome", f"fedhome-{version('fedhome')}.dist-info"}


def test_it_holds_every_file_of_the_package_but_the_benchmarks(wheel: Path) -> None:
    links = ("clients", "server", "simulations")
    tops = {ROOT / "fedhome": "fedhome"} | {ROOT / name: f"fedhome/{name}" for name in links}
    expected = {
        f"{place}/{path.relative_to(top).as_posix()}": path.read_bytes()
        for top, place in tops.items()
        for path in top.rglob("*")
        if path.is_file() and not {"__pycache__", "benchmarks"} & set(path.parts)
    }
    held = {name: data for name, data in files_in(wheel).items() if name.startswith("fedhome/")}
    assert held == expected
    assert {
        "fedhome/clients/client_app.py",
        "fedhome/server/server_app.py",
        "fedhome/server/report/page.html.j2",
        "fedhome/server/report/page.css",
        "fedhome/simulations/scenarios/few-days.toml",
    } <= set(held)


def test_the_sdist_and_the_checkout_give_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert files_in(wheel) == files_in(build(tmp_path / "direct", "--wheel"))
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as held:
        members = held.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    assert {"fedhome/clients/home.py", "fedhome/server/server_app.py", "README.md"} <= names
    assert not [member.name for member in members if member.issym() or member.islnk()]


def test_only_fedhome_is_added_to_site_packages(installed: Path) -> None:
    listing = (
        "import importlib.metadata as m;"
        "print(*sorted({str(f).split('/')[0] for f in m.files('fedhome')}))"
    )
    top = run(installed / "python", "-c", listing, folder=installed).split()
    assert {name for name in top if not name.endswith(".dist-info")} == {"..", "fedhome"}
    loose = (
        "import importlib.util as u;"
        "print([n for n in ('clients', 'server', 'simulations', 'pytest') if u.find_spec(n)])"
    )  # and the tests' own tools are not there
    assert run(installed / "python", "-c", loose, folder=installed).strip() == "[]"


def test_it_simulates_far_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    settings = [word for setting in TINY for word in ("--set", setting)]
    printed = run(installed / "fedhome", "simulate", *settings, folder=tmp_path)
    assert "round 1/1" in printed
    assert "is used" not in printed
    out = tmp_path / "runs" / "default-1"
    assert (out / "model.safetensors").is_file()
    assert "<svg" in (out / "report.html").read_text()
    scenario = run(installed / "fedhome", "plan", "show", "few-days", folder=tmp_path)
    assert "[rounds]" in scenario


def test_an_app_that_it_makes_runs(installed: Path, tmp_path: Path) -> None:
    run(installed / "fedhome", "new", "my-app", folder=tmp_path)
    settings = [word for setting in TINY for word in ("--set", setting)]
    printed = run(
        installed / "fedhome", "simulate", "plan.toml", *settings, folder=tmp_path / "my-app"
    )
    assert "round 1/1" in printed
