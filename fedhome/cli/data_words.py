"""What was read of homes' files, as tables of a terminal: homes that are read alike share one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.markup import escape
from rich.table import Table

from fedhome.cli import ages
from fedhome.cli.console import Console, say
from fedhome.cli.row_blocks import fits
from fedhome.counted import counted
from fedhome.data.read_report import aligned, alike, length
from fedhome.data.table import CLOCKS_APART_S
from fedhome.data.told_once import some, told_once

if TYPE_CHECKING:
    from fedhome.data.homes_folder import FolderRead
    from fedhome.data.read_report import ColumnReport, HomeReport

_HOMES = 8  # homes of a table that get a line
_WORDS = 5  # words of a column that are shown
_READ = ("number", "flag", "words")
_USUAL = ("", "decimal point", "numbers", "whole numbers")  # formats that are not worth a word


def print_homes(console: Console, read: FolderRead) -> None:
    """Print how homes were read, what they have in common, and who was left out.

    Args:
        console: Where.
        read: The homes.
    """
    groups = alike(read.reports)
    for number, reports in enumerate(groups):
        if number:
            console.print()
        print_alike(console, reports)
    if len(groups) > 1:
        say(console, f"\n{_in_common(groups)}", wrapped=True)
    print_notes(console, read)


def _in_common(groups: Sequence[Sequence[HomeReport]]) -> str:
    """Return which columns all homes have, a column that holds nothing being none."""
    read = [{same[0].name for same in _columns(group)} for group in groups]
    shared = set.intersection(*read)
    if shared:
        return f"all homes have: {', '.join(sorted(shared))}"
    return (
        "no column is in all homes: where some call the same thing by another name, data.rename "
        "in homes.toml gives it one"
    )


def print_notes(console: Console, read: FolderRead) -> None:
    """Print what the readers noticed, and who was left out, why, and what to do about it."""
    for note in (*read.notes, *ahead_of_clock(read)):
        say(console, f"note: {note}", wrapped=True)
    for told in told_once((item.home, f"{item.reason}\n{item.hint}") for item in read.excluded):
        reason, _, hint = told.partition("\n")
        say(console, f"left out: {reason}", wrapped=True)
        if hint:
            say(console, f"  {hint}", wrapped=True)


def ahead_of_clock(read: FolderRead) -> list[str]:
    """Return sentences on homes whose newest reading is yet to come, by this machine's clock."""
    now, why = ages.now(), "or the order of its dates"
    return told_once(
        (
            home.home,
            f"its newest reading is {ages.of_reading(newest, now)}, {why}",
        )
        for home in read.homes
        if home.rows
        and not home.timeless
        and (newest := int(home.time_s[-1])) > now + CLOCKS_APART_S
    )


def print_alike(console: Console, reports: Sequence[HomeReport]) -> None:
    """Print how homes were read that were read alike.

    Args:
        console: Where.
        reports: One a home, at least one.
    """
    first = reports[0]
    names = [report.home for report in reports]
    title = names[0] if len(names) == 1 else f"{len(names)} homes read alike: {some(names)}"
    console.print(f"[bold]{escape(title)}[/]", highlight=False)
    for how in first.formats:
        say(console, f"files: {how}", wrapped=True)
    if first.time is None:
        say(console, "times: none; rows keep their order", wrapped=True)
    else:
        columns = " and ".join(first.time.columns)
        say(
            console,
            f"times: {columns}, {first.time.format}; zone {first.time.time_zone}",
            wrapped=True,
        )
    table = _columns_table(reports)
    if fits(console, table, prose=("is",)):
        console.print(table)
    else:
        for same in _columns(reports):
            say(console, f"{same[0].name}: {_sentence(same)}", wrapped=True)
    table = _homes_table(reports)
    if fits(console, table, prose=("gaps",)):
        console.print(table)
    else:
        for report in reports[:_HOMES]:
            say(console, f"{report.home}: {_times(report)}", wrapped=True)
        if (more := len(reports) - _HOMES) > 0:
            say(console, f"and {counted(more, 'home')} more", wrapped=True)


def _columns(reports: Sequence[HomeReport]) -> list[list[ColumnReport]]:
    """Return each column that is read, in all of the homes."""
    return [same for same in aligned(reports) if same[0].kind in _READ]


def _sentence(same: Sequence[ColumnReport]) -> str:
    first = _number(same[0].first)
    parts = [_kind(same), f"first {first}" if first else "", _range(same)]
    if missing := sum(c.missing for c in same):
        parts.append(f"{missing:,} missing")
    if jumps := sum(c.jumps for c in same):
        parts.append(counted(jumps, "jump"))
    return ", ".join(part for part in parts if part)


def _times(report: HomeReport) -> str:
    cells = _home_cells(report)
    if len(cells) == 1:
        return f"{cells[0]} rows"
    return f"{cells[0]} rows, {cells[1]} to {cells[2]}, every {cells[3]}, gaps: {cells[4]}"


def _columns_table(reports: Sequence[HomeReport]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("column", overflow="fold")
    table.add_column("is", overflow="fold")
    table.add_column("first", justify="right", overflow="fold")
    table.add_column("least to greatest", justify="right", overflow="fold")
    table.add_column("missing", justify="right")
    table.add_column("jumps", justify="right")
    for same in _columns(reports):
        table.add_row(
            escape(same[0].name),
            escape(_kind(same)),
            _number(same[0].first),
            _range(same),
            f"{sum(c.missing for c in same):,}",
            f"{sum(c.jumps for c in same):,}",
        )
    return table


def _kind(same: Sequence[ColumnReport]) -> str:
    column = same[0]
    parts = [column.kind if column.kind != "number" or not column.unit else column.unit]
    if column.format not in _USUAL and column.kind != "words":
        parts.append(column.format)
    if column.source != column.name:
        parts.append(f"called {column.source!r}")
    if words := sorted({word for c in same for word in c.words}):
        more = " …" if len(words) > _WORDS else ""
        parts.append(f"{', '.join(words[:_WORDS])}{more}")
    return "; ".join(parts)


def _range(same: Sequence[ColumnReport]) -> str:
    least = [c.least for c in same if c.least is not None]
    greatest = [c.greatest for c in same if c.greatest is not None]
    return f"{_number(min(least))} to {_number(max(greatest))}" if least and greatest else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _homes_table(reports: Sequence[HomeReport]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("home", overflow="fold")
    table.add_column("rows kept", justify="right", overflow="fold")
    if reports[0].time is not None:
        table.add_column("from")
        table.add_column("to")
        table.add_column("step", justify="right")
        table.add_column("gaps", justify="right")
    for report in reports[:_HOMES]:
        table.add_row(escape(report.home), *_home_cells(report))
    if (more := len(reports) - _HOMES) > 0:
        table.add_row(f"… {more:,} more", *[""] * (len(table.columns) - 1))
    return table


def _home_cells(report: HomeReport) -> list[str]:
    """Return rows kept, and of times the first, the last, the step and the gaps."""
    kept = f"{report.rows_kept:,}"
    if report.rows_kept != report.rows_read:
        kept += f" of {report.rows_read:,}"
    if report.time is None:
        return [kept]
    zone = ZoneInfo(report.time.time_zone)
    gaps = f"{report.time.gaps:,}"
    if report.time.longest_gap_s:
        gaps += f", longest {length(report.time.longest_gap_s)}"
    begin, end = (_moment(at, zone) for at in (report.time.begin, report.time.end))
    return [kept, begin, end, length(report.time.step_s), gaps]


def _moment(seconds: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M")
