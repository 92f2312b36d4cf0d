"""``fedhome report --json``: a run's table, and two plans held against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.results import homes_table
from helpers.command import fedhome
from helpers.home_rows import home_row
from helpers.json_guide import checked


def _run(path: Path, seed: int, more: float) -> RunFolder:
    folder = RunFolder.create(path)
    folder.write_plan(f'seed = {seed}\n[data]\nsource = "village"\n[task]\nscore = "skill"\n')
    with EventLog(folder.events_path) as log:
        log.append("fleet-ready", homes=4, score="skill")
    scores = {"trees": 0.4, "alone": 0.3, "personalised": 0.5 + more}
    rows = [
        home_row(f"home-{home}", model, score + home / 10)
        for model, score in scores.items()
        for home in range(4)
    ]
    folder.write_homes(homes_table([*rows, home_row("home-4", "personalised", None)]))
    return folder


@pytest.mark.long
def test_two_plans_with_their_seeds_are_printed_as_described(tmp_path: Path) -> None:
    for seed in (1, 2):
        _run(tmp_path / f"a/{seed}", seed, 0.0)
        _run(tmp_path / f"b/{seed}", seed, seed / 10)
    paths = [str(tmp_path / name) for name in "ab"]
    out = tmp_path / "both.html"
    said = fedhome("report", *paths, "--out", out, "--json", folder=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    told = checked("report", said.stdout)
    assert told["report"] == str(out)
    assert out.exists()
    first, second = told["plans"]
    assert (first["path"], first["seeds"], first["score"]) == (paths[0], [1, 2], "skill")
    rows = {row["model"]: row for row in second["models"]}
    assert (rows["personalised"]["homes"], rows["personalised"]["left_out"]) == (4, 1)
    assert rows["personalised"]["mean"] == pytest.approx(0.65 + 0.15)
    assert rows["personalised"]["gain"] == pytest.approx(0.35)
    assert rows["trees"]["gain"] is None
    assert second["over_strongest"]["alone"] == "trees"
    assert second["over_strongest"]["gain"] == pytest.approx(0.25)
    (gain,) = told["second_less_first"]
    assert (gain["model"], gain["homes"]) == ("personalised", 4)
    assert gain["mean"] == pytest.approx(0.15)
    assert told["not_compared"] is None


@pytest.mark.long
def test_what_is_not_known_is_null_and_why_nothing_was_compared_is_told(tmp_path: Path) -> None:
    one = _run(tmp_path / "a", 1, 0.0)
    bare = RunFolder.create(tmp_path / "b")
    bare.write_plan(one.plan_text())
    bare.events_path.touch()
    paths = [str(run.path) for run in (one, bare)]
    told = checked("report", fedhome("report", *paths, "--json", folder=tmp_path).stdout)
    assert told["report"] == "comparison.html"
    (_, other) = told["plans"]
    assert (other["models"], other["over_strongest"], other["score"]) == ([], None, "skill")
    assert (told["plans"][0]["unscored"], other["unscored"]) == ([], [str(bare.path)])
    assert "scores of homes" in told["not_compared"]
    assert told["second_less_first"] == []
