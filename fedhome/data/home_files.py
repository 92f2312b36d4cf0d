"""One home's files as a :class:`~fedhome.data.table.HomeTable`: times, then column by column."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedhome.data.cells import ColumnRead, read_cells
from fedhome.data.data_files import Raw, is_unnamed, read_files, stem
from fedhome.data.long_tables import check_twins, homes_of, pivoted
from fedhome.data.read_report import ColumnReport, HomeReport, TimeReport
from fedhome.data.table import HomeTable
from fedhome.data.time_columns import find_times
from fedhome.data.times import Axis, read_axis, zone_of
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.spelling import did_you_mean

_AS_IT_IS = ReadingSettings()


@dataclass(frozen=True, kw_only=True)
class HomeFilesRead:
    """A home's table and what its reader has to say about it.

    Args:
        table: The home's readings.
        notes: What was assumed, converted or left out, in plain sentences.
        empty: Names of the columns that were left out because they hold nothing.
        report: How all of it was read; None of tables that were given as such.
    """

    table: HomeTable
    notes: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    report: HomeReport | None = None


def read_home(
    path: Path,
    *,
    home: str | None = None,
    settings: ReadingSettings = _AS_IT_IS,
    numbers: Collection[str] = (),
) -> HomeFilesRead:
    """Read one home's file, or the folder of its files, which are joined in time.

    Numbers stay numbers, true and false become 1 and 0, words become indices into their
    sorted classes. Rows are sorted by time.

    Args:
        path: A file, or a folder of files, as :func:`~fedhome.data.data_files.read_files` takes.
        home: The home's name; None for the name of the file or folder.
        settings: What the files themselves do not tell.
        numbers: Columns that must hold numbers: words in them are an error.

    Raises:
        SourceError: What cannot be read or does not make sense, with file and row.
    """
    raw = read_files(path)
    name = home or stem(path)
    if settings.home_column:
        raw = _of_home(raw, settings.home_column, name)
    return read_rows(raw, home=name, settings=settings, numbers=numbers)


def read_rows(
    raw: Raw,
    *,
    home: str,
    settings: ReadingSettings = _AS_IT_IS,
    numbers: Collection[str] = (),
) -> HomeFilesRead:
    """Read one home's rows, whatever they came from; arguments as of :func:`read_home`.

    Raises:
        SourceError: What does not make sense, with the row.
    """
    if settings.time_zone:
        zone_of(settings.time_zone)
    read = raw.rows.num_rows
    if settings.pivot:
        raw = pivoted(raw, settings)
    sources = _renaming(raw, settings)
    times = find_times(raw.rows, settings, file=raw.files[0][0])
    axis = _axis(raw, times.names, settings)
    if times.names:
        check_twins(raw, axis, times.names)
    notes = [*raw.notes, *times.notes, *axis.notes]
    columns: dict[str, NDArray[np.float64]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    units: dict[str, str] = {}
    reports, empty = [], []
    for source, name in sources.items():
        if source in times.names:
            continue
        cells = _cells(raw, source, name, settings, numeric=name in numbers)
        values = cells.values[axis.rows]
        if cells.kind == "empty" and is_unnamed(source):
            continue
        notes += cells.notes
        reports.append(
            ColumnReport.of(
                values,
                name=name,
                source=source,
                kind=cells.kind,
                unit=cells.unit,
                format=cells.format,
                words=cells.words,
            )
        )
        if cells.kind == "left out":
            continue
        if len(values) and bool(np.all(np.isnan(values))):
            empty.append(name)
            continue
        columns[name] = values
        if cells.words:
            labels[name] = cells.words
        if cells.unit:
            units[name] = cells.unit
    if empty:
        notes.append(f"left out, because nothing is in them: {', '.join(empty)}")
    table = HomeTable(
        home=home,
        time_s=axis.time_s,
        columns=columns,
        time_zone=axis.time_zone,
        labels=labels,
        units=units,
    )
    report = HomeReport(
        home=home,
        files=tuple(
            f"{file}: {how}" for (file, _), how in zip(raw.files, raw.formats, strict=True)
        ),
        rows_read=read,
        rows_kept=table.rows,
        time=_time_report(axis, times.names),
        columns=tuple(reports),
        notes=tuple(dict.fromkeys(notes)),
    )
    return HomeFilesRead(table=table, notes=report.notes, empty=tuple(empty), report=report)


def _of_home(raw: Raw, column: str, home: str) -> Raw:
    """Return the rows of one home of a file of many."""
    homes = homes_of(raw, column)
    if home not in homes:
        raise SourceError(
            f"{raw.files[0][0]} holds {len(homes)} homes by its column {column!r}, and none is "
            f"called {home!r}",
            hint="the home's name must be in that column, or leave data.home_column out",
        )
    return homes[home]


def _renaming(raw: Raw, settings: ReadingSettings) -> dict[str, str]:
    """Return each column's name in a plan, by its name in the file."""
    names = raw.rows.column_names
    new = dict(settings.rename)
    if unknown := [name for name in new if name not in names]:
        raise SourceError(
            f"{raw.files[0][0]} has no column {unknown[0]!r}, which data.rename gives another "
            f"name{did_you_mean(unknown[0], names)}",
            hint=f"its columns are: {', '.join(names)}",
        )
    renamed = {name: new.get(name, name) for name in names}
    twins = [name for name in new.values() if list(renamed.values()).count(name) > 1]
    if twins:
        raise SourceError(
            f"{raw.files[0][0]}: with data.rename two columns are called {twins[0]!r}",
            hint="give the other column another name, too",
        )
    return renamed


def _axis(raw: Raw, names: tuple[str, ...], settings: ReadingSettings) -> Axis:
    rows = raw.rows.num_rows
    if names and rows:
        return read_axis(raw.rows, names, settings, location_of=raw.location)
    numbers = np.arange(rows, dtype=np.int64)
    zone = settings.time_zone or "UTC"
    return Axis(time_s=numbers, rows=numbers, time_zone=zone, notes=(), format="", twins=0)


def _time_report(axis: Axis, names: tuple[str, ...]) -> TimeReport | None:
    if not names or not len(axis.time_s):
        return None
    return TimeReport.of(axis.time_s, columns=names, format=axis.format, time_zone=axis.time_zone)


def _cells(
    raw: Raw, source: str, name: str, settings: ReadingSettings, *, numeric: bool
) -> ColumnRead:
    read = read_cells(
        raw.rows[source], name=name, settings=settings, location_of=raw.location, numeric=numeric
    )
    return replace(read, unit=read.unit or raw.units.get(source, ""))
