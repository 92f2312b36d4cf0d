"""The README's and the guides' commands and snippets do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fedhome.plan.settings import Plan
from fedhome.server.strategies import STRATEGIES, WRAPPERS

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(path.read_text("utf-8")) if kind == language]


def commands() -> list[object]:
    lines = [line for body in blocks(ROOT / "README.md", "bash") for line in body.splitlines()]
    # A real data set is fetched through pip; the plain default takes half a minute.
    slow = {"fedhome simulate", "fedhome simulate energy-homes17"}
    return [pytest.param(x, marks=[pytest.mark.slow] if x in slow else []) for x in lines if x]


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_runs(command: str, tmp_path: Path) -> None:
    program, *arguments = command.split()
    assert program == "fedhome"
    done = subprocess.run(
        [Path(sys.executable).with_name("fedhome"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if arguments[0] == "simulate":
        (report,) = tmp_path.glob("runs/*/report.html")
        assert str(report.relative_to(tmp_path)) in done.stdout


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    (snippet,) = blocks(ROOT / "README.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SummaryRow(model='personalised'" in done.stdout


def test_the_guide_of_strategies_runs_as_written(tmp_path: Path) -> None:
    guide = ROOT / "docs" / "strategies.md"
    (snippet,) = blocks(guide, "python")
    (tmp_path / "halfway.py").write_text(snippet, "utf-8")
    small = "data.homes=6 data.days=14 rounds.count=2 model.hidden=[4] personalise.name=none"
    done = subprocess.run(
        [
            Path(sys.executable).with_name("fedhome"),
            *("simulate", "--set", "strategy.name=halfway:Halfway", "--out", "run"),
            *(word for setting in small.split() for word in ("--set", setting)),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for body in blocks(guide, "toml"):
        Plan.parse(tomllib.loads(body))


def test_every_strategy_and_wrapper_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "strategies.md").read_text("utf-8")
    missing = [name for name in (*STRATEGIES, *WRAPPERS) if f"`{name}`" not in guide]
    assert missing == []


def test_every_scenario_holds_and_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "simulate.md").read_text("utf-8")
    for path in sorted((ROOT / "simulations" / "scenarios").glob("*.toml")):
        assert Plan.load(path).name == path.stem
        assert f"| `{path.stem}` |" in guide
    assert f"| `{Plan().name}` |" in guide


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_links_between_the_guides_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


def test_the_readmes_tree_names_every_folder() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    folders = [
        child.name
        for top in ("fedhome", "clients", "server", "simulations")
        for child in (ROOT / top).iterdir()
        if child.is_dir() and (child / "__init__.py").exists()
    ]
    assert [name for name in folders if f"{name}/" not in readme] == []
