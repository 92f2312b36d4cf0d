"""``fedhome privacy plan``: what it prints, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import command

pytestmark = pytest.mark.long


def _said(folder: Path, *arguments: str) -> command.Said:
    return command.fedhome("privacy", "plan", *arguments, folder=folder)


def test_what_is_realistic(tmp_path: Path) -> None:
    done = _said(tmp_path, "--homes", "1000", "--epsilon", "8", "--rounds", "100")
    told = " ".join(done.stdout.split())
    assert done.returncode == 0
    assert "noise for epsilon 8 at delta 1e-05, 100 rounds, 1,000 homes" in told
    assert "6.72 clips, in their sum" in told
    assert "realistic: a round's noise is 0.66 clips long" in told
    assert "not realistic" not in told


def test_what_is_not_and_what_to_do(tmp_path: Path) -> None:
    done = _said(tmp_path, "--homes", "50", "--epsilon", "2", "--rounds", "100")
    told = " ".join(done.stdout.split())
    assert done.returncode == 0
    assert "not realistic: a round's noise is" in told
    assert told.endswith("one of these would do: about 2,300 homes")
    assert "largest model │ none: 0.58" in told


def test_several_ways_out_are_told(tmp_path: Path) -> None:
    done = _said(tmp_path, "--homes", "500", "--epsilon", "8", "--rounds", "100")
    assert "a model of at most 3,3" in (told := " ".join(done.stdout.split()))
    assert " rounds in place of 100; or epsilon 1" in told


def test_a_plans_own_settings_count(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("[aggregation]\ndropped = 0.0\ncorrupt = 0.0\n")
    common = ("--homes", "1000", "--epsilon", "8", "--rounds", "100")
    assert "that of 999 homes" in _said(tmp_path, "plan.toml", *common).stdout
    assert "that of 600 homes" in _said(tmp_path, *common).stdout


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--homes", "3", "--epsilon", "8", "--rounds", "9"), "noise takes 5 at least"),
        (
            ("--homes", "99", "--epsilon", "8", "--rounds", "9", "--parameters", "99999999"),
            "an update by 31% of the clip hint: set aggregation.bits = 18 or more",
        ),
        (
            ("--homes", "99", "--epsilon", "8", "--rounds", "9", "--parameters", "1000000000000"),
            "hint: take a smaller model: 24 bits, the most there are, are too coarse for it",
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], fault: str, tmp_path: Path) -> None:
    done = _said(tmp_path, *arguments)
    assert done.returncode == 1
    assert fault in " ".join(done.stderr.split())
