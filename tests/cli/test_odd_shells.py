"""Commands where a shell gives them less than usual: no folder, no output, names of two lines."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fedhome
from fedhome.__main__ import _write_any_letter
from fedhome.errors import SourceError
from helpers import command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell's")

_OPEN = (
    "import os; from fedhome.__main__ import _open_streams as mend; mend(); "
    "at = os.open('kept', os.O_RDWR | os.O_CREAT); os.write(at, bytes([at])); "
    "os.write(2, b'an error of a library')"
)


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    told = "error: the current folder is gone\nhint:  go to one that is there: `cd`\n"
    no_run = (
        "error: runs/a holds no run\n"
        "hint:  the current folder is gone; go to one that is there: `cd`\n"
    )
    for words, says in (
        (("plan", "show"), told),
        (("new", "mine"), told),
        (("report", "runs/a"), no_run),
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "fedhome", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == says


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_place_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", _OPEN]
    subprocess.run(words, cwd=tmp_path, check=True)
    kept = (tmp_path / "kept").read_bytes()
    assert len(kept) == 1, "an error was written into a file"
    assert kept[0] > 2


@pytest.mark.parametrize("name", ["a\nb", os.fsdecode(b"k\xff"), "", "x" * 256])
def test_a_home_has_a_name_of_one_line(name: str) -> None:
    with pytest.raises(SourceError, match="cannot be the name of a home"):
        fedhome.HomeTable(home=name, time_s=np.zeros(1, np.int64), columns={})


def test_names_with_quotes_and_pictures_are_names(tmp_path: Path) -> None:
    folder = tmp_path / 'my "homes"\nof today'
    folder.mkdir()
    hours = [f"2026-01-{1 + hour // 24:02d} {hour % 24:02d}:00" for hour in range(288)]
    for place, home in enumerate(("oak", "o'malley", '"q"', "🏠", "a\nb", os.fsdecode(b"k\xff"))):
        rows = (f"{hour},{(place + number * 7) % 13}" for number, hour in enumerate(hours))
        (folder / f"{home}.csv").write_text("\n".join(["time,load", *rows]) + "\n")
    words = ("data", "check", str(folder), "--set", "data.target=load")
    said = command.fedhome(*words, folder=tmp_path)
    for home in ("oak", "o'malley", '"q"', "🏠"):
        assert f"\n{home} " in said.stdout
    assert "'a\\nb' has characters in its name that cannot be shown" in said.stdout
    assert "'k\\udcff' has characters in its name that cannot be shown" in said.stdout


def test_a_letter_that_the_terminals_encoding_lacks_ends_no_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    _write_any_letter()
    plan = 'unit = "°C" # Außentemperatur\nhome = "🏠"'
    print(plan)  # noqa: T201 - what a command does
    sys.stdout.flush()
    told = written.getvalue().decode("ascii")
    assert told == 'unit = "\\u00B0C" # Au\\u00DFentemperatur\nhome = "\\U0001F3E0"\n'
    assert tomllib.loads(told) == tomllib.loads(plan), "a plan in a file means the same"
