"""A home's durable store of readings: appended by day, read back as one table.

::

    readings/    in the home's folder: the parts (:mod:`.day_parts`), and what it knows besides
                 (:mod:`.store_facts`)

What `ReadingStore.append` has returned from is on the disk, whatever happens next. The first
filling appears at once: it is written beside, and renamed into place.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fedhome.clients.recorded.day_parts import Part, Parts
from fedhome.clients.recorded.readings_key import FOLDER, UNFINISHED, readings_key
from fedhome.clients.recorded.store_facts import (
    FACTS,
    ExcludedPeriod,
    StoreFacts,
    read_facts,
    write_facts,
)
from fedhome.clients.recorded.table_rows import (
    by_day,
    change_of,
    day_name,
    joined,
    rows_where,
)
from fedhome.counted import counted, was
from fedhome.data.table import HomeTable
from fedhome.errors import StateError
from fedhome.plan.time_steps import DAY_S
from fedhome.store import disk

_MOST_PARTS = 16  # of a day; the next one takes their place
_PATIENCE_S = 20.0
_DAMAGED = frozenset({"altered", "truncated", "foreign"})
_AGAIN = 8  # times that a reader looks anew while a writer tidies up


@dataclass(frozen=True, kw_only=True)
class StoredReadings:
    """What a store holds, but for the periods left out.

    Args:
        table: The readings; rows of which nothing counts are left out.
        notes: What cannot be read of it, in plain sentences.
        excluded_rows: Rows that lost a reading to a period left out.
    """

    table: HomeTable
    notes: tuple[str, ...] = ()
    excluded_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Appended:
    """What became of rows that came.

    Args:
        new: Rows of a time that was not there.
        filled: Rows that completed one of their time.
        replaced: Rows that put another reading in the place of an earlier one.
        known: Rows that brought nothing new.
        late: Of the new ones, those older than the newest row that was there.
        gone: Rows that were too old to be kept, of those that came and of those that were there.
        notes: What was converted, or is wrong with the store, in plain sentences.
    """

    new: int = 0
    filled: int = 0
    replaced: int = 0
    known: int = 0
    late: int = 0
    gone: int = 0
    notes: tuple[str, ...] = ()


class ReadingStore:
    """The readings of one home.

    Args:
        folder: The store's own folder.
        home: The home's name.
        key: The key of its readings (:mod:`.readings_key`).
    """

    def __init__(self, folder: Path, home: str, key: bytes) -> None:
        self.folder, self.home, self._key = folder, home, key
        self._parts = Parts(folder, home, key)

    @classmethod
    def of(cls, home_folder: Path, home: str) -> ReadingStore:
        """Return the store in a home's folder, with the key that lies there.

        Raises:
            StateError: As of `disk.read_key`.
        """
        return cls(home_folder / FOLDER, home, readings_key(home_folder))

    @staticmethod
    def there(home_folder: Path) -> bool:
        """Return whether a home's folder has a store."""
        return (home_folder / FOLDER).is_dir()

    @property
    def key(self) -> bytes:
        """What opens it, and nothing else of the home's."""
        return self._key

    @property
    def files(self) -> list[Path]:
        """Every file of it, and what a crash left of one."""
        with disk.errors_of(self.folder):
            return sorted(self.folder.iterdir()) if self.folder.is_dir() else []

    def create(self, first: HomeTable) -> Appended:
        """Make the store, with its first rows; it is there whole or not at all.

        Args:
            first: What the home has so far.

        Raises:
            StateError: ``exists``, or as of `disk.put`.
        """
        new = self.folder.with_name(UNFINISHED)
        with disk.errors_of(self.folder):
            if self.folder.exists():
                raise StateError(
                    f"{self.folder} is there already",
                    reason="exists",
                    hint="record more into it; what is there already is known",
                )
            if new.exists():  # of a filling that was cut short: nobody was told that it is kept
                shutil.rmtree(new)
            new.mkdir(mode=0o700)
        Parts(new, self.home, self._key).write(by_day(first))
        write_facts(new, self.home, self._key, StoreFacts.of([first]))
        with disk.errors_of(self.folder):
            os.rename(new, self.folder)  # noqa: PTH104 - a test ends the process at each step
        disk.sync(self.folder.parent)
        return Appended(new=first.rows)

    def append(self, rows: HomeTable, *, now_s: float, keep_days: float = 0.0) -> Appended:
        """Add rows; they are on the disk when this returns.

        Args:
            rows: In the order of time; of rows of a time that is there already each reading takes
                the place of the earlier one.
            now_s: The present, Unix time in s.
            keep_days: How long readings are kept; 0: for ever.

        Raises:
            SourceError: A column is of another kind or unit than so far.
            StateError: ``in-use`` for long, or as of `disk.put`. Some days' rows may be there then,
                which does no harm when all come again.
        """
        with self._held():
            facts, notes = self._facts()
            rows, told = facts.conformed(rows)
            notes += told
            oldest_s = self._oldest_kept(rows, now_s, keep_days)
            young = rows_where(rows, rows.time_s >= oldest_s)
            if (widened := facts.with_columns(young)) != facts:
                write_facts(self.folder, self.home, self._key, widened)
            done = self._added(young, notes)
            gone = rows.rows - young.rows + self._retire(oldest_s)
        if gone:
            day = day_name(int(oldest_s // DAY_S))
            notes.append(
                f"{counted(gone, 'row')} from before {day} {was(gone)} not kept: keep_days is "
                f"{keep_days:g}"
            )
        return replace(done, gone=gone, notes=tuple(notes))

    def read(self) -> StoredReadings:
        """Return what counts of the readings; it takes no lock.

        Raises:
            StateError: ``wrong-key``, or as of `disk.read`. What is damaged is told in the notes,
                and the rest counts.
        """
        whole, notes = self.everything()
        table = whole
        for one in self.excluded:
            table = one.applied(table)
        lost, empty = np.zeros(table.rows, dtype=bool), np.ones(table.rows, dtype=bool)
        for name, values in table.columns.items():
            lost |= np.isnan(values) & ~np.isnan(whole.columns[name])
            empty &= np.isnan(values)
        rows = rows_where(table, ~(empty & lost))
        if count := int(lost.sum()):
            notes.append(f"{counted(count, 'row')} in periods that are left out (`exclude`)")
        return StoredReadings(table=rows, notes=tuple(notes), excluded_rows=count)

    def everything(self) -> tuple[HomeTable, list[str]]:
        """Return all that is there, periods left out too, and what cannot be read.

        Raises:
            StateError: As of `read`.
        """
        facts, notes = self._facts()
        for left in reversed(range(_AGAIN)):
            try:
                tables, faults = self._read_parts(self._parts.listed())
            except StateError as error:
                if error.reason != "missing" or not left:
                    raise
                continue  # a writer has put several parts into one
            return joined(tables, home=self.home, time_zone=facts.zone), [*notes, *faults]
        raise AssertionError("the last time returns or raises")

    @property
    def excluded(self) -> tuple[ExcludedPeriod, ...]:
        """The periods that do not count."""
        return self.facts.excluded

    @property
    def facts(self) -> StoreFacts:
        """What the store knows besides its rows."""
        return self._facts(told=False)[0]

    def exclude(self, begin: int, end: int, columns: tuple[str, ...], why: str) -> ExcludedPeriod:
        """Let a period not count; its readings stay, and `undo` brings them back.

        Raises:
            StateError: As of `append`.
        """
        with self._held():
            facts, _ = self._facts()
            one = ExcludedPeriod(
                number=facts.next_number, begin=begin, end=end, columns=columns, why=why
            )
            kept = (*facts.excluded, one)
            facts = replace(facts, excluded=kept, next_number=one.number + 1)
            write_facts(self.folder, self.home, self._key, facts)
        return one

    def undo(self, number: int) -> ExcludedPeriod:
        """Let a period count again.

        Raises:
            StateError: ``missing``: there is none of the number; or as of `append`.
        """
        with self._held():
            facts, _ = self._facts()
            found = [one for one in facts.excluded if one.number == number]
            if not found:
                there = ", ".join(str(one.number) for one in facts.excluded) or "none"
                raise StateError(
                    f"no period of number {number} is left out",
                    reason="missing",
                    hint=f"numbers that are: {there}",
                )
            kept = tuple(one for one in facts.excluded if one.number != number)
            write_facts(self.folder, self.home, self._key, replace(facts, excluded=kept))
        return found[0]

    def _added(self, rows: HomeTable, notes: list[str]) -> Appended:
        listed = self._parts.listed()
        newest = listed[-1].day if listed else ""
        totals = Counter[str]()
        wanted: dict[str, HomeTable] = {}
        replaced: list[Part] = []
        for day, its in by_day(rows).items():
            parts = [part for part in listed if part.day == day]
            tables, faults = self._read_parts(parts)
            notes += faults
            before = joined(tables, home=self.home, time_zone=rows.time_zone)
            change = change_of(before, its)
            brings = change.new | change.filled | change.replaced
            totals["new"] += int(change.new.sum())
            totals["filled"] += int(change.filled.sum())
            totals["replaced"] += int(change.replaced.sum())
            totals["known"] += int(np.sum(~brings))
            if day < newest:
                totals["late"] += int(change.new.sum())
            elif day == newest and before.rows:
                totals["late"] += int(np.sum(change.new & (its.time_s < before.time_s[-1])))
            if not brings.any():
                continue
            wanted[day] = rows_where(its, brings)
            if len(parts) >= _MOST_PARTS and not faults:
                both = (*tables, wanted[day])
                wanted[day] = joined(both, home=self.home, time_zone=rows.time_zone)
                replaced += parts
        if wanted:
            self._parts.write(wanted)
            self._parts.remove(replaced)
        return Appended(
            new=totals["new"],
            filled=totals["filled"],
            replaced=totals["replaced"],
            known=totals["known"],
            late=totals["late"],
        )

    def _oldest_kept(self, rows: HomeTable, now_s: float, keep_days: float) -> float:
        """Return from when on readings are kept, at the beginning of a day.

        Neither a clock that is far ahead nor a reading from the future takes the others away.
        """
        listed = self._parts.listed()
        if keep_days <= 0 or not (listed or rows.rows):
            return -np.inf
        newest = [int(rows.time_s[-1])] if rows.rows else []
        if listed:
            newest.append(int(np.datetime64(listed[-1].day, "s").astype(np.int64)) + DAY_S - 1)
        last = min(float(max(newest)), now_s)
        return float((last - keep_days * DAY_S) // DAY_S * DAY_S)

    def _retire(self, oldest_s: float) -> int:
        """Remove days that are too old; return how many rows they had."""
        if not np.isfinite(oldest_s):
            return 0
        first = day_name(int(oldest_s // DAY_S))
        old = [part for part in self._parts.listed() if part.day < first]
        if not old:
            return 0
        tables, _ = self._read_parts(old)
        self._parts.remove(old)
        return joined(tables, home=self.home, time_zone="UTC").rows

    def _read_parts(self, parts: list[Part]) -> tuple[list[HomeTable], list[str]]:
        """Return what parts hold, and what is wrong with those that are damaged."""
        tables, faults = [], []
        for part in parts:
            try:
                tables.append(self._parts.read(part))
            except StateError as error:
                if error.reason not in _DAMAGED:
                    raise
                faults.append(
                    f"{error.message}: its readings of {part.day} do not count; check the disk, "
                    "and record that day again"
                )
        return tables, faults

    def _facts(self, *, told: bool = True) -> tuple[StoreFacts, list[str]]:
        """Return what the store knows; from its rows, where that file is lost."""
        try:
            facts, why = read_facts(self.folder, self.home, self._key), "is not there"
        except StateError as error:
            if error.reason not in _DAMAGED:
                raise
            facts, why = None, "is damaged"
        if facts is not None:
            return facts, []
        tables, _ = self._read_parts(self._parts.listed())
        note = f"{self.folder / FACTS} {why}: which periods were left out is lost"
        return StoreFacts.of(tables), [note] if told else []

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the store, so that two processes do not write at once; wait while another does."""
        lock = disk.lock(self.folder, wait_s=_PATIENCE_S)
        try:
            self._parts.tidy()
            yield
        finally:
            os.close(lock)
