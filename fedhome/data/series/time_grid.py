"""A home's readings on a grid of equal steps, whatever the clocks of its devices did.

Where the plan gives no ``data.step``, the readings of the target say it: they must keep a clock.
Memory is bounded by the rows: a step without a reading is no row, however long the gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.data.series.clocks import in_order
from fedhome.data.series.placing import HomeReadings, Placed, by_clock, by_column
from fedhome.data.series.step_rules import RULES, Stepped, Steps
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.step_rule import Rule
from fedhome.plan.time_steps import step_text
from fedhome.spelling import did_you_mean

_LEAST_ROWS = 3  # in two rows no step can be seen
_OF_NUMBERS: tuple[Rule, ...] = ("mean", "sum", "difference")
_OF_ONE: tuple[Rule, ...] = ("mean", "last", "sum")  # a step with one reading has its value


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A home's readings on a grid.

    Args:
        table: The readings, one row for each step that has any, at the step's beginning.
        steps: Each row's step, counted from 1970, int64 ``[rows]``, strictly increasing.
        notes: What was moved, put together or left out, in plain sentences.
        step_s: Seconds of a step; 1 where there is none.
    """

    table: HomeTable
    steps: NDArray[np.int64]
    step_s: int
    notes: tuple[str, ...]


def grid_of(table: HomeTable, data: DataSettings, columns: Sequence[str]) -> Grid:
    """Put some of a home's columns, and its target, on a grid.

    Readings that lie beside a step by a tenth of it or less belong to it. Several of one step
    become one by the column's rule: the mean of numbers and the last of words and flags, unless
    ``data.rules``, or the home's own rules, say otherwise. Steps of whole days are those of the
    home's own clock.

    Args:
        table: The home's readings.
        data: The plan's settings: ``step``, ``rules`` and ``target``.
        columns: Names of the columns; others are left out.

    Raises:
        DataError: Too few rows; readings that keep no clock where no step is given; a rule of a
            column that there is not, or of words that only numbers can have; a step shorter than
            the target's readings are apart; a grid that is too dense.
    """
    if table.rows < _LEAST_ROWS:
        raise DataError(
            f"home {table.home!r} has {counted(table.rows, 'row')}: too few for a series",
            hint="give more of its readings; a plan of rows that do not follow each other in time "
            "has data.horizon = 0",
        )
    home = HomeReadings.of(table, data, columns)
    rules = {name: _rule(home, name) for name in home.names}
    notes = _empty_rows(home)
    if not home.some.any():
        none = np.empty(0, np.int64)
        return Grid(table=_taken(home, none), steps=none, step_s=1, notes=notes)
    placed = by_column(home, rules) if data.step else by_clock(home)
    notes += placed.notes
    if placed.exact and all(rule in _OF_ONE for rule in rules.values()):
        rows = np.flatnonzero(home.some)
        return Grid(
            table=_taken(home, rows),
            steps=placed.steps.of(placed.shown[rows]),
            step_s=placed.steps.step_s,
            notes=notes,
        )
    if data.step or not placed.single:
        notes += (_combined(rules, placed.steps),)
    stepped = {
        name: RULES[rules[name]](readings, placed.steps)
        for name, readings in placed.readings()
        if len(readings.values)
    }
    for one in stepped.values():
        notes += one.notes
    return _joined(home, placed, stepped, notes)


def _joined(
    home: HomeReadings, placed: Placed, stepped: Mapping[str, Stepped], notes: tuple[str, ...]
) -> Grid:
    found = [one.steps for one in stepped.values()]
    steps = found[0]
    if not all(np.array_equal(steps, other) for other in found[1:]):
        steps = in_order(np.concatenate(found))
    columns = {}
    for name in home.names:
        values = np.full(len(steps), np.nan)
        if name in stepped:
            values[np.searchsorted(steps, stepped[name].steps)] = stepped[name].values
        columns[name] = values
    table = replace(home.table, time_s=placed.steps.begins(steps), columns=columns)
    return Grid(table=table, steps=steps, step_s=placed.steps.step_s, notes=notes)


def _taken(home: HomeReadings, rows: NDArray[np.int64]) -> HomeTable:
    """Return the rows of a home that lie on the grid as they are."""
    table = home.table
    columns = {name: table.columns[name] for name in home.names}
    if len(rows) == table.rows:
        return replace(table, columns=columns)
    return replace(
        table,
        time_s=table.time_s[rows],
        columns={name: values[rows] for name, values in columns.items()},
    )


def _rule(home: HomeReadings, name: str) -> Rule:
    """Return a column's rule: the home's or the plan's, else that of what the column holds."""
    table, data = home.table, home.data
    unknown = [other for other in data.rules if other not in table.columns]
    if unknown:
        raise DataError(
            f"data.rules: home {table.home!r} has no column {unknown[0]!r}"
            f"{did_you_mean(unknown[0], table.columns)}",
            hint=f"its columns are: {', '.join(table.columns)}",
        )
    words = name in table.labels
    rule = home.given_rule(name)
    if words and rule in _OF_NUMBERS:
        whose = "rules of its own" if name in table.rules else "data.rules"
        raise DataError(
            f'{whose}: home {table.home!r} has words in {name!r}, and there is no "{rule}" of '
            "words",
            hint='words can have "last" or "hold"',
        )
    if rule is not None:
        return rule
    values = table.columns[name]
    flags = bool(((values == 0) | (values == 1) | np.isnan(values)).all())
    return "last" if words or flags else "mean"


def _empty_rows(home: HomeReadings) -> tuple[str, ...]:
    empty = int((~home.some).sum())
    if not empty:
        return ()
    what = f" of {', '.join(home.names)}" if len(home.names) < len(home.table.columns) else ""
    return (f"{empty} of {home.table.rows} rows hold no reading{what} and were left out",)


def _combined(rules: Mapping[str, Rule], steps: Steps) -> str:
    by_rule: dict[Rule, list[str]] = {}
    for name, rule in rules.items():
        by_rule.setdefault(rule, []).append(name)
    told = "; ".join(f"{rule} of {', '.join(names)}" for rule, names in by_rule.items())
    return f"readings of one step of {step_text(steps.step_s)} were put together: {told}"
