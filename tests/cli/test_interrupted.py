"""Ctrl-C from the first moment on: a sentence and status 130, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fedhome.run.ended_early import Interrupted, resumable
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.progress import ProgressLines
from helpers import command

# In place of what is imported first: it is interrupted there, as by a Ctrl-C just then.
INTERRUPTS = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport json, uuid, decimal\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a POSIX system")
def test_ctrl_c_while_the_command_line_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(INTERRUPTS)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "fedhome", "reasons"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: nothing was done\n"


def test_ctrl_c_while_a_group_of_commands_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedhome.cli.import_module", interrupted)
    said = command.fedhome("reasons", folder=tmp_path)
    assert said == command.Said(130, "", "interrupted\n")


def test_ctrl_c_before_the_first_round_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedhome.simulations.simulate.log_start", interrupted)
    said = command.fedhome("simulate", "--out", "run", folder=tmp_path)
    assert (said.returncode, said.stderr) == (130, "interrupted\n")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_a_run_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ProgressLines.line

    def interrupted(lines: ProgressLines, event: Event) -> str:
        if event.event == "round-closed" and event.data["round"] == 2:
            raise KeyboardInterrupt
        return shown(lines, event)

    monkeypatch.setattr(ProgressLines, "line", interrupted)
    sets = ("data.homes=5", "rounds.count=3", "aggregation.mode=ideal")
    typed = [word for setting in sets for word in ("--set", setting)]
    said = command.fedhome("simulate", *typed, "--out", "my run", folder=tmp_path)
    assert said.returncode == 130, said
    told = "interrupted\nhint:  `fedhome simulate --resume 'my run'` goes on with it\n"
    assert said.stderr == told
    monkeypatch.undo()
    again = command.fedhome("simulate", "--resume", "my run", folder=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("ends", "status", "told"),
    [(KeyboardInterrupt, 130, "interrupted\n"), (EOFError, 1, "Aborted.")],
)
def test_ctrl_c_at_a_question_ends_a_command_as_anywhere(
    ends: type[BaseException],
    status: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of the input is for want of an answer, as ever."""

    def asked(*_: object, **__: object) -> str:
        try:
            raise ends
        except (KeyboardInterrupt, EOFError):  # as click has it
            raise typer.Abort from None

    monkeypatch.setattr("fedhome.cli.fleet.passphrase_of", asked)
    said = command.fedhome("fleet", "init", "mine", folder=tmp_path)
    assert said.returncode == status
    assert told in said.stderr
    assert ("Aborted" in said.stderr) == (status == 1)


def test_ctrl_c_after_the_last_round_does_not_send_to_a_resume(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    with EventLog(folder.events_path) as log:
        log.append("run-started")
        log.append("run-finished", seconds=1.0)
    with (
        pytest.raises(Interrupted, match="the run is finished: `fedhome report"),
        resumable(folder),
    ):
        raise KeyboardInterrupt
