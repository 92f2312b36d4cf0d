"""Killed between any two writes of its store and its model, a home has lost nothing it promised."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.membership.own_models import OwnModels
from helpers.kept_home import HOME, kept_home, runs_of, write_readings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and cuts open files short")


@pytest.mark.slow
def test_killed_at_any_write_no_acknowledged_reading_is_lost_and_a_whole_model_predicts(
    tmp_path: Path,
) -> None:
    place, runs = kept_home(tmp_path), {}
    for letter, run in (("b", 2), ("a", 1)):
        models = OwnModels(place.path, HOME)
        models.path.unlink(missing_ok=True)
        keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=run)
        (tmp_path / f"{letter}.model").write_bytes(models.read() or b"")
        runs[letter] = f"run {run} of tiny"
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    write_readings(tmp_path / "few.parquet", hours=60)
    place.change_settings(replace(place.settings, data=str(tmp_path / "few.parquet")))
    done = subprocess.run(
        [sys.executable, "-m", "helpers.crash_points", tmp_path],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert [point for point in points if point["faults"]] == []
    kinds = Counter((point["kind"], point["torn"]) for point in points)
    assert kinds["open", False] == kinds["replace", False] > 12
    assert kinds["fsync of a file", True] == kinds["fsync of a file", False] > 12
    assert kinds["fsync", False] > 10
    assert min(kinds[one, False] for one in ("rename", "unlink", "mkdir")) > 0
