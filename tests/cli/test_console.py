"""Names from files, models and servers on a terminal: they move no cursor, and hide nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.markup import escape
from rich.table import Table

import fedhome.cli
from fedhome.cli.console import Console
from helpers.command import fedhome as typed

EVIL = "load\x1b[2J\u202edlo\x9b1A"
TOLD = r"load\x1b[2J\u202edlo\x9b1A"


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_text_in_lines_and_tables_is_shown(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, color_system=None, width=100)
    table = Table(EVIL, title=escape(EVIL))
    table.add_row(escape(EVIL))
    console.print(table)
    console.print(f"[bold]model[/] of {escape(EVIL)}", highlight=False, soft_wrap=True)
    console.print("two\nlines\tand :b: [kWh\\]")
    told = out.getvalue()
    assert told.count(TOLD) == 4
    assert not {"\x1b", "\x9b", "\u202e"} & set(told.replace("\x1b[1m", "").replace("\x1b[0m", ""))
    assert "two\nlines" in told
    assert ":b:" in told  # no picture in its place


def test_a_column_that_would_clear_the_screen(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-01T{hour:02d}:00Z,{hour}\n" for hour in range(3))
    (tmp_path / "home.csv").write_text(f"time,{EVIL}\n{rows}", encoding="utf-8")
    said = typed("data", "check", "home.csv", folder=tmp_path)
    assert said.returncode == 0
    assert TOLD in said.stdout
    assert "\x1b" not in said.stdout
    refused = typed("data", "check", "home.csv", "--set", "data.time=tiem", folder=tmp_path)
    assert refused.returncode == 1
    assert TOLD in refused.stderr
    assert "\x1b" not in refused.stderr


def test_every_command_prints_by_it() -> None:
    folder = Path(fedhome.cli.__file__).parent
    own = {
        path.name
        for path in folder.glob("*.py")
        if "rich.console import Console" in path.read_text()
    }
    assert own == set()
