"""The states of Home Assistant's entities, as far back as its recorder goes: a value a span."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.data.columns.units import conversion, converted, unit_named
from fedhome.data.files.held_states import (
    NOTHING,
    RowSpans,
    lasts_of,
    means_of,
    pieces_of,
    silenced,
)
from fedhome.data.files.home_assistant_entities import (
    RISING,
    EntityFacts,
    EntityKind,
    facts_of,
    is_read,
    kind_of_entity,
    misfits,
    number_of,
    words_of,
)

FETCHED: Final = 1 << 15
"""Rows of a database that are taken together."""
BETWEEN: Final = (946_684_800.0, 4_102_444_800.0)
"""2000 to 2100, UTC seconds: what was written outside was by a clock that was not set."""

_STATES = (
    "SELECT last_updated_ts, CAST(state AS TEXT), CAST(attributes_id AS INTEGER) FROM states "
    "WHERE metadata_id = ? AND last_updated_ts >= ? AND last_updated_ts < ? "
    "ORDER BY last_updated_ts"
)
_BEFORE = (
    "SELECT max(last_updated_ts) FROM states WHERE metadata_id = ? AND last_updated_ts <= ? "
    "AND last_updated_ts >= ?"
)
_NEWEST = (
    "SELECT CAST(attributes_id AS INTEGER) FROM states WHERE metadata_id = ? "
    "AND last_updated_ts >= ? AND last_updated_ts < ? ORDER BY last_updated_ts DESC LIMIT 1"
)
_ATTRIBUTES = "SELECT CAST(shared_attrs AS TEXT) FROM state_attributes WHERE attributes_id = ?"


@dataclass(frozen=True, kw_only=True)
class EntityColumn:
    """A column of numbers, or of words.

    Args:
        values: Numbers, ``[rows]``, NaN where none is known; or places in ``words``, `NOTHING`
            where none is known.
        words: The words, where it holds words.
        unit: The numbers' unit, as Home Assistant writes it.
        notes: What was converted or left out, in plain sentences.
    """

    values: NDArray[np.float64] | NDArray[np.int64]
    words: tuple[str, ...] = ()
    unit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where it says something, ``[rows]``."""
        return self.values != NOTHING if self.words else np.isfinite(self.values)

    def cells(self, rows: NDArray[np.int64]) -> pa.Array:
        """Return some of its rows as Arrow has them."""
        empty = ~self.known[rows]
        if not self.words:
            return pa.array(self.values[rows], mask=empty)
        places = pa.array(self.values[rows], mask=empty)
        return pa.array(self.words, pa.string()).take(places)


class _Read(NamedTuple):
    """An entity's states: when they began, and their numbers in lists of different ones."""

    at_s: NDArray[np.float64]
    codes: NDArray[np.int64]
    states: list[str | None]
    fact_codes: NDArray[np.int64]
    facts: list[EntityFacts]

    @property
    def newest(self) -> EntityFacts:
        """What the entity said last of itself."""
        told = [self.facts[code] for code in self.fact_codes[::-1].tolist()[:1]]
        return told[0] if told else EntityFacts()


