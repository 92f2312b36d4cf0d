"""A folder of homes: one file or sub-folder each, and a reason for each home that is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.data.files.data_files import (
    LAYOUT_HINT,
    SUFFIXES,
    Raw,
    folder_errors,
    is_data_file,
    read_files,
    stem,
)
from fedhome.data.files.file_kinds import not_read
from fedhome.data.files.home_assistant_database import of_database
from fedhome.data.files.home_assistant_table import FORMAT, NO_READINGS
from fedhome.data.files.packed_files import JSON_SUFFIXES
from fedhome.data.home_files import HomeFilesRead, check_rules, read_home, read_rows
from fedhome.data.homes_settings import HOMES_FILE, read_homes_settings
from fedhome.data.homes_side_by_side import noticed
from fedhome.data.homes_store import HomesStore, is_store
from fedhome.data.read_report import HomeReport
from fedhome.data.table import HomeTable
from fedhome.data.times.long_tables import homes_of
from fedhome.data.times.zones import zone_of
from fedhome.data.told_once import some, told_once
from fedhome.errors import EmptyFleetError, SourceError
from fedhome.plan.own_reading import own_of
from fedhome.plan.reading_settings import HomeReading, ReadingSettings
from fedhome.printable import shown
from fedhome.spelling import did_you_mean

_AS_IT_IS = ReadingSettings()
_FEWEST = 2  # rows of a home: one has no step


@dataclass(frozen=True)
class Exclusion:
    """A home that was left out, why in a plain sentence, and what to do about it, if known."""

    home: str
    reason: str
    hint: str = ""

    @property
    def told(self) -> str:
        """Why, and what to do."""
        return f"{self.reason}; {self.hint}" if self.hint else self.reason


@dataclass(frozen=True, kw_only=True)
class FolderRead:
    """The homes of a folder.

    Args:
        homes: The homes that can be used, in the order of their names.
        excluded: Homes that were left out.
        notes: What the readers assumed or left out, each once, with the homes' names.
        reports: How each of the homes was read, where files were.
        own: Of homes that are read in a way of their own: settings of reading, by name.
    """

    homes: list[HomeTable]
    excluded: list[Exclusion]
    notes: tuple[str, ...]
    reports: tuple[HomeReport, ...] = ()
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_folder(
    folder: Path,
    settings: ReadingSettings = _AS_IT_IS,
    *,
    target: str | None = None,
    numbers: Collection[str] = (),
    wanted: Collection[str] | None = None,
    step: str = "",
) -> FolderRead:
    """Read every home of a folder; homes that cannot be used are left out and reported.

    A column of words has the same classes in every home: those of all homes together, sorted.

    Args:
        folder: One file, or sub-folder of files, per home; or, with ``settings.home_column``, a
            file or folder of files in which each row names its home; or a store of homes, which
            says itself how it is read (:class:`.HomesStore`). A file ``homes.toml`` may
            give single homes settings of their own.
        settings: How the files are to be read.
        target: The column to predict; every home must have values in it.
        numbers: Columns that must hold numbers: words in them are an error.
        wanted: Columns that will be used, as of `read_home`; None: all may be.
        step: The plan's ``data.step``, as of `read_home`.

    Raises:
        SourceError: No such folder, nothing in it, or a ``homes.toml`` that is wrong.
        EmptyFleetError: No home can be used; lists every reason.
    """
    if settings.time_zone:
        zone_of(settings.time_zone)
    if is_store(folder):
        stored = HomesStore(folder)
        everything = stored.tables(np.arange(len(stored.names)))
        as_read = {home: own_of(own, settings) for home, own in stored.reading.items()}
        return FolderRead(homes=everything, excluded=[], notes=(), own=as_read)
    sources, said = _sources(folder, settings)
    notes = [("", note) for note in said]
    own = read_homes_settings(folder / HOMES_FILE, {home for home, _ in sources}, settings)
    reads: dict[str, HomeFilesRead] = {}
    excluded: list[Exclusion] = []
    for home, source in sources:
        if not home.isprintable():  # it is in messages, logs and reports, all of which refuse it
            reason = f"{home!a} has characters in its name that cannot be shown"
            excluded.append(Exclusion(shown(home), reason, "give its file another name"))
            continue
        if home in reads:
            second = source.name if isinstance(source, Path) else "there"
            reason = f"{second} is a second source of {home}: put both into a sub-folder {home}"
            excluded.append(Exclusion(home, reason))
            continue
        try:
            read = _read_source(source, home, own.get(home, settings), numbers, wanted, step=step)
        except SourceError as error:
            excluded.append(Exclusion(home, error.message, error.hint))
            continue
        if unfit := unusable(read, target):
            excluded.append(unfit)
        else:
            reads[home] = read
            notes += [(home, note) for note in read.notes]
    fleet = as_fleet(reads.values(), excluded, notes, what=f"home in {folder}", hint=LAYOUT_HINT)
    return replace(fleet, own={home: own_of(one.reading(), settings) for home, one in own.items()})


def most_homes_in(folder: Path, settings: ReadingSettings) -> int | None:
    """Return how many homes a folder has at most, before any is read; None where rows name them.

    Args:
        folder: As of `read_folder`.
        settings: How its files are to be read.

    Raises:
        SourceError: It cannot be looked at.
    """
    if is_store(folder):
        return len(HomesStore(folder).names)
    if settings.home_column:
        return None
    return len(_entries(folder)[0]) if folder.is_dir() else 1


def _read_source(
    source: Path | Raw,
    home: str,
    settings: ReadingSettings,
    numbers: Collection[str],
    wanted: Collection[str] | None,
    *,
    step: str,
) -> HomeFilesRead:
    if isinstance(source, Path):
        read = read_home(
            source, home=home, settings=settings, numbers=numbers, wanted=wanted, step=step
        )
    else:
        read = read_rows(source, home=home, settings=settings, numbers=numbers, wanted=wanted)
    if isinstance(settings, HomeReading):
        check_rules(read, settings)
    return read


def _sources(
    folder: Path, settings: ReadingSettings
) -> tuple[list[tuple[str, Path | Raw]], list[str]]:
    """Return where each home's readings are, and notes.

    Raises:
        SourceError: There is no home.
    """
    with folder_errors(folder):
        there = folder.exists()
    if not there:
        raise SourceError(f"{folder} does not exist", hint=LAYOUT_HINT)
    # What is wrong with it is told as it is read.
    named = folder.name.lower().endswith(JSON_SUFFIXES)
    if not folder.is_dir() and not named and not is_data_file(folder):
        raise _why_not(folder)
    paths, others = _entries(folder) if folder.is_dir() else ([folder], [])
    if others and not paths:
        raise _why_not(folder / others[0])
    notes = [f"no files of readings, left out: {', '.join(others)}"] if others else []
    sources: list[tuple[str, Path | Raw]] = [(stem(path), path) for path in paths]
    if settings.home_column and paths:
        split = homes_of(read_files(folder), settings.home_column)
        sources = list(split.items())
    if not sources:
        raise SourceError(f"{folder} holds no home", hint=LAYOUT_HINT)
    return sources, notes


def _why_not(path: Path) -> SourceError:
    """Return why a file is not taken for readings; one of a name that is read says it itself."""
    if path.name.lower().endswith(SUFFIXES):
        try:
            read_files(path)
        except SourceError as error:
            return error
    return not_read(path, LAYOUT_HINT)


def as_fleet(
    reads: Iterable[HomeFilesRead],
    excluded: Sequence[Exclusion],
    notes: Iterable[tuple[str, str]],
    *,
    what: str,
    hint: str,
) -> FolderRead:
    """Return homes that learn together: what a column holds, and its classes, are alike in all.

    Args:
        reads: The homes.
        excluded: Homes that were left out before.
        notes: A home's name, or nothing, and what its reader noticed.
        what: What there is none of, for the error.
        hint: How it should be, for the error.

    Raises:
        EmptyFleetError: No home can be used; lists every reason.
    """
    reads = list(reads)
    tables, mixed = _without_mixed([read.table for read in reads])
    excluded = [*excluded, *mixed]
    if not tables:
        told = (
            f"no {what} can be used:{reasons_of(excluded)}" if excluded else f"there is no {what}"
        )
        raise EmptyFleetError(told, hint=hint_for_all(excluded, hint))
    used = {table.home for table in tables}
    reports = (read.report for read in reads if read.table.home in used)
    return FolderRead(
        homes=_same_classes(tables),
        excluded=excluded,
        notes=tuple(told_once([*notes, *(("", note) for note in noticed(tables))])),
        reports=tuple(report for report in reports if report is not None),
    )


def reasons_of(excluded: Sequence[Exclusion], *, most: int | None = None) -> str:
    """Return a line a reason, with the homes that it holds for, and with what helps.

    What helps against all of the reasons is left to `hint_for_all`.

    Args:
        excluded: Homes that were left out.
        most: Lines that are shown; None: all.
    """
    differ = len({item.hint for item in excluded}) > 1
    lines = told_once((item.home, item.told if differ else item.reason) for item in excluded)
    more = [] if most is None or len(lines) <= most else [f"and {len(lines) - most:,} more"]
    return "".join(f"\n  - {line}" for line in [*lines[:most], *more])


def hint_for_all(excluded: Sequence[Exclusion], otherwise: str) -> str:
    """Return what to do about homes that were left out, where it is one thing for all.

    Args:
        excluded: The homes.
        otherwise: What is said where none of them has a hint, or some have none.
    """
    hints = {item.hint for item in excluded}
    if len(hints) == 1:
        return hints.pop() or otherwise
    return otherwise if "" in hints or not hints else "what helps stands beside each reason"


def _entries(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files and folders of homes, and the names of other files."""
    paths, others = [], []
    with folder_errors(folder):
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name == HOMES_FILE:
                continue
            if path.is_dir() or is_data_file(path):
                paths.append(path)
            elif not of_database(path):
                others.append(path.name)
    return paths, others


