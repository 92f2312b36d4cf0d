"""The command line: what it prints, what it leaves, how it fails; twice as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

import fedhome
from fedhome.plan.settings import Plan
from helpers import command, tiny

pytestmark = pytest.mark.long


def _process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from fedhome.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"COLUMNS": "120", "NO_COLOR": "1"},
    )


def _fedhome(folder: Path, *arguments: str) -> command.Said:
    return command.fedhome(*arguments, folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source of homes and a plan that names it."""
    folder = tmp_path_factory.mktemp("work")
    plan = Plan.load(**tiny.SETTINGS).change(data={"source": tiny.write_source(folder)})
    (folder / "plan.toml").write_text(plan.to_toml())
    return folder


def test_a_simulation_and_reports_of_it(folder: Path) -> None:
    done = _process(
        folder, "simulate", "plan.toml", "--set", "rounds.count=2", "--seed", "9", "--out", "run"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("left out: home 'home-2'")
    assert any(line.startswith("3 homes,") and "engine vector" in line for line in lines)
    assert any(line.startswith("round 2/2  3/3 homes  loss ") for line in lines)
    assert "skill on test rows, over 3 homes" in done.stdout
    assert lines[-1] == "report: run/report.html"
    plan = Plan.parse(tomllib.loads((folder / "run" / "plan.toml").read_text()))
    assert (plan.rounds.count, plan.seed) == (2, 9)

    (folder / "run" / "report.html").unlink()
    again = _fedhome(folder, "report", "run")
    assert (again.returncode, again.stdout) == (0, "report: run/report.html\n")
    assert (folder / "run" / "report.html").stat().st_size > 1000

    pytest.MonkeyPatch().syspath_prepend(folder)
    fedhome.simulate(plan.change(seed=10, name="other"), out=folder / "other")
    both = _fedhome(folder, "report", "run", "other", "--out", "both.html")
    apart = "not compared home by home: their seeds are not the same\n"
    assert (both.returncode, both.stdout) == (0, f"{apart}report: both.html\n")
    compared = (folder / "both.html").read_text(encoding="utf-8")
    assert "run" in compared
    assert "other" in compared


def test_a_run_in_which_no_round_changed_the_model_is_no_success(folder: Path) -> None:
    (folder / "silent.py").write_text(
        "from flwr.serverapp.strategy import FedAvg\n\n\n"
        "class Silent(FedAvg):\n"
        "    def aggregate_train(self, server_round, replies):\n"
        "        return None, None\n"
    )
    sets = ("--set", "rounds.count=2", "--set", "strategy.name=silent.py:Silent")
    done = _fedhome(folder, "simulate", "plan.toml", *sets, "--out", "unlearnt")
    assert done.returncode == 1
    assert "0 of 2 rounds changed the model; the last one failed: " in done.stdout
    assert "no round of unlearnt changed the model" in done.stderr
    assert "the events round-failed, sum-failed," in done.stderr
    assert "unlearnt/events.jsonl" in done.stderr
    assert (folder / "unlearnt" / "report.html").exists(), "what homes have of it stays"


def test_a_bad_plan_tells_all_of_its_faults_without_a_traceback(folder: Path) -> None:
    bad = {"train": {"epoch": 1, "learning_rate": -1.0}, "colour": "red"}
    (folder / "bad.toml").write_text(tomli_w.dumps(bad))
    done = _process(folder, "simulate", "bad.toml", "--set", "rounds.count=none", "--out", "bad")
    assert done.returncode == 1
    assert "error: bad.toml has 4 faults:" in done.stderr
    for name in ("train.epoch is not a setting", "train.learning_rate", "colour", "rounds.count"):
        assert name in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "bad").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("simulate", "fewdays"), "the scenarios are: activity, default"),
        (("simulate", "--set", "rounds.count"), "--set 'rounds.count' is not of the form"),
        (("simulate", "--resume", "run", "--seed", "3"), "and nothing else"),
        (("report", "nowhere"), "nowhere"),
        (("plan", "show", "nowhere"), "no such file or scenario"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = _fedhome(folder, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_plan_that_is_shown_can_be_read_again(folder: Path) -> None:
    shown = _fedhome(folder, "plan", "show", "plan.toml")
    assert shown.returncode == 0
    (folder / "again.toml").write_text(shown.stdout)
    assert Plan.load(folder / "again.toml") == Plan.load(folder / "plan.toml")
    assert _fedhome(folder, "plan", "show", "again.toml").stdout == shown.stdout


def test_a_plan_is_shown_with_settings_changed(folder: Path) -> None:
    sets = ["--set", "rounds.count=7", "--set", "data.target=heat"]
    shown = Plan.parse(tomllib.loads(_fedhome(folder, "plan", "show", *sets).stdout))
    assert shown == Plan.load(sets=sets[1::2])
    explained = _fedhome(folder, "plan", "explain", "plan.toml", *sets).stdout
    assert "7 (default" in explained
    numbers = _fedhome(folder, "plan", "numbers", "--set", "aggregation.mode=plain")
    assert numbers.stdout != _fedhome(folder, "plan", "numbers").stdout
    wrong = _fedhome(folder, "plan", "show", "--set", "rounds.cuont=7")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "did you mean" in wrong.stderr


def test_a_plan_is_not_printed_into_its_own_file(folder: Path) -> None:
    """The shell empties it first: what came was a plan of nothing but defaults."""
    path = folder / "mine.toml"
    mine = Plan.load(sets=["rounds.count=7"]).to_toml()
    path.write_text(mine)
    for mode, left, why in (
        ("a", mine, "would stand there twice"),
        ("w", "", "the shell has emptied it already"),
    ):
        with path.open(mode) as out:
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    "from fedhome.cli import main; main()",
                    "plan",
                    "show",
                    path,
                ],
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert why in done.stderr
        assert path.read_text() == left


def test_every_setting_is_explained(folder: Path) -> None:
    done = _fedhome(folder, "plan", "explain", "plan.toml")
    assert done.returncode == 0
    for section, fields in Plan().model_dump().items():
        names = fields if isinstance(fields, dict) else ()
        for name in names:
            assert f"{section}.{name}" in done.stdout
    assert "16 (default" in done.stdout  # train.batch_size, as the plan has it
