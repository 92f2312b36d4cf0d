"""The command line in this process: what a user's would print, without the second that it takes.

::

    said = fedhome("plan", "show", "plan.toml", folder=folder)
    assert (said.returncode, said.stderr) == (0, "")
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from fedhome.cli import main


class Said(NamedTuple):
    """What a command ended with, as `subprocess.CompletedProcess` names it."""

    returncode: int
    stdout: str
    stderr: str


def fedhome(*words: str | Path, folder: Path, typed: str = "") -> Said:
    """Run a command in a folder, whose modules a plan may name; ``typed`` is what it reads."""
    code = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        CliRunner().isolation(input=typed, env={"COLUMNS": "120", "NO_COLOR": "1"}) as streams,
    ):
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setattr(sys, "argv", ["fedhome", *map(str, words)])
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = (stream.getvalue().decode("utf-8") for stream in streams[:2])
    return Said(code, out, err)
