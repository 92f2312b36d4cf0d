"""How a run's readings were read, for its report: homes that were read alike share a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedhome.data.read_report import ColumnReport, HomeReport, aligned, alike, in_short


@dataclass(frozen=True)
class ReadingGroup:
    """Homes that were read alike.

    Args:
        title: Who they are, how their times were read, and how many rows were kept.
        rows: Cells of a row a column: name, how it was read, least, greatest, missing.
    """

    title: str
    rows: list[tuple[str, ...]]


def reading_groups(reports: Sequence[HomeReport]) -> list[ReadingGroup]:
    """Return the groups of homes that were read alike, the greatest first."""
    return [
        ReadingGroup(
            title=in_short(same),
            rows=[_cells(column) for column in aligned(same)],
        )
        for same in alike(reports)
    ]


def _cells(same: Sequence[ColumnReport]) -> tuple[str, ...]:
    column = same[0]
    parts = [column.kind, column.unit, column.format]
    if column.source != column.name:
        parts.append(f"called {column.source} in the files")
    least = [c.least for c in same if c.least is not None]
    greatest = [c.greatest for c in same if c.greatest is not None]
    return (
        column.name,
        ", ".join(part for part in parts if part),
        f"{min(least):.6g}" if least else "",
        f"{max(greatest):.6g}" if greatest else "",
        f"{sum(c.missing for c in same):,}",
    )
