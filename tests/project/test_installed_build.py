"""The number that tells builds of one version apart."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from fedhome import installed_build as module
from fedhome.errors import DirectoryError
from fedhome.fleet.claims import Claim
from fedhome.installed_build import installed_build, without_build

ROOT = Path(__file__).resolve().parents[2]
_TELL = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from fedhome.installed_build import installed_build; print(installed_build())"
)


def _copy(folder: Path) -> Path:
    """Copy the sources as a wheel has them: the three outer rooms inside the package."""
    left_out = shutil.ignore_patterns("__pycache__", "benchmarks")
    shutil.copytree(ROOT / "fedhome", folder / "fedhome", ignore=left_out)
    return folder / "fedhome"


def _told(folder: Path) -> str:
    command = [sys.executable, "-I", "-c", _TELL, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_it_is_of_the_sources_alone(tmp_path: Path) -> None:
    copy = _copy(tmp_path)
    assert _told(tmp_path) == installed_build()
    (copy / "notes.txt").write_text("no source")
    assert _told(tmp_path) == installed_build()
    changed = copy / "rng.py"
    changed.write_text(changed.read_text("utf-8") + "# changed\n")
    other = _told(tmp_path)
    assert other != installed_build()
    assert without_build(other) == without_build(installed_build()) == version("fedhome")


def test_a_link_that_leads_nowhere_is_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emacs leaves such where a file is open: nothing would start meanwhile."""
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    (tmp_path / "rng.py").write_text("")
    before = [*module._of_files()]
    (tmp_path / ".#rng.py").symlink_to("somebody@a-desk.4711:1700000000")
    assert [*module._of_files()] == before != []


def test_without_sources_no_number_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two builds that are compiled alone it would be the same one."""
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    (tmp_path / "rng.pyc").write_bytes(b"")
    assert installed_build.__wrapped__() == version("fedhome")


class _Hash:
    mode = "sha256"

    def __init__(self, value: str) -> None:
        self.value = value


class _Listed:
    """A file of a wheel's list."""

    def __init__(self, name: str, value: str) -> None:
        self._name, self.hash = name, _Hash(value)

    def as_posix(self) -> str:
        return self._name

    def locate(self) -> Path:
        return ROOT / self._name


def test_a_wheels_list_tells_the_same_without_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.split(" ") for line in module._of_files()]
    listed = [_Listed(name, value) for name, value in lines]
    metadata = _Listed("fedhome-0.1.0.dist-info/METADATA", "x")

    class Wheel:
        files = (*listed, metadata)

    monkeypatch.setattr(module, "distribution", lambda _: Wheel)
    assert module._recorded() == [f"{name} {value}" for name, value in lines]


def test_homes_of_another_build_take_part_and_of_another_version_do_not() -> None:
    claim: Callable[[str], Claim] = lambda release: Claim(  # noqa: E731
        fleet=bytes(16), home="oak", node_key=b"key", time=1, release=release
    )
    for same in ("0.1.0", "0.1.0+5f1d0c2a", "0.1.0+00000000"):
        claim(same).check_release("0.1.0+5f1d0c2a")
    with pytest.raises(DirectoryError, match=r"runs fedhome 0\.2\.0\+1, the server 0\.1\.0"):
        claim("0.2.0+1").check_release("0.1.0+5f1d0c2a")


def test_who_changed_fedhome_under_a_version_of_their_own_runs_another_release() -> None:
    """Homes answer the app of their own version alone: others would refuse each question."""
    claim = Claim(
        fleet=bytes(16), home="oak", node_key=b"key", time=1, release="0.1.0+ours.2+5f1d0c2a"
    )
    claim.check_release("0.1.0+ours.2+00000000")
    claim.check_release("0.1.0+ours.2")
    for other in ("0.1.0+ours.3+5f1d0c2a", "0.1.0+5f1d0c2a", "0.1.0"):
        with pytest.raises(DirectoryError, match="the server"):
            claim.check_release(other)
