"""What a store of readings knows besides its rows: columns, the home's zone, periods left out.

::

    readings/facts.fh    sealed as the parts are, replaced whole
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from fedhome.data.columns.units import conversion, converted
from fedhome.data.table import HomeTable
from fedhome.errors import SourceError, StateError
from fedhome.keys.sealing import SealedFile, SealingKey
from fedhome.store import disk

FACTS: Final = "facts.fh"
_PURPOSE = "facts of home's readings"
_FORMAT = 1

Kind = Literal["number", "flag", "words"]


@dataclass(frozen=True, kw_only=True)
class ExcludedPeriod:
    """A period that does not count.

    Args:
        number: By which it is undone.
        begin: First moment, Unix time in s.
        end: The moment after it, Unix time in s.
        columns: The columns of which it does not count; empty: all.
        why: What was said of it; or empty.
    """

    number: int
    begin: int
    end: int
    columns: tuple[str, ...] = ()
    why: str = ""

    def applied(self, table: HomeTable) -> HomeTable:
        """Return a table without the readings of the period."""
        inside = (table.time_s >= self.begin) & (table.time_s < self.end)
        if not inside.any():
            return table
        without = self.columns or table.columns.keys()
        columns = {
            name: np.where(inside, np.nan, values) if name in without else values
            for name, values in table.columns.items()
        }
        return replace(table, columns=columns)


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """What a column is.

    Args:
        kind: What it holds.
        unit: Its unit; empty: none is known.
    """

    kind: Kind
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What a store knows besides its rows.

    Args:
        zone: IANA name of the home's zone.
        columns: What its columns are, by name.
        excluded: Periods that do not count.
        next_number: Of the next exclusion.
    """

    zone: str = "UTC"
    columns: Mapping[str, ColumnFacts] = field(default_factory=dict)
    excluded: tuple[ExcludedPeriod, ...] = ()
    next_number: int = 1

    @classmethod
    def of(cls, tables: Iterable[HomeTable]) -> StoreFacts:
        """Return what rows tell of themselves; none of them knows a period that is left out."""
        facts, zone = cls(), "UTC"
        for table in tables:
            facts, zone = facts.with_columns(table), table.time_zone
        return replace(facts, zone=zone)

    def with_columns(self, table: HomeTable) -> StoreFacts:
        """Return them with the columns of a table that `conformed` gave."""
        columns = dict(self.columns)
        for name in table.columns:
            kind: Kind = "number"
            if name in table.labels:
                kind = "words"
            elif name in table.flags:
                kind = "flag"
            known = columns.get(name)
            if known is not None and known.kind != kind:
                kind = "words" if "words" in {known.kind, kind} else "number"
            unit = table.units.get(name, "" if known is None else known.unit)
            columns[name] = ColumnFacts(kind=kind, unit=unit)
        return replace(self, columns=columns)

    def conformed(self, table: HomeTable) -> tuple[HomeTable, list[str]]:
        """Return rows in the units of the store, and what was converted or taken for granted.

        Raises:
            SourceError: A column is of another kind here, or its unit cannot be converted.
        """
        columns, units, notes = dict(table.columns), dict(table.units), list[str]()
        for name, known in self.columns.items():
            if name not in columns:
                continue
            if (name in table.labels) and known.kind != "words":
                raise SourceError(
                    f"column {name!r} comes in words, and the home's store has numbers of it",
                    hint="correct the source, or give the column another name (rename)",
                )
            unit = units.get(name, "")
            if not known.unit or unit == known.unit:
                if unit and not known.unit:
                    notes.append(f"column {name!r} was taken for {unit} so far, too")
                continue
            if not unit:
                notes.append(f"column {name!r} came without a unit and was taken for {known.unit}")
            elif conversion(unit, known.unit) is None:
                raise SourceError(
                    f"column {name!r} comes in {unit}, and the home's store has it in {known.unit}",
                    hint="correct the source, or give the column another name (rename)",
                )
            else:
                columns[name] = converted(columns[name], unit, known.unit)
                notes.append(f"column {name!r} was converted from {unit} to {known.unit}")
            units[name] = known.unit
        if table.time_zone not in {self.zone, "UTC"}:
            notes.append(
                f"the times are on the clock of {table.time_zone}; the home's zone stays "
                f"{self.zone}"
            )
        # In one zone: hours and weekdays are those of the home, wherever a source has its clock.
        return replace(table, columns=columns, units=units, time_zone=self.zone), notes


def read_facts(folder: Path, home: str, key: bytes) -> StoreFacts | None:
    """Return what a store knows; None where the file is not there.

    Args:
        folder: The store's folder.
        home: The home's name.
        key: The key of its readings.

    Raises:
        StateError: ``truncated``, ``altered``, ``foreign``, ``format`` (of another release),
            ``wrong-key``, or as of `disk.read`.
    """
    path = folder / FACTS
    if not path.exists():
        return None
    where = str(path)
    sealed = SealedFile.from_file(disk.read(path), purpose=_PURPOSE, where=where)
    if sealed.head.name != home:
        raise StateError(
            f"{where} is of home {sealed.head.name!r}, not of {home!r}",
            reason="foreign",
            hint="bring this home's own file back, or remove it: periods left out are lost then",
        )
    plain = json.loads(SealingKey(key).open(sealed, where=where))
    if plain.pop("format", None) != _FORMAT:
        raise StateError(
            f"{where} is of another format",
            reason="format",  # no damage: what it says must not be replaced by what we can guess
            hint="another release of fedhome wrote it: use that one; nothing was changed",
        )
    return _from_plain(plain)


def write_facts(folder: Path, home: str, key: bytes, facts: StoreFacts) -> None:
    """Write what a store knows, in place of what it knew.

    Raises:
        StateError: As of `disk.put`.
    """
    content = json.dumps({"format": _FORMAT, **asdict(facts)}).encode()
    disk.put(folder / FACTS, SealingKey(key).seal(content, purpose=_PURPOSE, name=home))


def _from_plain(plain: dict[str, Any]) -> StoreFacts:
    excluded = [{**one, "columns": tuple(one["columns"])} for one in plain["excluded"]]
    return StoreFacts(
        zone=plain["zone"],
        columns={name: ColumnFacts(**one) for name, one in plain["columns"].items()},
        excluded=tuple(ExcludedPeriod(**one) for one in excluded),
        next_number=plain["next_number"],
    )
