"""One home's files as a :class:`~fedhome.data.table.HomeTable`: times, then column by column."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fedhome.data.columns.row_units import with_row_units
from fedhome.data.files.data_files import Raw, read_files, stem
from fedhome.data.home_columns import HomeColumns, is_nameless
from fedhome.data.read_report import HomeReport, TimeReport
from fedhome.data.table import HomeTable
from fedhome.data.times.axis import Axis, read_axis
from fedhome.data.times.complements import completed
from fedhome.data.times.half_days import with_half_days
from fedhome.data.times.last_rows import LastRows, last_rows
from fedhome.data.times.long_tables import homes_of, pivoted
from fedhome.data.times.new_rows import NewRows
from fedhome.data.times.time_columns import TimeColumns, find_times
from fedhome.data.times.twin_causes import check_names, check_twins
from fedhome.data.times.wide_tables import told_wide
from fedhome.data.times.zones import zone_of
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import HomeReading, ReadingSettings
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
    wanted: Collection[str] | None = None,
    step: str = "",
    whole: bool = True,
) -> HomeFilesRead:
    """Read one home's file, or the folder of its files, which are joined in time.

    Numbers stay numbers, true and false become 1 and 0, words become indices into their
    sorted classes. Rows are sorted by time.

    Args:
        path: A file, or a folder of files, as `data_files.read_files` takes.
        home: The home's name; None for the name of the file or folder.
        settings: What the files themselves do not tell.
        numbers: Columns that must hold numbers: words in them are an error.
        wanted: Columns that will be used; what is wrong in another one is told and costs that
            column alone. None: all may be.
        step: The plan's ``data.step``, as of `data_files.read_files`.
        whole: Whether other columns than ``wanted`` are read as well; else they are where it costs
            nothing. Where one that is wanted is not found, all are, for the message.

    Raises:
        SourceError: What cannot be read or does not make sense, with file and row.
    """
    used = None if whole or wanted is None else _called(wanted, settings)
    raw = read_files(path, step=step, used=used)
    name = home or stem(path)
    if settings.home_column:
        raw = _of_home(raw, settings.home_column, name)
    read = read_rows(raw, home=name, settings=settings, numbers=numbers, wanted=wanted)
    there = {*read.table.columns, *read.empty}
    if used is None or not raw.time or there.issuperset(wanted or ()):
        return read
    return read_home(path, home=home, settings=settings, numbers=numbers, wanted=wanted, step=step)


def _called(wanted: Collection[str], settings: ReadingSettings) -> frozenset[str]:
    """Return what a home's files may call the columns that are used."""
    own = settings.rules if isinstance(settings, HomeReading) else {}
    sources = (source for source, name in settings.rename.items() if name in wanted)
    return frozenset({*wanted, *own, *sources})


def check_rules(read: HomeFilesRead, settings: HomeReading) -> None:
    """Refuse rules of a home's own for columns that it has not.

    Args:
        read: The home, as it was read.
        settings: How.

    Raises:
        SourceError: It has such a rule.
    """
    names = [*read.table.columns, *read.empty]
    if unknown := [name for name in settings.rules if name not in names]:
        raise SourceError(
            f"home {read.table.home!r} has a rule of its own for {unknown[0]!r}, and no such column"
            f"{did_you_mean(unknown[0], names)}",
            hint=f"its columns are: {', '.join(names)}",
        )


def read_rows(
    raw: Raw,
    *,
    home: str,
    settings: ReadingSettings = _AS_IT_IS,
    numbers: Collection[str] = (),
    wanted: Collection[str] | None = None,
    last_counts: bool = False,
    known: int = 0,
) -> HomeFilesRead:
    """Read one home's rows, whatever they came from; arguments as of :func:`read_home`.

    Args:
        raw: The rows.
        home: The home's name.
        settings: What the rows themselves do not tell.
        numbers: Columns that must hold numbers.
        wanted: Columns that will be used.
        last_counts: For rows that arrive, each in its turn: of rows of one second, the last reading
            of each column counts, and every row needs a time. Else rows of one time must agree.
        known: Of rows that arrive, how many at the beginning were read before: they tell how
            columns are written, and nothing of them is returned.

    Raises:
        SourceError: What does not make sense, with the row.
    """
    if settings.time_zone:
        zone_of(settings.time_zone)
    rows_read = raw.rows.num_rows
    rows, told = with_half_days(raw.rows)
    raw = replace(raw, rows=rows, notes=(*raw.notes, *told))
    raw, times, new = _with_times(raw, settings, known, arriving=last_counts)
    wide = told_wide(raw.rows.column_names, times.names, file=raw.files[0][0])
    names = _renaming(raw, settings, wanted)
    lasts = (
        last_rows(raw.rows, times.names, settings, location_of=raw.location)
        if last_counts
        else None
    )
    axis = _axis(raw, times.names, settings, lasts, new)
    if times.names and lasts is None:
        raw, axis = completed(raw, axis, times=times.names, settings=settings)
        check_twins(raw, axis, times=times.names, settings=settings)
    check_names(raw, times.names, names)
    nameless = tuple(filter(is_nameless, raw.rows.column_names))
    raw = _with_row_units(raw, settings, leave=(*times.names, *times.others, *nameless))
    columns = HomeColumns(settings, numbers, wanted, known)
    for source, name in names.items():
        if source in (*times.names, *times.others) or source not in raw.rows.column_names:
            continue
        if (read := columns.read(raw, source, name)) is None:
            continue
        if lasts is not None:
            there = new.there(len(read.values), source)
            read = replace(read, values=lasts.taken_back(read.values, there))
        columns.add(name, source, read, axis)
    notes = dict.fromkeys([*raw.notes, *times.notes, *wide, *axis.notes, *columns.told()])
    table = columns.table(home, axis)
    report = HomeReport(
        home=home,
        files=tuple(
            f"{file}: {how}" for (file, _), how in zip(raw.files, raw.formats, strict=True)
        ),
        rows_read=rows_read,
        rows_kept=table.rows,
        time=_time_report(axis, times.names),
        columns=tuple(columns.reports),
        notes=tuple(notes),
    )
    empty = (*columns.empty, *columns.silent)
    return HomeFilesRead(table=table, notes=report.notes, empty=empty, report=report)


