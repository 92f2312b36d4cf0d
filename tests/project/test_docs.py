"""The README's and the guides' commands and snippets do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fedhome.plan.settings import Plan
from fedhome.server.strategies import STRATEGIES, WRAPPERS, strategy_of
from fedhome.simulations.simulate import simulate
from helpers.command import fedhome

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(path.read_text("utf-8")) if kind == language]


def commands() -> list[str]:
    lines = [line for body in blocks(ROOT / "README.md", "bash") for line in body.splitlines()]
    return [line for line in lines if line]


def words_of(command: str) -> list[str]:
    program, *words = command.split()
    assert program == "fedhome"
    return words


SIMULATIONS = [command for command in commands() if words_of(command)[0] == "simulate"]
SMALL = ("data.homes=6", "data.days=14", "rounds.count=2", "model.hidden=[4]")


@pytest.mark.slow
@pytest.mark.parametrize("command", SIMULATIONS)
def test_every_simulation_of_the_readme_runs(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("fedhome"), *words_of(command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("runs/*/report.html")
    assert str(report.relative_to(tmp_path)) in done.stdout


@pytest.mark.parametrize("command", SIMULATIONS)
def test_every_simulation_of_the_readme_begins(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BegunError(Exception):
        """Instead of the simulation, with its plan."""

    def begin(plan: Plan, **settings: Any) -> NoReturn:
        signature(simulate).bind(plan, **settings)
        raise BegunError(plan)

    monkeypatch.setattr("fedhome.simulations.simulate.simulate", begin)
    with pytest.raises(BegunError) as begun:
        fedhome(*words_of(command), folder=tmp_path)
    (plan,) = begun.value.args
    strategy_of(plan, 10)


@pytest.mark.long
@pytest.mark.parametrize("command", sorted({*commands()} - {*SIMULATIONS}))
def test_every_other_command_of_the_readme_runs(command: str, tmp_path: Path) -> None:
    said = fedhome(*words_of(command), folder=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.slow
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
    assert "│ personalised" in done.stdout


@pytest.mark.long
def test_the_readmes_python_runs_over_a_few_homes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def small(plan: Plan, **settings: Any) -> Any:
        few = plan.change(data={"homes": 6, "days": 14}, rounds={"count": 2})
        return simulate(few, **settings)

    (snippet,) = blocks(ROOT / "README.md", "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fedhome.simulations.simulate.simulate", small)
    exec(compile(snippet, "README.md", "exec"), {})  # noqa: S102 - it is our own
    assert "│ personalised" in capsys.readouterr().out


@pytest.mark.long
def test_the_guide_of_strategies_runs_as_written(tmp_path: Path) -> None:
    guide = ROOT / "docs" / "strategies.md"
    (snippet,) = blocks(guide, "python")
    (tmp_path / "halfway.py").write_text(snippet, "utf-8")
    said = fedhome(
        *("simulate", "--set", "strategy.name=halfway:Halfway", "--out", "run"),
        *(word for setting in (*SMALL, "personalise.name=none") for word in ("--set", setting)),
        folder=tmp_path,
    )
    assert (said.returncode, said.stderr) == (0, "")
    for body in blocks(guide, "toml"):
        Plan.parse(tomllib.loads(body))


@pytest.mark.long
def test_the_guide_of_slices_trains_a_module_of_ones_own_as_written(tmp_path: Path) -> None:
    guide = ROOT / "docs" / "slicing.md"
    (snippet,) = blocks(guide, "python")
    (plan,) = (body for body in blocks(guide, "toml") if "mine.py:Forecaster" in body)
    (tmp_path / "mine.py").write_text(snippet, "utf-8")
    (tmp_path / "plan.toml").write_text(plan, "utf-8")
    small = ("data.homes=6", "data.days=14", "rounds.count=1", "personalise.name=none")
    said = fedhome(
        *("simulate", "plan.toml", "--out", "run"),
        *(word for setting in small for word in ("--set", setting)),
        folder=tmp_path,
    )
    assert (said.returncode, said.stderr) == (0, "")
    (printed,) = re.findall(r"note: tier sensor: 30 of 100 .*?;", guide.read_text("utf-8"))
    assert printed.replace("30 of 100 homes", "2 of 6 homes") in said.stdout


@pytest.mark.long
def test_the_guide_of_objects_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = blocks(ROOT / "docs" / "simulate.md", "python")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "guide", "exec"), {"__name__": "guide"})  # noqa: S102 - our own words
    assert "│ personalised" in capsys.readouterr().out


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


def test_the_guides_table_of_reasons_is_what_the_command_prints(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    _, _, rest = guide.partition("<!-- reasons: begin -->\n\n")
    printed = fedhome("reasons", "--markdown", folder=tmp_path).stdout
    assert printed.count("\n") > 50
    assert rest.partition("\n<!-- reasons: end -->")[0] == printed


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_the_guides_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


def headings(path: Path) -> set[str]:
    """Return what links may name of a page: its headings, as they are on the web, and ids."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = (
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    )
    slugs = {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


def test_a_heading_is_named_as_on_the_web(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = '# A home\'s own `model`: so\n\n```\n# no\n```\n\n<a id="there"></a>\n'
    page.write_text(text, "utf-8")
    assert headings(page) == {"a-homes-own-model-so", "there"}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_into_a_guide_lead_to_a_heading(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)]+)\)", path.read_text("utf-8"))
    for target, anchor in links:
        assert anchor in headings(path.parent / target if target else path), f"{target}#{anchor}"


@pytest.mark.parametrize("top", ["fedhome", "clients", "server", "simulations", "tests"])
def test_links_of_the_code_into_a_guide_lead_to_a_heading(top: str) -> None:
    for path in (ROOT / top).rglob("*.py"):
        for guide, anchor in re.findall(r"(docs/[\w/-]+\.md)#([\w-]+)", path.read_text("utf-8")):
            assert anchor in headings(ROOT / guide), f"{path}: {guide}#{anchor}"


def test_every_decision_is_in_the_index_once_and_in_order() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(
        r"^\| \[(\d+)\]\((\S+)\)", (folder / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert [name for _, name in listed] == sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name[:3] for _, name in listed] == [number for number, _ in listed]


def test_what_undid_a_decision_is_said_in_the_index_and_is_there() -> None:
    folder = ROOT / "docs" / "decisions"
    index = dict(
        re.findall(
            r"^\| \[(\d+)\]\(\S+\) \| (.*) \|$",
            (folder / "README.md").read_text("utf-8"),
            re.MULTILINE,
        )
    )
    by: dict[str, list[str]] = {}
    for path in sorted(folder.glob("[0-9]*.md")):
        head = path.read_text("utf-8").split("## ")[0]
        by[path.name[:3]] = re.findall(r"undone by \[(\d+)\]", head, re.IGNORECASE)
    assert sum(map(len, by.values())) >= 3
    assert {number: re.findall(r"undone by (\d+)", index[number]) for number in by} == by
    assert all(other > number for number, others in by.items() for other in others)


def test_the_readmes_tree_names_every_folder() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    folders = [
        child.name
        for top in ("fedhome", "clients", "server", "simulations")
        for child in (ROOT / top).iterdir()
        if child.is_dir() and (child / "__init__.py").exists()
    ]
    assert [name for name in folders if f"{name}/" not in readme] == []
