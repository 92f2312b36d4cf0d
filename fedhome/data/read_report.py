"""What was read of homes' files, and how: for people, for programs, for a run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.data.told_once import some

_JUMP = 10  # times what nearly all changes stay within
_NEARLY_ALL = 0.99
_GAP = 1.5  # steps
_STEPS = 3  # that are named in a line


@dataclass(frozen=True, kw_only=True)
class TimeReport:
    """A home's time axis.

    Args:
        columns: Columns that it comes from.
        format: How times are written, in words.
        time_zone: IANA name of the home's zone.
        begin: First time, UTC seconds since 1970.
        end: Last time, the same.
        step_s: The commonest gap between rows, s; 0 of fewer than two rows.
        gaps: How many gaps are longer than one and a half steps.
        longest_gap_s: The longest of them, s; 0 where there is none.
    """

    columns: tuple[str, ...]
    format: str
    time_zone: str
    begin: int
    end: int
    step_s: int
    gaps: int
    longest_gap_s: int

    @classmethod
    def of(
        cls,
        time_s: NDArray[np.int64],
        *,
        columns: Sequence[str],
        format: str,  # noqa: A002 - as the field
        time_zone: str,
    ) -> TimeReport:
        """Describe an axis, int64 ``[rows]``, increasing, of at least one row."""
        between = np.diff(time_s)
        lengths, counts = np.unique(between, return_counts=True)
        step_s = int(lengths[counts.argmax()]) if len(lengths) else 0
        gaps = between[between > _GAP * step_s]
        return cls(
            columns=tuple(columns),
            format=format,
            time_zone=time_zone,
            begin=int(time_s[0]),
            end=int(time_s[-1]),
            step_s=step_s,
            gaps=len(gaps),
            longest_gap_s=int(gaps.max()) if len(gaps) else 0,
        )


@dataclass(frozen=True, kw_only=True)
class ColumnReport:
    """A column as it was read.

    Args:
        name: Its name in a plan.
        source: Its name in the file.
        kind: ``number``, ``flag`` (0 and 1), ``words``, ``empty`` or ``left out``.
        unit: Its unit, where header or cells say one.
        format: How its cells are written, in words.
        words: Its classes, where it holds words.
        first: First value; None where there is none, or a word.
        last: Last value, the same.
        least: Least value, the same.
        greatest: Greatest value, the same.
        missing: Rows without a reading.
        jumps: Changes from one reading to the next that are ten times greater than 99 of 100.
    """

    name: str
    source: str
    kind: str
    unit: str = ""
    format: str = ""
    words: tuple[str, ...] = ()
    first: float | None = None
    last: float | None = None
    least: float | None = None
    greatest: float | None = None
    missing: int = 0
    jumps: int = 0

    @classmethod
    def of(
        cls,
        values: NDArray[np.float64],
        *,
        name: str,
        source: str,
        kind: str,
        unit: str = "",
        format: str = "",  # noqa: A002 - as the field
        words: Sequence[str] = (),
    ) -> ColumnReport:
        """Describe a column's values, float64 ``[rows]`` in the order of time."""
        read = values[np.isfinite(values)]
        measured = bool(len(read)) and kind != "words"
        return cls(
            name=name,
            source=source,
            kind=kind,
            unit=unit,
            format=format,
            words=tuple(words),
            first=float(read[0]) if measured else None,
            last=float(read[-1]) if measured else None,
            least=float(read.min()) if measured else None,
            greatest=float(read.max()) if measured else None,
            missing=len(values) - len(read),
            jumps=_jumps(read) if kind == "number" else 0,
        )


@dataclass(frozen=True, kw_only=True)
class HomeReport:
    """What was read of a home's files.

    Args:
        home: The home's name.
        files: Each file and how it was read, in words.
        rows_read: Rows of the files.
        rows_kept: Rows that are left; the notes say what became of the others.
        time: The time axis; None where rows have no times.
        columns: The columns, in the order of the file.
        notes: What was assumed, converted or left out, in plain sentences.
    """

    home: str
    files: tuple[str, ...]
    rows_read: int
    rows_kept: int
    time: TimeReport | None
    columns: tuple[ColumnReport, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HomeReport:
        """Return the report of what `to_dict` gave, also after JSON.

        Raises:
            TypeError: It is no report.
        """
        time = None if data["time"] is None else TimeReport(**_tuples(data["time"]))
        columns = tuple(ColumnReport(**_tuples(column)) for column in data["columns"])
        return cls(**{**_tuples(data), "time": time, "columns": columns})

    @property
    def formats(self) -> tuple[str, ...]:
        """How the files are written, each way once."""
        return tuple(dict.fromkeys(file.partition(": ")[2] for file in self.files))


def alike(reports: Iterable[HomeReport]) -> list[list[HomeReport]]:
    """Return homes whose files were read alike together, the most of them first.

    The order of their columns is nobody's concern: these are found by their names.
    """
    groups: dict[object, list[HomeReport]] = {}
    for report in reports:
        time = report.time and (report.time.columns, report.time.format, report.time.time_zone)
        columns = frozenset((c.name, c.source, c.kind, c.unit, c.format) for c in report.columns)
        groups.setdefault((report.formats, time, columns), []).append(report)
    return sorted(groups.values(), key=len, reverse=True)


def aligned(same: Sequence[HomeReport]) -> list[list[ColumnReport]]:
    """Return each column of homes that were read alike, in all of them."""
    by_name = [{column.name: column for column in report.columns} for report in same]
    return [[columns[column.name] for columns in by_name] for column in same[0].columns]


def in_short(same: Sequence[HomeReport]) -> str:
    """Say in a line how homes were read that were read alike."""
    first = same[0]
    kept, read = sum(r.rows_kept for r in same), sum(r.rows_read for r in same)
    rows = f"{counted(kept, 'row')}" if kept == read else f"{kept:,} of {read:,} rows kept"
    axis = "no times"
    if first.time is not None:
        steps = sorted({length(r.time.step_s) for r in same if r.time is not None})
        axis = (
            f"times from {' and '.join(first.time.columns)} ({first.time.format}, zone "
            f"{first.time.time_zone}), every {' or '.join(steps[:_STEPS])}"
        )
    columns = (_named(c) for c in first.columns if c.kind not in {"left out", "empty"})
    homes = some([report.home for report in same])
    return f"{homes}: {rows}; {axis}; {', '.join(columns)}"


def _named(column: ColumnReport) -> str:
    """Return a column's name with its unit, once, or its kind."""
    what = column.unit or column.kind
    said = column.unit and column.name.endswith((f"({what})", f"[{what}]"))
    return column.name if said else f"{column.name} ({what})"


def length(seconds: int) -> str:
    """Return a length of time in its greatest whole unit: 15 min, 1 h, 36 h, 12 d."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size or seconds == size:
            value = seconds / size
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
    return f"{seconds} s"


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(it) if isinstance(it, list) else it for key, it in data.items()}


def _jumps(read: NDArray[np.float64]) -> int:
    scale = np.abs(read).max(initial=0)
    if not scale:
        return 0
    changes = np.abs(np.diff(read / scale))  # numbers at the end of what there is stay within it
    usual = np.quantile(changes, _NEARLY_ALL) if len(changes) else 0.0
    # Where nearly nothing changes, what does is a step from one state to another, not a jump.
    return int(np.sum(changes > _JUMP * usual)) if usual > 0 else 0
