"""Text files of readings as Arrow tables, every cell as the text that it is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.counted import was
from fedhome.data.files.csv_rows import SUMMARY, CsvRows
from fedhome.data.files.dialects import HEAD_CHARS, SEPARATORS, Dialect, find_dialect
from fedhome.data.files.encodings import TextSurvey, survey, utf8_stream
from fedhome.data.files.header_rows import kind_of_cell
from fedhome.data.files.packed_files import Source
from fedhome.data.files.table_file import FileTable, lines_left_out, named, units_named, unreadable
from fedhome.errors import SourceError

_MOST_SUMMARIES = 5
_LONGEST_DEFAULT = 64
_MOSTLY = 0.8


def read_text(source: Source) -> FileTable:
    """Read a text file in whatever dialect it is written.

    Rows keep their order. What stands before the header, blank rows, comments, headers that
    come again, and sums at the end are left out, which the notes tell.

    Args:
        source: The file.

    Raises:
        SourceError: It is no text table, or could be read in more than one way.
    """
    found = survey(source)
    dialect, start = _dialect_of(source, found)
    names = named(source.name, units_named(dialect.names))
    reader = CsvRows(source.name, dialect)
    with utf8_stream(source, found, skipped=start) as stream:
        rows = reader.read(stream, blank_lines=found.blank_lines)
    notes = [found.note] if found.note else []
    if dialect.before:
        notes.append(f"{source.name}: {lines_left_out(dialect.before, 'before the header')}")
    notes += reader.notes()
    rows = _with_defaults(rows, dialect, source.name)
    rows = _without_summary(rows, dialect, source.name, notes)
    rows = _without_nameless(rows.rename_columns(names), dialect, source.name, notes)
    units = {names[place]: unit for place, unit in dialect.units.items()}
    return FileTable(
        name=source.name,
        rows=rows,
        format=_words(source, found, dialect),
        notes=tuple(notes),
        units={name: unit for name, unit in units.items() if name in rows.column_names},
        places=_first(reader.places.kept(), rows.num_rows),
    )


def looks_like_table(source: Source) -> bool:
    """Tell whether a text file holds a table of several columns, by its first bytes.

    Raises:
        SourceError: It cannot be opened.
    """
    head = source.head(1 << 16)
    text = head.decode("utf-8", "replace")
    text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    try:
        dialect = find_dialect(text, file=source.name, whole=False)
    except SourceError:
        return False
    return len(dialect.names) > 1 and dialect.body < len(text) and dialect.share > _MOSTLY


def _dialect_of(source: Source, found: TextSurvey) -> tuple[Dialect, int]:
    """Return a file's dialect, and how many bytes in UTF-8 stand before its readings."""
    with utf8_stream(source, found) as stream:
        head = stream.read(HEAD_CHARS)
        whole = not stream.read(1)
    text = head.decode("utf-8", "strict" if whole else "ignore")
    if not whole:
        # A "\r" at the very end may be half of "\r\n".
        end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1))
        if end < 0:
            raise unreadable(source.name, f"its first line is longer than {HEAD_CHARS} bytes")
        text = text[: end + 1]
    dialect = find_dialect(text, file=source.name, whole=whole)
    return dialect, len(text[: dialect.body].encode())


def _first(places: NDArray[np.int64] | None, count: int) -> NDArray[np.int64] | None:
    return None if places is None else places[:count]


def _without_summary(rows: pa.Table, dialect: Dialect, file: str, notes: list[str]) -> pa.Table:
    """Leave out sums below the last reading: they have a word where the others have a time."""
    times = [place for place, kind in enumerate(dialect.kinds) if kind == "time"]
    count = 0
    while times and count < min(_MOST_SUMMARIES, rows.num_rows - 1):
        row = rows.num_rows - 1 - count
        if any(kind_of_cell(rows.column(place)[row].as_py()) == "time" for place in times):
            break
        cells = (rows.column(place)[row].as_py() for place in range(rows.num_columns))
        if not SUMMARY.match(next((cell for cell in cells if cell.strip()), "")):
            break
        count += 1
    if count:
        notes.append(f"{file}: {lines_left_out(count, 'at the end, beginning as a sum,')}")
    return rows.slice(0, rows.num_rows - count)


def _with_defaults(rows: pa.Table, dialect: Dialect, file: str) -> pa.Table:
    """Fill empty cells with what InfluxDB's line of defaults says they mean."""
    for place, default in enumerate(dialect.annotations.get("#default", ())):
        if not place or not default or place >= rows.num_columns:
            continue
        if len(default) > _LONGEST_DEFAULT:
            raise unreadable(file, "its line of defaults holds a very long word")
        column = rows.column(place)
        filled = pc.if_else(pc.equal(column, ""), default, column)
        rows = rows.set_column(place, rows.column_names[place], filled)
    return rows


def _without_nameless(rows: pa.Table, dialect: Dialect, file: str, notes: list[str]) -> pa.Table:
    """Leave out columns without a name that hold nothing, and all of them behind the last name."""
    last = max(place for place, name in enumerate(dialect.names) if name)
    left_out, lost = [], 0
    for place, name in enumerate(dialect.names):
        if name:
            continue
        holds = bool(pc.any(pc.not_equal(rows.column(place), "")).as_py())
        if not holds or place > last:
            left_out.append(rows.column_names[place])
            lost += holds
    if lost:
        what = "a column" if lost == 1 else f"{lost} columns"
        notes.append(f"{file}: {what} without a name behind the last one {was(lost)} left out")
    return rows.drop_columns(left_out)


def _words(source: Source, found: TextSurvey, dialect: Dialect) -> str:
    between = SEPARATORS.get(dialect.separator, f"{dialect.separator!r} between cells")
    if dialect.annotations:
        between = "InfluxDB's annotated CSV"
    parts = [between if len(dialect.names) > 1 else "CSV of one column", found.words]
    if dialect.before:
        lines = "line" if dialect.before == 1 else "lines"
        parts.append(f"{dialect.before} {lines} before the header")
    if dialect.below:
        parts.append("units below the header")
    if source.packed:
        parts.append(f"in {source.packed}")
    return ", ".join(parts)
