"""Ctrl-C from the first moment on: a sentence and status 130, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