class StatesReader:
    """Reads entities one after the other, each in the order of time.

    Args:
        connection: To the database.
        spans: The table's rows.
        ends_s: Moments from which on nothing was written for a while, ``[ends]``.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, spans: RowSpans, ends_s: NDArray[np.float64]
    ) -> None:
        self._connection, self._spans, self._ends_s = connection, spans, ends_s
        self._facts: dict[int, EntityFacts] = {}

    def column(
        self, number: int, entity: str, kept: EntityColumn | None
    ) -> EntityColumn | EntityKind:
        """Return an entity's column; where its states are no readings, what they are.

        Args:
            number: The entity's number in the database.
            entity: Its name.
            kept: The means that Home Assistant keeps of it, which its states go on from.
        """
        if not is_read(entity):
            return "other"
        since = None
        if kept is not None and kept.known.any():
            last = int(np.flatnonzero(kept.known)[-1])
            since = float((self._spans.numbers[last] + 1) * self._spans.every_s)
        read = self._read(number, since)
        facts = read.newest
        kind = kind_of_entity(entity, facts, read.states, has_statistics=kept is not None)
        if kind == "words":
            return self._words(entity, read)
        if kind != "number":
            return kind
        return self._numbers(entity, read, kept, since)

    def counted(self, number: int, entity: str, kept: EntityColumn) -> EntityColumn:
        """Return what an entity counted, without what it cannot have.

        Where its sum fell though it only rises, Home Assistant began its statistics anew.

        Args:
            number: The entity's number in the database.
            entity: Its name.
            kept: What it counted in each span.
        """
        newest = self._connection.execute(_NEWEST, (number, *BETWEEN)).fetchone()
        rises = newest is not None and self._facts_of(newest[0]).state_class == RISING
        fell = kept.values < 0
        if not rises or not (count := int(fell.sum())):
            return kept
        note = (
            f"{entity}: {counted(count, 'row')} {was(count)} left out of it, as its sum fell there"
        )
        return replace(kept, values=np.where(fell, np.nan, kept.values), notes=(note,))

    def _read(self, number: int, since: float | None) -> _Read:
        begin = BETWEEN[0]
        if since is not None:  # the state that holds then began before
            found = self._connection.execute(_BEFORE, (number, since, begin)).fetchone()[0]
            begin = since if found is None else found
        cursor = self._connection.execute(_STATES, (number, begin, BETWEEN[1]))
        at: list[NDArray[np.float64]] = []
        codes: list[NDArray[np.int64]] = []
        told: list[NDArray[np.int64]] = []
        states: dict[str | None, int] = {}
        attributes: dict[int | None, int] = {}
        while rows := cursor.fetchmany(FETCHED):
            at.append(np.array([row[0] for row in rows], dtype=np.float64))
            codes.append(np.array([states.setdefault(row[1], len(states)) for row in rows]))
            told.append(np.array([attributes.setdefault(row[2], len(attributes)) for row in rows]))
        return _Read(
            at_s=np.concatenate([*at, np.empty(0)]),
            codes=np.concatenate([*codes, np.empty(0, np.int64)]),
            states=list(states),
            fact_codes=np.concatenate([*told, np.empty(0, np.int64)]),
            facts=[self._facts_of(one) for one in attributes],
        )

    def _facts_of(self, number: int | None) -> EntityFacts:
        if number is None:
            return EntityFacts()
        if number not in self._facts:
            found = self._connection.execute(_ATTRIBUTES, (number,)).fetchone()
            self._facts[number] = facts_of(found[0] if found else None)
        return self._facts[number]

    def _words(self, entity: str, read: _Read) -> EntityColumn:
        said = words_of(entity, read.states)
        words = sorted({word for word in said if word is not None})
        place = {word: number for number, word in enumerate(words)}
        own = np.array([NOTHING if word is None else place[word] for word in said], dtype=np.int64)
        codes = own[read.codes] if len(own) else read.codes
        at_s, codes = silenced(read.at_s, codes, self._ends_s)
        pieces = pieces_of(at_s, codes, self._spans)
        values = lasts_of(codes, pieces, len(self._spans.numbers))
        if not words:
            return EntityColumn(values=np.full(len(values), np.nan))
        return EntityColumn(values=values, words=tuple(words))

    def _numbers(
        self, entity: str, read: _Read, kept: EntityColumn | None, since: float | None
    ) -> EntityColumn:
        rows = len(self._spans.numbers)
        unit = read.newest.unit if kept is None else kept.unit
        notes: list[str] = []
        own = np.array([number_of(state) for state in read.states], dtype=np.float64)
        values = own[read.codes] if len(own) else np.empty(0)
        if odd := misfits(read.states):
            places = [number for number, state in enumerate(read.states) if state in odd]
            count = int(np.isin(read.codes, places).sum())
            notes.append(
                f"{entity}: {counted(count, 'state')} that {was(count)} no number {was(count)} "
                "taken for missing"
            )
        for code, facts in enumerate(read.facts):
            if facts.unit != unit:
                own_rows = (read.fact_codes == code) & np.isfinite(values)
                values[own_rows], told = _in_unit(values[own_rows], facts.unit, unit)
                notes += [f"{entity}: {told}"] if told else []
        codes = np.where(np.isfinite(values), np.arange(len(values)), NOTHING)
        at_s, codes = silenced(read.at_s, codes, self._ends_s)
        pieces = pieces_of(at_s, codes, self._spans)
        means = means_of(
            np.append(values, np.nan), pieces._replace(state=codes[pieces.state]), rows
        )
        if kept is None:
            return EntityColumn(values=means, unit=unit, notes=tuple(notes))
        later = self._spans.numbers * self._spans.every_s >= (since or 0.0)
        return EntityColumn(
            values=np.where(later, means, kept.values), unit=unit, notes=tuple(notes)
        )


def _in_unit(
    values: NDArray[np.float64], unit: str, wanted: str
) -> tuple[NDArray[np.float64], str]:
    """Return numbers in the unit of their column, NaN where none leads there; and what is told."""
    count = len(values)
    if not count:
        return values, ""
    own, known = unit_named(unit), unit_named(wanted)
    if own and own == known:
        return values, ""
    if own and known and conversion(own, known) is not None:
        told = f"{counted(count, 'state')} in {own} {was(count)} converted to {known}"
        return converted(values, own, known), told
    where = f"in {own}" if own else "in another unit, or in none,"
    told = f"{counted(count, 'state')} {where} {was(count)} left out"
    return np.full(count, np.nan), f"{told}: its readings are in {known or 'another unit'}"
