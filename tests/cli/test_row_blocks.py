"""A table is printed where it fits; elsewhere each row is a paragraph that says all of it."""

from __future__ import annotations

import pytest
from rich.table import Table

from fedhome.cli.console import Console
from fedhome.cli.row_blocks import print_rows


def printed(width: int, *, prose: str = "") -> list[str]:
    table = Table(title="home oak", show_edge=False)
    for name in ("day", "hash", "what", "note"):
        table.add_column(name)
    table.add_row("2026-11-30", "aca5a73f88cc", "a sentence of thirty letters!!", "")
    table.add_row("2026-12-01", "315dc7cc8956", "the other [bold]one[/bold]", "kept")
    console = Console(width=width, record=True)
    print_rows(console, table, prose=prose)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_table_stays_one_where_it_fits() -> None:
    lines = printed(75)
    assert any("2026-11-30" in line and "aca5a73f88cc" in line for line in lines)
    assert not any("day 2026" in line for line in lines)


@pytest.mark.parametrize("width", [30, 45, 64])
def test_what_would_be_cut_is_told_row_by_row(width: int) -> None:
    lines = printed(width)
    assert [line for line in lines if not line.startswith("  ")] == [
        "home oak",
        "day 2026-11-30",
        "day 2026-12-01",
    ]
    assert max(map(len, lines)) <= width
    told = " ".join(line.strip() for line in lines)
    assert "hash aca5a73f88cc, what a sentence of thirty letters!! day 2026-12-01" in told
    assert told.endswith("hash 315dc7cc8956, what the other one, note kept")


def test_sentences_may_be_broken_so_that_a_table_fits() -> None:
    assert printed(64)[1] == "day 2026-11-30"
    assert not any(line.startswith("day 2026") for line in printed(64, prose="what"))
