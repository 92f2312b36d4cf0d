"""Readings into a home's store: from files, tables in memory, and lines as they arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.own_readings import read_files
from fedhome.clients.recorded.arriving_lines import (
    ArrivingLines,
    LinesRead,
    RefusedLine,
    Understanding,
)
from fedhome.clients.recorded.reading_store import Appended, ReadingStore
from fedhome.counted import counted
from fedhome.data.files.data_files import Raw
from fedhome.data.files.json_rows import checked, table_of
from fedhome.data.home_files import HomeFilesRead, read_home
from fedhome.data.table import CLOCKS_APART_S, HomeTable
from fedhome.errors import DataError, SourceError
from fedhome.learning.tasks import kind_of
from fedhome.plan.input_settings import InputKind, InputSpec
from fedhome.plan.own_reading import NOTHING_OWN, reading_of
from fedhome.plan.reading_settings import HomeReading
from fedhome.plan.settings import Plan

JSON_LINES = (".jsonl", ".ndjson", ".json")
_BLOCK = 20_000  # lines of a file that are read together


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of readings that were to be recorded; they are on the disk.

    Args:
        rows: Rows that came, and were understood.
        new: Rows of a time that was not there.
        filled: Rows that completed one of their time.
        replaced: Rows that put another reading in the place of an earlier one.
        known: Rows that brought nothing new, or came with another of their time.
        late: Of the new ones, those older than the newest row that was there.
        gone: Rows that were too old to be kept, of those that came and of those that were there.
        refused: Lines that were not recorded, and why.
        notes: What was assumed, converted or left out, in plain sentences.
    """

    rows: int
    new: int
    filled: int
    replaced: int
    known: int
    late: int
    gone: int
    refused: tuple[RefusedLine, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What a store began with.

    Args:
        source: The file or folder of readings that the home had so far; empty: it began without.
        rows: Rows of it.
        notes: What was assumed, converted or left out, in plain sentences.
    """

    source: str
    rows: int
    notes: tuple[str, ...]


class Recorder:
    """What records into a home's store; the store is made with the first of it.

    Args:
        home_folder: The home's folder.
        reading: How what comes is to be read, where that differs from the home's own files.
        clock: The present, Unix time in s.

    Raises:
        RunError: There is no home in the folder.
        PlanError: The plan names no inputs.
        StateError: The home's key cannot be read.
    """

    def __init__(
        self,
        home_folder: HomeFolder,
        *,
        reading: Mapping[str, Any] = NOTHING_OWN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home_folder, self._clock = home_folder, clock
        self._settings = home_folder.settings
        self._plan = Plan.load(home_folder.plan_path)
        self._reading = {**self._settings.reading, **reading}
        self.store = ReadingStore.of(home_folder.path, self._settings.home)

    def begin(self, *, filled: bool = True) -> Filling | None:
        """Make the store, with what the home has in its files so far; None if it is there.

        Args:
            filled: Whether those files are its first filling; else it begins empty.

        Raises:
            DataError: They cannot be used, or their rows have no times.
            StateError: As of :meth:`ReadingStore.create`.
        """
        if ReadingStore.there(self._home_folder.path):
            return None
        if not filled or not self._settings.data:
            self.store.create(
                HomeTable(home=self._settings.home, time_s=np.empty(0, np.int64), columns={})
            )
            return Filling(source="", rows=0, notes=())
        source = Path(self._settings.data)
        try:
            read = read_files(
                self._plan,
                source,
                name=self._settings.home,
                reading=self._settings.reading,
                whole=True,
            )
        except DataError as error:
            hint = "or begin without these: --without-data"
            raise SourceError(
                f"the store begins with the home's readings so far, and they cannot be used: "
                f"{error.message}",
                hint=f"{error.hint}; {hint}" if error.hint else hint,
            ) from None
        _check_timed(read.table, str(source))
        self.store.create(read.table)
        return Filling(source=str(source), rows=read.table.rows, notes=read.notes)

    @property
    def understanding(self) -> Understanding:
        """How what comes is read."""
        data = self._plan.data
        numbers = {spec.name for spec in data.inputs or () if spec.kind != "words"}
        if kind_of(self._plan.task.kind).targets == "continuous":
            numbers.add(data.target)
        columns = self.store.facts.columns
        numbers |= {name for name, one in columns.items() if one.kind != "words"}
        numbers -= {name for name, one in columns.items() if one.kind == "words"}
        wanted = {data.target, *data.rules, *(spec.name for spec in data.inputs or ())}
        return Understanding(
            home=self._settings.home,
            settings=self.settings,
            numbers=frozenset(numbers),
            wanted=frozenset(wanted),
        )

    @property
    def settings(self) -> HomeReading:
        """How what comes is to be read: as the plan, the home and the caller say."""
        return reading_of(self._plan.data, self._reading)

    @property
    def columns(self) -> dict[str, InputSpec | None]:
        """What the plan uses, by name; None of what is whatever comes."""
        data, task = self._plan.data, self._plan.task
        target: InputSpec | None = InputSpec(name=data.target, unit=data.target_unit)
        if kind_of(task.kind).targets != "continuous":
            kinds: dict[str, InputKind] = {"binary": "flag"}
            kind = "words" if task.classes else kinds.get(task.kind)
            target = InputSpec(name=data.target, kind=kind) if kind else None
        found: dict[str, InputSpec | None] = dict.fromkeys(data.rules)
        found |= {spec.name: spec for spec in data.inputs or ()}
        return {**found, data.target: found.get(data.target) or target}

    def file(self, path: Path) -> Recorded:
        """Record a file, or a folder of files, as it is now.

        Args:
            path: As :func:`fedhome.data.home_files.read_home` takes, or JSON with an object a line.

        Raises:
            DataError: It cannot be read, or its rows have no times.
            StateError: As of :meth:`ReadingStore.append`.
        """
        if path.suffix.lower() in JSON_LINES:
            return self._json_file(path)
        how = self.understanding
        read = read_home(
            path,
            home=how.home,
            settings=how.settings,
            numbers=how.numbers,
            wanted=how.wanted,
            step=self._plan.data.step,
        )
        return self._kept(how.with_near_names(read), str(path))

    def rows(self, rows: object) -> Recorded:
        """Record rows that are in memory.

        Args:
            rows: A table (of pandas, Arrow, polars, or columns by name), a list of mappings from
                names to single values, or a :class:`fedhome.HomeTable`.

        Raises:
            DataError: It is none of these, or what does not make sense in it.
            StateError: As of :meth:`ReadingStore.append`.
        """
        how = self.understanding
        if isinstance(rows, HomeTable):
            return self._kept(HomeFilesRead(table=replace(rows, home=how.home)), "the table")
        if isinstance(rows, Iterable) and not isinstance(rows, Mapping | str | bytes):
            listed = list(rows) if not hasattr(rows, "__arrow_c_stream__") else None
            if listed is not None:
                rows = table_of([checked(row) for row in listed], how.settings)
        try:
            table = pa.table(rows)
        except (TypeError, ValueError, pa.ArrowException) as error:
            raise SourceError(
                f"a value of type {type(rows).__name__} is no table of readings: {error}",
                hint="give a DataFrame, an Arrow table, columns by name, or a list of dictionaries",
            ) from None
        raw = Raw(rows=table, files=(("the table", table.num_rows),), formats=("a table",))
        if not table.num_rows:
            return _recorded(0, Appended())
        return self._kept(how.of(raw), "the table", rows=table.num_rows)

    def lines(self, name: str) -> ArrivingLines:
        """Return what understands the lines of a stream; `keep` records what it gives.

        Args:
            name: What the stream is called in messages.
        """
        return ArrivingLines(name, self.understanding)

    def keep(self, batch: LinesRead) -> Recorded:
        """Record what lines hold.

        Raises:
            DataError: A column is of another kind or unit than so far.
            StateError: As of :meth:`ReadingStore.append`.
        """
        if batch.table is None:
            return _recorded(0, Appended(), refused=batch.refused, notes=batch.notes)
        done = self._append(batch.table)
        return _recorded(batch.lines, done, refused=batch.refused, notes=batch.notes)

    def _json_file(self, path: Path) -> Recorded:
        lines, parts = self.lines(path.name), list[Recorded]()
        try:
            content = path.read_bytes().splitlines()
        except OSError as error:
            raise SourceError(
                f"{path}: {error.strerror}", hint="name a file that is there"
            ) from None
        for begin in range(0, len(content), _BLOCK):
            parts.append(self.keep(lines.take(content[begin : begin + _BLOCK])))
        return summed(parts)

    def _kept(self, read: HomeFilesRead, what: str, rows: int | None = None) -> Recorded:
        _check_timed(read.table, what)
        count = rows
        if count is None:
            count = read.table.rows if read.report is None else read.report.rows_read
        return _recorded(count, self._append(read.table), notes=read.notes)

    def _append(self, table: HomeTable) -> Appended:
        keep_days = self._home_folder.settings.keep_days
        now_s = self._clock()
        done = self.store.append(table, now_s=now_s, keep_days=keep_days)
        ahead_s = float(table.time_s.max()) - now_s if table.rows else 0.0
        if ahead_s <= CLOCKS_APART_S:
            return done
        note = (
            f"readings are up to {ahead_s / 3600:,.1f} h ahead of this device's clock: check that, "
            "and the readings' time zone"
        )
        return replace(done, notes=(*done.notes, note))


def record(home: Path | str, rows: object) -> Recorded:
    """Record readings in a home's store; they are on the disk when this returns.

    The first time, the store begins with the readings that the home has in its files so far.

    >>> row = {"time": "2026-11-28T18:00Z", "load_kwh": 0.42}
    >>> fedhome.record("kitchen", [row])  # doctest: +SKIP

    Args:
        home: The home's folder.
        rows: A table (of pandas, Arrow, polars, or columns by name), a list of mappings from names
            to single values, a :class:`fedhome.HomeTable`; or the path of a file or folder. A row
            takes the place of what is known of its time, reading by reading.

    Returns:
        What became of them.

    Raises:
        RunError: There is no home in the folder.
        DataError: The readings cannot be used: nothing is recorded.
        StateError: The store cannot be written.
    """
    recorder = Recorder(HomeFolder(home))
    begun = recorder.begin()
    done = recorder.file(Path(rows)) if isinstance(rows, Path | str) else recorder.rows(rows)
    if begun is None:
        return done
    told = f"the store began with {counted(begun.rows, 'row')} of {begun.source}"
    return replace(done, notes=(told, *done.notes))


def summed(parts: Sequence[Recorded]) -> Recorded:
    """Return what became of readings that were recorded one after the other."""
    return Recorded(
        rows=sum(one.rows for one in parts),
        new=sum(one.new for one in parts),
        filled=sum(one.filled for one in parts),
        replaced=sum(one.replaced for one in parts),
        known=sum(one.known for one in parts),
        late=sum(one.late for one in parts),
        gone=sum(one.gone for one in parts),
        refused=tuple(line for one in parts for line in one.refused),
        notes=tuple(dict.fromkeys(note for one in parts for note in one.notes)),
    )


def _recorded(
    rows: int,
    done: Appended,
    *,
    refused: tuple[RefusedLine, ...] = (),
    notes: tuple[str, ...] = (),
) -> Recorded:
    return Recorded(
        rows=rows,
        new=done.new,
        filled=done.filled,
        replaced=done.replaced,
        known=max(0, rows - done.new - done.filled - done.replaced),
        late=done.late,
        gone=done.gone,
        refused=refused,
        notes=(*notes, *done.notes),
    )


def _check_timed(table: HomeTable, what: str) -> None:
    if table.timeless:
        raise SourceError(
            f"the rows of {what} have no times, and readings are kept by day",
            hint="give each row a time, or name its column: --set time=NAME; a home whose rows "
            "have none goes on with its files",
        )
