"""A table is printed where it fits; elsewhere each row is a paragraph that says all of it."""

from __future__ import annotations

import pytest
from rich.table import Table

from fedhome.cli.console import Console
from fedhome.cli.row_blocks import print_facts, print_rows


def printed(width: int, *, prose: tuple[str, ...] = ()) -> list[str]:
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
    assert not any(line.startswith("day 2026") for line in printed(64, prose=("what",)))


def test_sentences_stand_on_lines_of_their_own_and_no_other_cell_is_broken() -> None:
    assert printed(45, prose=("what",))[1:4] == [
        "day 2026-11-30",
        "  hash aca5a73f88cc",
        "  what: a sentence of thirty letters!!",
    ]
    table = printed(62, prose=("what",))
    assert any("aca5a73f88cc" in line and "a sentence of" in line for line in table)


@pytest.mark.parametrize("width", [45, 80])
def test_a_row_of_a_name_and_what_is_said_of_it_has_no_other_words(width: int) -> None:
    table = Table(title="noise", show_edge=False)
    for name in ("quantity", "value, and why"):
        table.add_column(name)
    table.add_row("noise that a home counts on", "that of 600 homes: 30% may vanish")
    console = Console(width=width, record=True)
    print_rows(console, table, prose=("value, and why",))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    blocks = ["noise", "noise that a home counts on", "  that of 600 homes: 30% may vanish"]
    assert (lines == blocks) is (width == 45)


def test_a_hash_stays_in_one_piece_where_a_table_would_cut_it() -> None:
    facts = {"hash": "9f" * 32, "storage": "float32: 23660 bytes, [bold] 23660", "note": "none"}
    for width in (45, 75, 80, 100):
        console = Console(width=width, record=True)
        print_facts(console, "release 1 of fleet 5f", facts)
        text = console.export_text()
        assert "9f" * 32 in text
        assert "[bold]" in text
        assert ("│" in text) is (width >= 77), text
