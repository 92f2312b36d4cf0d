"""Chaos: a run that is killed, each time elsewhere in a round, ends with the very same model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fedhome
from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from helpers import tiny

pytestmark = pytest.mark.long

ROUNDS = 12
# A whole run, and then a process for each command, forked so that nothing is loaded or compiled
# anew. It kills itself right after a step of the rounds, at a round that is named: what is killed
# from outside may be anywhere by then, or have ended.
KILLED = """
import os, signal, sys
import fedhome
import fedhome.simulations.simulate
from fedhome.cli import main
from fedhome.server.rounds.round_loop import RoundLoop

fedhome.simulations.simulate.write_report = lambda *_: None
fedhome.simulate(fedhome.Plan.load("plan.toml"), out="whole")

def mortal(step, closed):
    real = getattr(RoundLoop, step)
    def call(self, *given):
        done = real(self, *given)
        if self.state.round == closed:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(RoundLoop, step, call)

for step, closed, *words in (
    ("_apply", 4, "plan.toml", "--out", "cut"),  # homes have answered in round 5
    ("_after_round", 6, "--resume", "cut"),  # round 6 is told, and its checkpoint not yet written
    ("_apply", 9, "--resume", "cut"),  # it is written, and homes have answered in round 10
):
    child = os.fork()
    if child == 0:
        sys.argv = ["fedhome", "simulate", *words]
        mortal(step, closed)
        main()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (step, status)
    assert not os.path.exists("cut/model.safetensors")
"""


@pytest.mark.usefixtures("no_report")
def test_a_run_killed_again_and_again_ends_with_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    plan = Plan.load(**tiny.SETTINGS).change(
        data={"source": tiny.write_source(tmp_path)},
        rounds={"count": ROUNDS, "fraction": 0.7, "checkpoint_every": 3},
        strategy={"name": "fedadam", "args": {"eta": 0.01}},
        personalise={"name": "none"},
    )
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

    whole, run = fedhome.Result(RunFolder(tmp_path / "whole")), RunFolder(tmp_path / "cut")
    assert run.model_path == tmp_path / "cut" / "model.safetensors"
    with run.events_path.open("ab") as log:  # the power fails while a line is written
        log.write(b'{"data": {"round": 9')
    left_behind = run.path / ".model.safetensors.tmp"
    left_behind.write_bytes(b"half a model")
    ended = fedhome.resume(run.path)

    assert run.model_path.read_bytes() == whole.folder.model_path.read_bytes()
    assert ended.rounds["round"].to_pylist() == list(range(1, ROUNDS + 1))
    timeless = [name for name in ended.rounds.column_names if not name.startswith("seconds")]
    assert ended.rounds.select(timeless).equals(whole.rounds.select(timeless))
    assert run.finished
    assert not left_behind.exists()
    events = run.read_events()
    closed = [event.data["round"] for event in events if event.event == "round-closed"]
    assert closed == [1, 2, 3, 4, 4, 5, 6, 4, 5, 6, 7, 8, 9, 10, 11, 12]  # every third is kept
    told = [event.event for event in events]
    assert told.count("run-started") == 1
    assert told.count("run-resumed") == 3
    assert told.count("log-repaired") == 1
    assert told.count("home-excluded") == 1
    assert told[-1] == "run-finished"


@pytest.mark.usefixtures("no_report")
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
