"""Rows of several tables of one home as one table: of one time, what was written last counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.plan.time_steps import DAY_S


def joined(tables: Sequence[HomeTable], *, home: str, time_zone: str) -> HomeTable:
    """Return the rows of tables as one: cell by cell, the last table that holds one counts.

    A cell without a reading takes nothing away from an earlier one. Numbers in a column that has
    words elsewhere become words.

    Args:
        tables: In the order in which they were written.
        home: The home's name.
        time_zone: The home's zone.
    """
    if not tables:
        return HomeTable(home=home, time_s=np.empty(0, np.int64), columns={}, time_zone=time_zone)
    all_s = np.concatenate([table.time_s for table in tables])
    time_s, places = np.unique(all_s, return_inverse=True)
    bounds = np.cumsum([0, *(table.rows for table in tables)])
    columns: dict[str, NDArray[np.float64]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(name for table in tables for name in table.columns):
        having = [place for place, table in enumerate(tables) if name in table.columns]
        if words := _words_of(name, [tables[place] for place in having]):
            labels[name] = words
        column = np.full(len(time_s), np.nan)
        for place in having:
            values = numbered(tables[place], name, words) if words else tables[place].columns[name]
            there = ~np.isnan(values)
            column[places[bounds[place] : bounds[place + 1]][there]] = values[there]
        columns[name] = column
    numeric = [name for name in columns if name not in labels]
    flags = {
        name
        for name in numeric
        if all(name in table.flags for table in tables if name in table.columns)
    }
    units = {name: unit for table in tables for name, unit in table.units.items()}
    return HomeTable(
        home=home,
        time_s=time_s,
        columns=columns,
        time_zone=time_zone,
        labels=labels,
        units=units,
        flags=frozenset(flags),
    )


def numbered(table: HomeTable, name: str, words: Sequence[str]) -> NDArray[np.float64]:
    """Return a column as indices into other words, float64 ``[rows]``.

    Args:
        table: The table.
        name: The column.
        words: Sorted; all that stand in it are among them.
    """
    values = table.columns[name]
    there = ~np.isnan(values)
    result = np.full(len(values), np.nan)
    own = table.labels.get(name)
    if own is None:
        texts = [_as_word(value) for value in values[there]]
        result[there] = np.searchsorted(np.array(words), np.array(texts))
    elif there.any():
        places = np.searchsorted(np.array(words), np.array(own))
        result[there] = places[values[there].astype(np.int64)]
    return result


def rows_where(table: HomeTable, kept: NDArray[np.bool_]) -> HomeTable:
    """Return some of a table's rows.

    Args:
        table: The table.
        kept: Which ones, ``[rows]``.
    """
    return HomeTable(
        home=table.home,
        time_s=table.time_s[kept],
        columns={name: values[kept] for name, values in table.columns.items()},
        time_zone=table.time_zone,
        labels=table.labels,
        units=table.units,
        flags=table.flags,
        rules=table.rules,
    )


def by_day(table: HomeTable) -> dict[str, HomeTable]:
    """Return a table's rows by their day in UTC, such as ``2026-11-28``."""
    days = table.time_s // DAY_S
    return {day_name(int(day)): rows_where(table, days == day) for day in np.unique(days)}


def day_name(day: int) -> str:
    """Return the name of a day, counted from 1970, in UTC."""
    return str(np.datetime64(day, "D"))


class Change(NamedTuple):
    """What rows bring to those that are there: ``[rows]`` each."""

    new: NDArray[np.bool_]
    """A time that was not there."""
    filled: NDArray[np.bool_]
    """A reading where there was none, and no other one."""
    replaced: NDArray[np.bool_]
    """Another reading in the place of one."""


def change_of(before: HomeTable, rows: HomeTable) -> Change:
    """Return what rows bring to those that are there already."""
    place = np.searchsorted(before.time_s, rows.time_s)
    known = np.zeros(rows.rows, dtype=bool)
    inside = place < before.rows
    known[inside] = before.time_s[place[inside]] == rows.time_s[inside]
    filled, replaced = np.zeros_like(known), np.zeros_like(known)
    for name in rows.columns:
        now, then = rows.columns[name], np.full(rows.rows, np.nan)
        if name in before.columns:
            words = _words_of(name, [before, rows])
            had = numbered(before, name, words) if words else before.columns[name]
            now = numbered(rows, name, words) if words else now
            then[known] = had[place[known]]
        there, was = ~np.isnan(now), ~np.isnan(then)
        filled |= known & there & ~was
        replaced |= known & there & was & (now != then)
    return Change(new=~known, filled=filled & ~replaced, replaced=replaced)


def _words_of(name: str, tables: Sequence[HomeTable]) -> tuple[str, ...]:
    """Return all words of a column, sorted; none of a column of numbers."""
    if not any(name in table.labels for table in tables):
        return ()
    found: set[str] = set()
    for table in tables:
        if name in table.labels:
            found.update(table.labels[name])
        elif name in table.columns:
            values = table.columns[name]
            found.update(_as_word(value) for value in values[~np.isnan(values)])
    return tuple(sorted(found))


def _as_word(value: float) -> str:
    return f"{value:.15g}"
