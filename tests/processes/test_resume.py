"""Chaos: a run that is killed twice, in the midst of a round, ends with the very same model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fedhome
from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from helpers import tiny

_ROUNDS = 40


def _killed_after(round_number: int, folder: Path, *arguments: str) -> None:
    """Start ``fedhome simulate`` and kill it as soon as it has told of so many rounds."""
    command = [sys.executable, "-c", "from fedhome.cli import main; main()", "simulate"]
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"round {round_number}/"):
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL


def _rounds_told(run: RunFolder) -> list[int]:
    return [
        int(str(event.data["round"]))
        for event in run.read_events()
        if event.event == "round-closed"
    ]


def test_a_run_killed_twice_ends_with_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    plan = Plan.load(**tiny.SETTINGS).change(
        data={"source": tiny.write_source(tmp_path)},
        rounds={"count": _ROUNDS, "fraction": 0.7, "checkpoint_every": 3},
        strategy={"name": "fedadam", "args": {"eta": 0.01}},
        personalise={"name": "none"},
    )
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    whole = fedhome.simulate(plan, out=tmp_path / "whole")

    run = RunFolder(tmp_path / "cut")
    _killed_after(4, tmp_path, "plan.toml", "--out", "cut")
    first = _rounds_told(run)
    assert 4 <= first[-1] < _ROUNDS
    assert not run.model_path.exists()

    _killed_after(first[-1] + 4, tmp_path, "--resume", "cut")
    second = _rounds_told(run)
    begun = second[len(first)]
    assert begun in {first[-1] - 1, first[-1], first[-1] + 1}  # every third round is kept
    assert first[-1] < second[-1] < _ROUNDS

    with run.events_path.open("ab") as log:  # the power fails while a line is written
        log.write(b'{"data": {"round": 9')
    left_behind = run.path / ".model.safetensors.tmp"
    left_behind.write_bytes(b"half a model")
    ended = fedhome.resume(run.path)

    assert run.model_path.read_bytes() == whole.folder.model_path.read_bytes()
    assert ended.rounds["round"].to_pylist() == list(range(1, _ROUNDS + 1))
    timeless = [name for name in ended.rounds.column_names if not name.startswith("seconds")]
    assert ended.rounds.select(timeless).equals(whole.rounds.select(timeless))
    assert run.finished
    assert not left_behind.exists()
    told = [event.event for event in run.read_events()]
    assert told.count("run-started") == 1
    assert told.count("run-resumed") == 2
    assert told.count("log-repaired") == 1
    assert told.count("home-excluded") == 1
    assert told[-1] == "run-finished"


def test_a_run_killed_after_its_last_round_goes_on_to_personalise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def dying(event: Event) -> None:
        if event.event == "personalising":
            raise Killed

    monkeypatch.syspath_prepend(tmp_path)
    plan = Plan.load(**tiny.SETTINGS).change(data={"source": tiny.write_source(tmp_path)})
    whole = fedhome.simulate(plan, out=tmp_path / "whole")
    with pytest.raises(Killed):
        fedhome.simulate(plan, out=tmp_path / "cut", on_event=dying)
    ended = fedhome.resume(tmp_path / "cut")
    assert ended.homes.equals(whole.homes)
    assert ended.rounds.num_rows == whole.rounds.num_rows
