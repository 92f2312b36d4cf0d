"""Workbooks (.xlsx) as Arrow tables: numbers and times as they are typed, all else as text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from fedhome.data.files.csv_rows import SUMMARY
from fedhome.data.files.header_rows import (
    CellKind,
    Header,
    find_header,
    kind_of_cell,
    kinds_of_columns,
)
from fedhome.data.files.packed_files import Source
from fedhome.data.files.sheet_guard import refuse_swollen
from fedhome.data.files.table_file import FileTable, lines_left_out, named, units_named, unreadable
from fedhome.data.told_once import some
from fedhome.errors import SourceError

_HEAD = 400
_MOST_SUMMARIES = 5
_SAVE = "save the sheet of readings as CSV in UTF-8"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (sheets know no zones)
_MS = timedelta(milliseconds=1)
Cells = list[Any]


def read_workbook(source: Source) -> Sequence[FileTable]:
    """Read the sheets of a workbook that hold tables; they must have the same columns.

    Args:
        source: The file.

    Raises:
        SourceError: It is no whole workbook, no sheet holds a table, several hold different
            ones, or the library that reads workbooks is not installed.
    """
    try:
        import python_calamine  # noqa: PLC0415  (an extra)
    except ImportError:
        raise unreadable(
            source.name,
            "it is a workbook, and the library that reads those is not installed",
            hint=f"pip install 'fedhome[xlsx]', or {_SAVE}",
        ) from None
    content = source.content()
    refuse_swollen(source.name, content, size=source.size)
    try:
        with python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content)) as book:
            shown = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
                and sheet.visible == python_calamine.SheetVisibleEnum.Visible
            ]
            hidden = [name for name in book.sheet_names if name not in shown]
            sheets = {name: book.get_sheet_by_name(name).to_python() for name in shown}
    except BaseException as error:
        # What panics in the library's Rust comes as an exception that is no Exception.
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise unreadable(source.name, "it is not a whole workbook", hint=_SAVE) from None
    return _tables(source, sheets, hidden)


def _tables(source: Source, sheets: dict[str, list[Cells]], hidden: list[str]) -> list[FileTable]:
    tables: dict[str, _Sheet] = {}
    for name, cells in sheets.items():
        if any(cell != "" for row in cells for cell in row):
            tables[name] = _sheet(f"{source.name}, sheet {name}", cells)
    if not tables:
        raise unreadable(source.name, "no sheet of it holds anything", hint=_SAVE)
    alike = {sheet.columns for sheet in tables.values() if sheet.timed}
    # Rows under the columns of readings are readings, whatever their times look like.
    timed = {
        name: sheet
        for name, sheet in tables.items()
        if sheet.timed or (sheet.rows and sheet.columns in alike)
    }
    used = timed or {name: sheet for name, sheet in tables.items() if sheet.fault is None} or tables
    for sheet in used.values():
        if sheet.fault is not None:
            raise sheet.fault
    columns = {name: sheet.columns for name, sheet in used.items()}
    first = next(iter(columns))
    if odd := next((name for name in columns if columns[name] != columns[first]), None):
        holds = "each with a column of times" if timed else "and none has a column of times"
        raise unreadable(
            source.name,
            f"its sheets hold different tables, {holds}: {first} and {odd}",
            hint=f"{_SAVE}, or take the other sheets out of the workbook",
        )
    found = [sheet.table for sheet in used.values() if sheet.table is not None]
    notes = []
    if others := [name for name in tables if name not in used]:
        what = "without a column of times" if timed else "without a table"
        notes.append(f"{source.name}: sheets {what} were left out: {some(others)}")
    if hidden:
        notes.append(f"{source.name}: hidden sheets were left out: {some(hidden)}")
    return [replace(found[0], notes=(*notes, *found[0].notes)), *found[1:]]


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """What a sheet holds.

    Args:
        table: Its table; None where there is a fault.
        fault: Why it holds no table that can be read.
        timed: Whether most of a column are times: then it holds readings, or would.
    """

    table: FileTable | None = None
    fault: SourceError | None = None
    timed: bool

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(self.table.rows.column_names if self.table else ())

    @property
    def rows(self) -> int:
        return self.table.rows.num_rows if self.table else 0


def _sheet(name: str, cells: list[Cells]) -> _Sheet:
    numbers = _filled(cells)
    head = [[_text(cell) for cell in cells[row]] for row in numbers[:_HEAD]]
    kinds = kinds_of_columns(head, len(cells[0]))
    # Of names and what they stand for (a customer, a meter, the day of the export) some are dates.
    lines = len(head) + _lines(cells[: numbers[0]])
    times = [
        sum(kind_of_cell(row[place]) == "time" for row in head)
        for place, kind in enumerate(kinds)
        if kind == "time"
    ]
    dated = any(2 * count > lines or count == lines - 1 for count in times)
    try:
        return _Sheet(table=_table(name, cells, numbers, head, kinds), timed=dated)
    except SourceError as error:
        # Lines that say from when and until when an export goes are no readings.
        return _Sheet(fault=error, timed=dated and "number" in kinds)


def _filled(cells: list[Cells]) -> list[int]:
    """Return the rows from the first on that is as full as most."""
    numbers = [row for row, here in enumerate(cells) if any(cell != "" for cell in here)]
    filled = [sum(cell != "" for cell in cells[row]) for row in numbers[:_HEAD]]
    start = next(place for place, count in enumerate(filled) if 2 * count >= np.median(filled))
    return numbers[start:]


def _lines(cells: list[Cells]) -> int:
    """Return how many rows hold something."""
    return sum(any(cell != "" for cell in row) for row in cells)


def _table(
    name: str,
    cells: list[Cells],
    numbers: list[int],
    head: list[list[str]],
    kinds: Sequence[CellKind | None],
) -> FileTable:
    header = find_header(head, kinds)
    if header is None or not any(header.names):
        raise SourceError(f"{name} has no header row", hint=_SAVE)
    before = header.row + _lines(cells[: numbers[0]])
    at = numbers[header.row + header.below]
    body = [row for row in numbers if row > at and not _repeats(cells[row], header)]
    times = [place for place, kind in enumerate(kinds) if kind == "time"]
    notes = [f"{name}: lines with nothing or the header in them were left out"]
    if not body or body[-1] - at == len(body):
        notes = []
    if before:
        notes.append(f"{name}: {lines_left_out(before, 'before the header')}")
    sums = _summaries(cells, body, times)
    if sums:
        notes.append(f"{name}: {lines_left_out(sums, 'at the end, beginning as a sum,')}")
        body = body[: len(body) - sums]
    kept = [
        place
        for place, called in enumerate(header.names)
        if called or any(cells[row][place] != "" for row in body)
    ]
    names = named(name, units_named([header.names[place] for place in kept]))
    columns = [_column([cells[row][place] for row in body]) for place in kept]
    places = np.array(body, dtype=np.int64) - at - 1
    return FileTable(
        name=name,
        rows=pa.table(dict(zip(names, columns, strict=True))),
        format="workbook (.xlsx)",
        notes=tuple(notes),
        units={
            called: header.units[place]
            for called, place in zip(names, kept, strict=True)
            if place in header.units
        },
        places=None if len(places) == 0 or places[-1] == len(places) - 1 else places,
    )


def _repeats(row: Cells, header: Header) -> bool:
    return len(row) > 1 and all(
        isinstance(cell, str) and cell.strip() == name
        for cell, name in zip(row, header.names, strict=True)
    )


def _summaries(cells: list[Cells], body: list[int], times: list[int]) -> int:
    """Return how many rows at the end sum up the others: words where those have times."""
    count = 0
    while times and count < min(_MOST_SUMMARIES, len(body) - 1):
        row = cells[body[len(body) - 1 - count]]
        first = next((_text(cell) for cell in row if cell != ""), "")
        if any(kind_of_cell(_text(row[place])) == "time" for place in times):
            break
        if not SUMMARY.match(first):
            break
        count += 1
    return count


def _column(cells: Cells) -> pa.Array:
    kinds = {type(cell) for cell in cells if cell != ""}
    if not kinds:
        return pa.nulls(len(cells), pa.string())
    if kinds <= {int, float}:
        return pa.array([None if cell == "" else float(cell) for cell in cells], pa.float64())
    if kinds == {bool}:
        return pa.array([None if cell == "" else cell for cell in cells], pa.bool_())
    if kinds <= {datetime, date}:
        times = [None if cell == "" else _milliseconds(cell) for cell in cells]
        return pa.array(times, pa.int64()).cast(pa.timestamp("ms"))
    return pa.array([_text(cell) for cell in cells], pa.string())


def _milliseconds(moment: date) -> int:
    """Return milliseconds since 1970: sheets keep times as fractions of a day, not exactly."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return round((moment - _EPOCH) / _MS)


def _text(cell: Any) -> str:
    match cell:
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case float():
            return str(int(cell)) if cell.is_integer() else repr(cell)
        case datetime():
            moment = _EPOCH + _milliseconds(cell) * _MS
            return moment.isoformat(sep=" ", timespec="auto" if moment.microsecond else "seconds")
        case date() | time():
            return cell.isoformat()
    return str(cell)
