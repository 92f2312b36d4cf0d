"""One home's columns: cell by cell understood, told of, and gathered as a table."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedhome.data.columns.cells import read_cells
from fedhome.data.columns.column_read import ColumnRead
from fedhome.data.columns.unit_columns import are_offsets, mixed_units, told_in_turns
from fedhome.data.columns.units import unit_of_name
from fedhome.data.files.data_files import Raw
from fedhome.data.files.table_file import UNNAMED
from fedhome.data.odd_course import odd_course
from fedhome.data.read_report import ColumnReport
from fedhome.data.table import HomeTable
from fedhome.data.times.axis import Axis
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import HomeReading, ReadingSettings
from fedhome.plan.step_rule import Rule

# What pandas calls a column without a name, and the index of a table in Parquet.
_NUMBERED = re.compile(r"Unnamed: \d+([._]\w+)*|__index_level_\d+__")


@dataclass
class HomeColumns:
    """A home's columns, as one after the other is read.

    Args:
        settings: What the rows themselves do not tell.
        numbers: Columns that must hold numbers.
        wanted: Columns that will be used; None: all may be.
        known: Of rows that arrive, how many were read before; see
            :func:`fedhome.data.home_files.read_rows`.

    Attributes:
        values: Readings, float64 ``[rows]``, by column.
        words: The words of columns of words; numbers index them.
        units: Units, by column.
        flags: Columns that are 0 or 1.
        empty: Columns that hold nothing.
        silent: Columns of which all that was read was known before.
        reports: How each column was read.
        notes: What was assumed, converted or left out, in sentences.
    """

    settings: ReadingSettings
    numbers: Collection[str]
    wanted: Collection[str] | None
    known: int
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    reports: list[ColumnReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The home's own rules, by column."""
        return self.settings.rules if isinstance(self.settings, HomeReading) else {}

    def read(self, raw: Raw, source: str, name: str) -> ColumnRead | None:
        """Read a column's cells; None where they make no sense and nothing needs them.

        Raises:
            SourceError: They make no sense, and may be used.
        """
        try:
            read = _cells(raw, source, self.settings, name in self.numbers)
        except SourceError as error:
            if self.wanted is None or name in self.wanted:
                raise
            self.notes.append(f"column {source!r} was left out: {error.message}")
            return None
        if name != source and not read.unit and read.kind == "number":
            return replace(read, unit=unit_of_name(name))  # who renames it says what it holds
        return read

    def add(self, name: str, source: str, read: ColumnRead, axis: Axis) -> None:
        """Take a column, its rows in the order of time."""
        if is_nameless(source):
            if read.kind != "empty":
                self.notes.append("a column without a name was left out")
            return
        values = read.values[axis.rows]
        self.notes += read.notes
        self.reports.append(
            ColumnReport.of(
                values,
                name=name,
                source=source,
                kind=read.kind,
                unit=read.unit,
                format=read.format,
                words=read.words,
            )
        )
        if read.kind == "left out":
            return
        if len(values) and bool(np.all(np.isnan(values))):
            (self.silent if self.known and read.kind != "empty" else self.empty).append(name)
            return
        self.values[name] = values
        meter = self.rules.get(name) == "difference"  # is known to be one that counts up
        if read.kind == "number" and axis.format and not meter:  # numbered rows have no course
            zone = axis.time_zone
            self.notes += odd_course(values, axis.time_s, source=source, name=name, time_zone=zone)
        if read.kind == "flag":
            self.flags.append(name)
        if read.words:
            self.words[name] = read.words
            if mixed := mixed_units(read.words):
                self.notes.append(
                    f"column {source!r} gives some rows in {mixed}: no reading was converted by it"
                )
            if axis.naive and are_offsets(read.words):
                self.notes.append(
                    f"column {source!r} holds offsets or zones, and no time was read by it: write "
                    "each behind its time, as in 2024-05-31T14:00:00+02:00, or name the home's in "
                    "data.time_zone"
                )
        if read.unit:
            self.units[name] = read.unit

    def table(self, home: str, axis: Axis) -> HomeTable:
        """Return what was read."""
        return HomeTable(
            home=home,
            time_s=axis.time_s,
            columns=self.values,
            time_zone=axis.time_zone,
            labels=self.words,
            units=self.units,
            flags=frozenset(self.flags),
            rules={name: rule for name, rule in self.rules.items() if name in self.values},
        )

    def told(self) -> list[str]:
        """Return what was noticed."""
        told = [*self.notes, *told_in_turns(self.values, self.units)]
        if not self.empty:
            return told
        return [*told, f"left out, because nothing is in them: {', '.join(self.empty)}"]


def is_nameless(source: str) -> bool:
    """Whether a column has no name of its own in its file."""
    return source.startswith(UNNAMED) or bool(_NUMBERED.fullmatch(source))


def _cells(raw: Raw, source: str, settings: ReadingSettings, numeric: bool) -> ColumnRead:
    read = read_cells(
        raw.rows[source], name=source, settings=settings, location_of=raw.location, numeric=numeric
    )
    if raw.time and read.kind == "number":  # an entity's name says nothing of its unit
        return replace(read, unit=raw.units.get(source, ""))
    return replace(read, unit=read.unit or raw.units.get(source, ""))
