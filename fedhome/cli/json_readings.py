"""What ``fedhome client record | inspect | exclude`` print with `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedhome.clients.recorded.recording import Filling, Recorded


@dataclass(frozen=True, kw_only=True)
class LineRefused:
    """A line that was not recorded.

    Args:
        line: Its number, from 1.
        why: What is wrong with it.
        partly: Whether all of it was recorded but for a column that the plan does not use.
    """

    line: int
    why: str
    partly: bool


@dataclass(frozen=True, kw_only=True)
class RowsRecorded:
    """What became of readings that came: those that count here are on the disk.

    Args:
        source: The file; ``-`` for standard input; or the broker's address.
        lines: How many lines of it have come by now, or messages; null of a file that is no text of
            rows.
        rows: Rows that came since the last such line, and were understood.
        new: Rows of a time that was not there.
        filled: Rows that completed one of their time.
        replaced: Rows that put another reading in the place of an earlier one.
        known: Rows that brought nothing new, or came with another of their time.
        late: Of the new ones, those older than the newest row that was there.
        gone: Rows that were too old to be kept, of those that came and of those that were there.
        refused: Lines that were not recorded.
        notes: What was assumed, converted or left out, a sentence each, once.
    """

    source: str
    lines: int | None
    rows: int
    new: int
    filled: int
    replaced: int
    known: int
    late: int
    gone: int
    refused: list[LineRefused]
    notes: list[str]


def rows_recorded(source: str, done: Recorded, lines: int | None = None) -> RowsRecorded:
    """Return what became of readings.

    Args:
        source: Where they came from.
        done: What was recorded.
        lines: Lines that have come so far.
    """
    return RowsRecorded(
        source=source,
        lines=lines,
        rows=done.rows,
        new=done.new,
        filled=done.filled,
        replaced=done.replaced,
        known=done.known,
        late=done.late,
        gone=done.gone,
        refused=[LineRefused(**one._asdict()) for one in done.refused],
        notes=list(done.notes),
    )


def filling_recorded(filling: Filling) -> RowsRecorded:
    """Return what a store began with."""
    return RowsRecorded(
        source=filling.source,
        lines=None,
        rows=filling.rows,
        new=filling.rows,
        filled=0,
        replaced=0,
        known=0,
        late=0,
        gone=0,
        refused=[],
        notes=list(filling.notes),
    )