def _with_times(
    raw: Raw, settings: ReadingSettings, known: int, *, arriving: bool
) -> tuple[Raw, TimeColumns, NewRows]:
    """Return rows with a column for each reading, their columns of times, and which are new."""
    new = NewRows(known, {})
    if raw.time:
        raw = replace(raw, notes=(*raw.notes, *_without_effect(settings)))
        return raw, TimeColumns(names=(raw.time,)), new
    if not settings.pivot:
        return raw, find_times(raw.rows, settings, file=raw.files[0][0]), new
    raw = _with_row_units(raw, settings, settings.pivot[-1], leave=settings.pivot[:1])
    new = NewRows.of(raw, settings, known)
    raw = pivoted(raw, settings, arriving=arriving)
    return raw, TimeColumns(names=(raw.rows.column_names[0],)), new


def _without_effect(settings: ReadingSettings) -> list[str]:
    """Return sentences on settings that say nothing of a database, and on what it leaves open."""
    told = [
        f"data.{name} says nothing of a database of Home Assistant, and is for other homes' files"
        for name in ("time", "pivot")
        if getattr(settings, name)
    ]
    if not settings.time_zone:
        told.append(
            "Home Assistant's database does not say the home's zone: hours and weekdays are those "
            "of UTC; data.time_zone names the zone"
        )
    return told


def _with_row_units(
    raw: Raw, settings: ReadingSettings, value: str = "", *, leave: tuple[str, ...]
) -> Raw:
    rows, told = with_row_units(raw.rows, settings, value, leave=leave)
    return replace(raw, rows=rows, notes=(*raw.notes, *told))


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


def _renaming(
    raw: Raw, settings: ReadingSettings, wanted: Collection[str] | None
) -> dict[str, str]:
    """Return each column's name in a plan, by its name in the file."""
    names = raw.rows.column_names
    new = dict(settings.rename)
    renamed = {name: new.get(name, name) for name in names}
    # What a home calls as the plan does, or by another of the names, needs none of this one.
    there = {*renamed.values()}
    lacking = [name for name in new if name not in names and new[name] not in there]
    # A column that is never used may be missing: a model's readings need no more than its inputs.
    if unknown := [name for name in lacking if wanted is None or new[name] in wanted]:
        raise SourceError(
            f"{raw.files[0][0]} has no column {unknown[0]!r}, which data.rename gives another "
            f"name{did_you_mean(unknown[0], names)}",
            hint=f"its columns are: {', '.join(names)}; what single homes have goes into "
            "data.rename of theirs alone, in homes.toml, or data.features names what is used",
        )
    twins = [name for name in new.values() if list(renamed.values()).count(name) > 1]
    if twins:
        raise SourceError(
            f"{raw.files[0][0]}: with data.rename two columns are called {twins[0]!r}",
            hint="give the other column another name, too",
        )
    return renamed


def _axis(
    raw: Raw,
    names: tuple[str, ...],
    settings: ReadingSettings,
    lasts: LastRows | None,
    new: NewRows,
) -> Axis:
    rows = raw.rows.num_rows
    if lasts is not None:
        return lasts.axis_of(new.there(rows))
    if names and rows:
        return read_axis(raw.rows, names, settings, location_of=raw.location)
    numbers = np.arange(rows, dtype=np.int64)
    zone = settings.time_zone or "UTC"
    return Axis(time_s=numbers, rows=numbers, time_zone=zone, notes=())


def _time_report(axis: Axis, names: tuple[str, ...]) -> TimeReport | None:
    if not names or not len(axis.time_s):
        return None
    return TimeReport.of(axis.time_s, columns=names, format=axis.format, time_zone=axis.time_zone)
