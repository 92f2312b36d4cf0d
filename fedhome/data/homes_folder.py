"""A folder of homes: one file or sub-folder each, and a reason for each home that is left out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedhome.data.data_files import LAYOUT_HINT, is_data_file, stem
from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.data.table import HomeTable
from fedhome.data.times import zone_of
from fedhome.errors import EmptyFleetError, SourceError

ZONES_FILE = "homes.toml"


@dataclass(frozen=True)
class Exclusion:
    """A home that was left out, and why in a plain sentence."""

    home: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class FolderRead:
    """The homes of a folder.

    Args:
        homes: The homes that can be used, in the order of their names.
        excluded: Homes that were left out.
        notes: What the readers assumed or left out, each with the home's name.
    """

    homes: list[HomeTable]
    excluded: list[Exclusion]
    notes: tuple[str, ...]


def read_folder(
    folder: Path,
    *,
    time_zone: str | None = None,
    time_column: str | None = None,
    require: Sequence[str] = (),
    target: str | None = None,
) -> FolderRead:
    """Read every home of a folder; homes that cannot be used are left out and reported.

    A column of text has the same classes in every home: those of all homes together, sorted.

    Args:
        folder: One CSV or Parquet file, or sub-folder of such files, per home. A file
            ``homes.toml`` may give single homes a ``time_zone``.
        time_zone: Zone of the homes that ``homes.toml`` does not name.
        time_column: Name of the column of times; None to find it by its name.
        require: Columns that every home must have.
        target: The column to predict; every home must have values in it that differ.

    Raises:
        SourceError: No such folder, nothing in it, or a ``homes.toml`` that is wrong.
        EmptyFleetError: No home can be used; lists every reason.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SourceError(f"{folder} is not a folder: it {what}", hint=LAYOUT_HINT)
    if time_zone is not None:
        zone_of(time_zone)
    paths, notes = _entries(folder)
    if not paths:
        raise SourceError(f"{folder} holds no home", hint=LAYOUT_HINT)
    zones = _zones(folder / ZONES_FILE, {stem(path) for path in paths})
    needed = [*require, *([target] if target and target not in require else [])]
    reads: dict[str, HomeFilesRead] = {}
    excluded: list[Exclusion] = []
    for path in paths:
        home = stem(path)
        if home in reads:
            reason = f"{path.name} is a second source of {home}: put both into a sub-folder {home}"
            excluded.append(Exclusion(home, reason))
            continue
        try:
            read = read_home(path, time_column=time_column, time_zone=zones.get(home, time_zone))
        except SourceError as error:
            excluded.append(Exclusion(home, error.message))
            continue
        if reason := unusable(read, needed, target):
            excluded.append(Exclusion(home, reason))
        else:
            reads[home] = read
            notes += [f"{home}: {note}" for note in read.notes]
    return as_fleet(reads.values(), excluded, notes, what=f"home in {folder}", hint=LAYOUT_HINT)


def as_fleet(
    reads: Iterable[HomeFilesRead],
    excluded: Sequence[Exclusion],
    notes: Sequence[str],
    *,
    what: str,
    hint: str,
) -> FolderRead:
    """Return homes that learn together: what a column holds, and its classes, are alike in all.

    Args:
        reads: The homes.
        excluded: Homes that were left out before.
        notes: What their readers noticed.
        what: What there is none of, for the error.
        hint: How it should be, for the error.

    Raises:
        EmptyFleetError: No home can be used; lists every reason.
    """
    tables, mixed = _without_mixed([read.table for read in reads])
    excluded = [*excluded, *mixed]
    if not tables:
        reasons = "".join(f"\n  - {item.home}: {item.reason}" for item in excluded)
        raise EmptyFleetError(f"no {what} can be used:{reasons}", hint=hint)
    return FolderRead(homes=_same_classes(tables), excluded=excluded, notes=tuple(notes))


def _entries(folder: Path) -> tuple[list[Path], list[str]]:
    paths, others = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == ZONES_FILE:
            continue
        if path.is_dir() or is_data_file(path):
            paths.append(path)
        else:
            others.append(path.name)
    return paths, [f"not CSV or Parquet, left out: {', '.join(others)}"] if others else []


def _zones(path: Path, homes: set[str]) -> dict[str, str]:
    if not path.exists():
        return {}
    hint = 'each home has a table of its own: [home-name] and below it time_zone = "Europe/Berlin"'
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise SourceError(f"{path} is not TOML", hint=hint) from None
    zones = {}
    for home, table in tables.items():
        if home not in homes:
            raise SourceError(f"{path} names {home!r}, which is no home of the folder", hint=hint)
        match table:
            case {"time_zone": str(name), **rest} if not rest:
                zones[home] = zone_of(name).key
            case _:
                raise SourceError(f"{path} says more than a time_zone of {home!r}", hint=hint)
    return zones


def unusable(read: HomeFilesRead, needed: Sequence[str], target: str | None) -> str:
    """Return why a home cannot take part; empty when it can.

    Args:
        read: The home.
        needed: Columns that it must have.
        target: The column to predict.
    """
    table = read.table
    if not table.rows:
        return "it has no rows"
    if table.rows == 1:
        return "it has a single row"
    if target and target in read.empty:
        return f"its target {target!r} holds nothing"
    missing = [name for name in needed if name not in table.columns]
    if missing:
        return f"it lacks {'column' if len(missing) == 1 else 'columns'} {', '.join(missing)}"
    if target:
        values = table.columns[target]
        if len(np.unique(values[~np.isnan(values)])) == 1:
            return f"its target {target!r} never changes"
    return ""


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
