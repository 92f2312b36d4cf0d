"""One home's CSV or Parquet files as a :class:`~fedhome.data.table.HomeTable`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.data_files import Raw, read_files, stem
from fedhome.data.table import HomeTable
from fedhome.data.times import Axis, read_axis, zone_of
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

TIME_NAMES = ("time", "timestamp", "datetime", "date", "ts")
# Besides the usual marks, Home Assistant's own for a sensor that says nothing.
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "<na>", "-nan", "unknown", "unavailable")
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity)$"
_INDEX = "__index_level_0__"  # an index without a name, as pandas writes it


@dataclass(frozen=True, kw_only=True)
class HomeFilesRead:
    """A home's table and what its reader has to say about it.

    Args:
        table: The home's readings.
        notes: What was assumed, converted or left out, in plain sentences.
        empty: Names of the columns that were left out because they hold nothing.
    """

    table: HomeTable
    notes: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


def read_home(
    path: Path,
    *,
    home: str | None = None,
    time_column: str | None = None,
    time_zone: str | None = None,
    settings: ReadingSettings | None = None,
) -> HomeFilesRead:
    """Read one home's file, or the folder of its files, which are joined in time.

    Numbers stay numbers, true and false become 1 and 0, text becomes indices into its
    sorted classes. Rows are sorted by time; of rows with equal times the last one stays.

    Args:
        path: A ``.csv``, ``.csv.gz`` or ``.parquet`` file, or a folder of such files.
        home: The home's name; None for the name of the file or folder.
        time_column: Name of the column of times; None to look for ``time``, ``timestamp``,
            ``datetime``, ``date`` or ``ts``.
        time_zone: IANA zone of the home, and of times that carry no offset; None for the
            zone that a Parquet file names, else UTC.
        settings: What the files themselves do not tell; None: nothing.

    Raises:
        SourceError: What cannot be read or does not make sense, with file and row.
    """
    if settings is not None:
        time_zone = settings.time_zone or time_zone
        time_column = next(iter(settings.time), time_column)
    if time_zone is not None:
        zone_of(time_zone)
    raw = read_files(path)
    if settings is not None and settings.rename:
        names = [settings.rename.get(name, name) for name in raw.rows.column_names]
        raw = replace(raw, rows=raw.rows.rename_columns(names))
    return read_rows(raw, home=home or stem(path), time_column=time_column, time_zone=time_zone)


def read_rows(
    raw: Raw, *, home: str, time_column: str | None = None, time_zone: str | None = None
) -> HomeFilesRead:
    """Read one home's rows, whatever they came from; arguments as of :func:`read_home`.

    Raises:
        SourceError: What does not make sense, with the row.
    """
    name = _time_column(raw, time_column)
    notes = list(raw.notes)
    axis = _row_numbers(raw, time_zone, notes) if name is None else _axis(raw, name, time_zone)
    notes += axis.notes
    columns: dict[str, NDArray[np.float64]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    empty = []
    for other in raw.rows.column_names:
        if other == name:
            continue
        read = _column(raw, other, axis.rows, notes)
        if read is None:
            continue
        values, classes = read
        if len(values) and bool(np.all(np.isnan(values))):
            empty.append(other)
            continue
        columns[other] = values
        if classes:
            labels[other] = classes
    if empty:
        notes.append(f"left out, because nothing is in them: {', '.join(empty)}")
    table = HomeTable(
        home=home,
        time_s=axis.time_s,
        columns=columns,
        time_zone=axis.time_zone,
        labels=labels,
    )
    return HomeFilesRead(table=table, notes=tuple(notes), empty=tuple(empty))


def _time_column(raw: Raw, time_column: str | None) -> str | None:
    names = raw.rows.column_names
    if time_column is not None:
        if time_column not in names:
            raise SourceError(
                f"{raw.files[0][0]} has no column {time_column!r} for its times",
                hint=f"its columns are: {', '.join(names)}",
            )
        return time_column
    by_name = {name.lower(): name for name in reversed(names)}
    known = next((by_name[name] for name in TIME_NAMES if name in by_name), None)
    if known is None and _INDEX in names and pa.types.is_timestamp(raw.rows[_INDEX].type):
        return _INDEX
    return known


def _row_numbers(raw: Raw, time_zone: str | None, notes: list[str]) -> Axis:
    notes.append("no column of times was found: rows keep their order and are numbered")
    numbers = np.arange(raw.rows.num_rows, dtype=np.int64)
    return Axis(time_s=numbers, rows=numbers, time_zone=time_zone or "UTC", notes=())


def _axis(raw: Raw, name: str, time_zone: str | None) -> Axis:
    column = _plain(raw.rows[name])
    if not len(column):
        none = np.empty(0, dtype=np.int64)
        return Axis(time_s=none, rows=none, time_zone=time_zone or "UTC", notes=())
    if pa.types.is_string(column.type):
        column = _without_missing(column)
    return read_axis(column, name=name, time_zone=time_zone, location_of=raw.location)


def _column(
    raw: Raw, name: str, rows: NDArray[np.int64], notes: list[str]
) -> tuple[NDArray[np.float64], tuple[str, ...]] | None:
    """Return a column's numbers in the order of ``rows``, and its classes if it holds text."""
    column = _plain(raw.rows[name])
    kind = column.type
    classes: tuple[str, ...] = ()
    if name == _INDEX or pa.types.is_temporal(kind):
        notes.append(f"left out, because only one column can be the time: {name}")
        return None
    if pa.types.is_null(kind):
        values = np.full(len(column), np.nan)
    elif pa.types.is_string(kind):
        values, classes = _from_text(raw, name, _without_missing(column))
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = _floats(column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column)
    elif pa.types.is_decimal(kind):
        values = _floats(column)
    else:
        notes.append(f"left out, because it holds neither numbers nor text: {name}")
        return None
    infinite = np.isinf(values)
    if infinite.any():
        notes.append(f"{int(infinite.sum())} infinite cells of {name} were read as missing")
        values = np.where(infinite, np.nan, values)
    return values[rows], classes


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with text of any storage as plain strings."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return column.cast(kind)


def _without_missing(text: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(text)
    missing = pc.is_in(pc.utf8_lower(text), value_set=pa.array(MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), text)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _from_text(
    raw: Raw, name: str, text: pa.ChunkedArray
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    lower = pc.utf8_lower(text)
    cells = pc.if_else(pc.equal(lower, "true"), "1", text)
    cells = pc.if_else(pc.equal(lower, "false"), "0", cells)
    is_number = pc.fill_null(pc.match_substring_regex(cells, _NUMBER, ignore_case=True), False)  # noqa: FBT003
    filled = len(text) - text.null_count
    numbers = pc.sum(is_number).as_py() or 0
    if numbers == filled:
        return _floats(pc.replace_substring_regex(cells, r"^\+", "")), ()
    # A column of numbers with a slip in it must not turn into classes unnoticed.
    if 2 * numbers >= filled:
        odd = pc.and_(text.is_valid(), pc.invert(is_number)).to_numpy()
        raise SourceError(
            f"{raw.location(int(np.argmax(odd)))}: the cell in column {name!r} is not a number, "
            "though at least half of its cells are",
            hint="correct the cell or leave it empty; if the column holds classes, "
            "give every class a name that is not a number",
        )
    classes = tuple(sorted(set(text.drop_null().to_pylist())))
    number_of = {label: float(number) for number, label in enumerate(classes)}
    return np.array([number_of.get(cell, np.nan) for cell in text.to_pylist()]), classes