def unusable(read: HomeFilesRead, target: str | None) -> Exclusion | None:
    """Return why a home cannot take part; None when it can.

    Args:
        read: The home.
        target: The column to predict, which it must have; None: it needs none of its own.
    """
    table = read.table
    if table.rows < _FEWEST:
        few = "a single row" if table.rows else "no rows"
        files = () if read.report is None else read.report.files
        assistants = any(FORMAT in file for file in files)
        hint = NO_READINGS if assistants else "put its readings there, or take it away"
        return Exclusion(table.home, f"it has {few}", hint)
    if target and target in read.empty:
        reason = f"its target {target!r} holds nothing"
        return Exclusion(table.home, reason, "put its readings there, or name another data.target")
    if target and target not in table.columns:
        there = _named(table.columns) or "none that holds anything"
        return Exclusion(
            table.home,
            f"it lacks column {target}{did_you_mean(target, table.columns)}",
            f"it has {there}: set data.target, where that is the column to be learnt, or let "
            f'data.rename = {{"NAME" = "{target}"}} say what this home calls it',
        )
    return None


def _named(columns: Collection[str]) -> str:
    """Return the first few names of columns, and how many more there are."""
    return some([repr(name) for name in columns])


def _without_mixed(tables: Sequence[HomeTable]) -> tuple[list[HomeTable], list[Exclusion]]:
    """Leave out homes whose column holds numbers where most homes have text, or the reverse."""
    excluded: dict[str, Exclusion] = {}
    for name in sorted({name for table in tables for name in table.labels}):
        having = [table for table in tables if name in table.columns]
        text = [table for table in having if name in table.labels]
        most_are_text = 2 * len(text) >= len(having)
        here, there = ("numbers", "text") if most_are_text else ("text", "numbers")
        for table in having:
            if (name in table.labels) != most_are_text:
                reason = f"its column {name!r} holds {here}, but {there} in most other homes"
                excluded.setdefault(table.home, Exclusion(table.home, reason))
    alike = [table for table in tables if table.home not in excluded]
    return alike, list(excluded.values())


def _same_classes(tables: Sequence[HomeTable]) -> list[HomeTable]:
    classes = {
        name: _union(table.labels.get(name, ()) for table in tables)
        for name in {name for table in tables for name in table.labels}
    }
    return [_relabel(table, classes) for table in tables]


def _union(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({label for labels in lists for label in labels}))


def _relabel(table: HomeTable, classes: dict[str, tuple[str, ...]]) -> HomeTable:
    columns: dict[str, NDArray[np.float64]] = dict(table.columns)
    labels = dict(table.labels)
    for name, own in table.labels.items():
        new_numbers = np.array([classes[name].index(label) for label in own], dtype=np.float64)
        values = columns[name]
        known = ~np.isnan(values)
        renumbered = np.full(len(values), np.nan)
        renumbered[known] = new_numbers[values[known].astype(np.int64)]
        columns[name], labels[name] = renumbered, classes[name]
    return replace(table, columns=columns, labels=labels)
