"""The public names with their signatures, what importing them costs, and the shell's completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fedhome
from fedhome.cli import completion
from fedhome.installed_build import installed_build, without_build
from helpers.public_face import FACE, face

_COSTLY = ("torch", "flwr", "pyarrow", "plotly", "scipy")
_COSTLY += tuple(f"fedhome.{part}" for part in ("clients", "models", "server", "simulations"))


MODULE = (sys.executable, "-m", "fedhome")
SCRIPT = (str(Path(sys.executable).with_name("fedhome")),)


def run(command: tuple[str, ...], *arguments: str, folder: Path, **environment: str) -> str:
    """Run the command line in a folder; return what it printed."""
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_and_their_signatures_are_those_that_were_written_down() -> None:
    held = json.loads(FACE.read_text("utf-8"))
    assert face() == held, "`make face` writes them anew: what has changed for users?"


def test_the_face_shows_its_public_names_and_no_others() -> None:
    assert dir(fedhome) == sorted(fedhome.__all__)
    assert [name for name in fedhome.__all__ if name.startswith("_")] == ["__version__"]


def test_every_public_name_is_in_the_guide() -> None:
    guide = (FACE.parents[2] / "docs" / "simulate.md").read_text("utf-8")
    assert [name for name in fedhome.__all__ if f"`fedhome.{name}`" not in guide] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = fedhome.train


@pytest.mark.long
def test_importing_fedhome_loads_nothing_costly() -> None:
    program = (
        f"import sys; loaded = lambda: [n for n in {_COSTLY!r} if n in sys.modules]; "
        "import fedhome; fedhome.Plan(); fedhome.__version__; print(loaded()); "
        "fedhome.HomeTable; print(loaded()); "
        "import fedhome.cli; print(loaded())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[]", "[]"]


@pytest.mark.long
def test_the_version_is_told_by_the_command_as_by_the_package(tmp_path: Path) -> None:
    for command in (MODULE, SCRIPT):
        assert run(command, "--version", folder=tmp_path) == f"fedhome {installed_build()}\n"
    assert without_build(installed_build()) == fedhome.__version__


@pytest.mark.long
def test_completion_is_installed_by_the_command_for_the_users_shell(tmp_path: Path) -> None:
    told = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    run(SCRIPT, "--install-completion", "bash", folder=tmp_path, **told)
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert str(script) in (tmp_path / ".bashrc").read_text()


@pytest.mark.long
def test_a_plan_is_completed_in_the_shell(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text("")
    (tmp_path / "few.csv").write_text("")
    # What bash says of the line `fedhome simulate few`, with the cursor behind it.
    typed = {"COMP_WORDS": "fedhome simulate few", "COMP_CWORD": "2"}
    offered = run(SCRIPT, folder=tmp_path, _FEDHOME_COMPLETE="complete_bash", **typed)
    assert offered.split() == ["few-days", "few.toml"]


def test_words_are_completed_by_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "one.toml").write_text("")
    assert completion.plans("pl") == ["plans/"]
    assert completion.plans("plans/") == ["plans/one.toml"]
    assert completion.plans("nowhere/") == []
    assert "default" in completion.plans("")
    assert completion.data("en") == ["energy-homes17"]
    assert completion.data("pl") == ["plans/"]
    assert completion.settings("rounds.ch") == ["rounds.checkpoint_every="]
    assert completion.settings("rounds.co") == ["rounds.count="]
    assert completion.settings("strategy.name=fedy") == ["strategy.name=fedyogi"]
