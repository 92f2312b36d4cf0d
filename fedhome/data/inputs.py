"""Inputs by name: each home's own columns, brought to what those of its plan are.

A simulation, `fedhome up` and a home of a fleet all go through :func:`matched`. So the order of a
home's columns, which words it knows itself and what else its files hold change nothing; and a home
that lacks an input, or has it in another kind or unit, is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedhome.data.classes import by_number
from fedhome.data.columns.units import conversion, converted, is_power_for_energy, unit_of_name
from fedhome.data.input_schema import InputSchema
from fedhome.data.series.examples import Targets
from fedhome.data.table import HomeTable
from fedhome.errors import InputsError
from fedhome.plan.input_settings import InputSpec
from fedhome.spelling import nearest

_RENAME = (
    "a home whose files call a column otherwise says so: `fedhome client join INVITE --data "
    'SOURCE --set \'rename={"COLUMN"="INPUT"}\'`; what it has no sensor for, the fleet\'s owner '
    "leaves out of the plan: data.features names inputs that all homes have"
)
_ENERGY = "energy is the mean power of a step times its hours: 500 W over an hour are 0.5 kWh; "
_OTHER = "correct what the files hold, or ask the fleet's owner what the plan means by it"


@dataclass(frozen=True, kw_only=True)
class InputMatch:
    """A column of a home, and what it is in the plan.

    Args:
        spec: The input, or the target.
        unit: The unit that the home's files say; empty: none.
        missing: Rows without a reading.
    """

    spec: InputSpec
    unit: str
    missing: int


@dataclass(frozen=True, kw_only=True)
class MatchedHome:
    """A home with the inputs of a plan.

    Args:
        table: Its inputs in the plan's order, units and numbers of words, then its target.
        matches: What each of these columns is.
        notes: What was converted, taken for granted or not used, in plain sentences.
    """

    table: HomeTable
    matches: tuple[InputMatch, ...]
    notes: tuple[str, ...]


def matched(table: HomeTable, schema: InputSchema, targets: Targets) -> MatchedHome:
    """Bring a home's columns to the inputs of a plan, by their names.

    Args:
        table: The home's readings.
        schema: The plan's inputs.
        targets: How its task's targets are encoded.

    Raises:
        InputsError: The home lacks columns, or has them in other kinds or units: all of them.
    """
    specs = [*schema.inputs, *([] if schema.target.name in schema.columns else [schema.target])]
    faults = [*_missing(table, specs), *_of_another_kind(table, schema, targets)]
    if schema.timed and table.rows and table.timeless:
        faults.append("has rows without times, and hour and weekday go into the model")
    strange = [name for name in table.rules if name not in table.columns]
    faults += [f"has a rule of its own for {name!r}, and no such column" for name in strange]
    matches, notes = [], list(_unused(table, specs))
    columns: dict[str, NDArray[np.float64]] = {}
    power = False
    for spec in specs if not faults else ():
        values, unit = table.columns[spec.name], table.units.get(spec.name, "")
        if spec.name == schema.target.name:
            notes += _numbers_for_words(table, schema.target)
            table = with_classes(table, spec.name, schema.target.words)
            values = table.columns[spec.name]
        elif spec.kind == "words":
            values = _renumbered(values, table.labels[spec.name], spec.words)
            notes += _unknown_words(spec.name, table.columns[spec.name], values)
        scale = conversion(unit, spec.unit) if unit and spec.unit else (1.0, 0.0)
        if scale is None:
            faults.append(f"has its {spec.name} in {unit}, and the plan has it in {spec.unit}")
            power |= is_power_for_energy(unit, spec.unit)
            continue
        if scale != (1.0, 0.0):
            values = converted(values, unit, spec.unit)
        notes += _units(spec, unit)
        columns[spec.name] = values
        missing = int((~np.isfinite(values)).sum())
        matches.append(InputMatch(spec=spec, unit=unit, missing=missing))
    if faults:
        whole = all(spec.name in table.columns for spec in specs)
        have = f"its columns are: {', '.join(table.columns) or 'none'}; {_RENAME}"
        raise InputsError(
            f"home {table.home!r} {'; '.join(faults)}",
            hint=f"{_ENERGY if power else ''}{_OTHER}" if whole else have,
        )
    labels = {spec.name: spec.words for spec in specs if spec.words and spec.name in table.labels}
    brought = replace(
        table,
        columns=columns,
        labels=labels,
        units={spec.name: spec.unit for spec in specs if spec.unit},
        flags=table.flags & frozenset(columns),
        rules={name: rule for name, rule in table.rules.items() if name in columns},
    )
    return MatchedHome(table=brought, matches=tuple(matches), notes=tuple(notes))


def with_classes(table: HomeTable, target: str, classes: Sequence[str]) -> HomeTable:
    """Number the classes of a target as the plan does.

    A home numbers the words of its own readings; other homes may know other words. Numbers are
    found among classes that are called by numbers; among words they are places already.

    Args:
        table: The home's readings.
        target: The column to predict.
        classes: The plan's classes; empty: the home's own numbers stay.

    Raises:
        InputsError: The home has a class that the plan does not name.
    """
    own, values = table.labels.get(target, ()), table.columns.get(target)
    if not classes or values is None:
        return table
    numbered = _renumbered(values, own, classes) if own else by_number(values, classes)
    if numbered is None:
        return table
    unknown = np.isfinite(values) & np.isnan(numbered)
    if unknown.any():
        kinds, rows = len(np.unique(values[unknown])), int(unknown.sum())
        what = "words" if own else "numbers"
        raise InputsError(
            f"home {table.home!r}: task.classes lacks {kinds} of the {what} of its target "
            f"{target!r}, which {rows} of {table.rows} rows hold",
            hint="name all classes in task.classes",
        )
    return replace(
        table,
        columns={**table.columns, target: numbered},
        labels={**table.labels, target: tuple(classes)},
    )


def _missing(table: HomeTable, specs: Sequence[InputSpec]) -> list[str]:
    lacking = [spec.name for spec in specs if spec.name not in table.columns]
    used = {spec.name for spec in specs}
    left = [name for name in table.columns if name not in used]
    told = []
    for name in lacking:
        near = nearest(name, left)
        told.append(name if near is None else f"{name} (it has {near!r})")
    what = "column" if len(lacking) == 1 else "columns"
    return [f"lacks the {what} {', '.join(told)}"] if told else []


def _of_another_kind(table: HomeTable, schema: InputSchema, targets: Targets) -> list[str]:
    faults = []
    for spec in schema.inputs:
        if spec.name not in table.columns or spec.name == schema.target.name:
            continue
        words = spec.name in table.labels
        if words != (spec.kind == "words"):
            here, there = ("words", "numbers") if words else ("numbers", "words")
            faults.append(f"has {here} in its {spec.name}, and the plan {there}")
        elif spec.kind == "flag" and not _only_flags(table.columns[spec.name]):
            faults.append(f"has other numbers than 0 and 1 in its {spec.name}, a flag in the plan")
    if targets == "continuous" and schema.target.name in table.labels:
        faults.append(f"has words in its target {schema.target.name}, where numbers are predicted")
    return faults


def _only_flags(values: NDArray[np.float64]) -> bool:
    return bool(((values == 0) | (values == 1) | ~np.isfinite(values)).all())


def _renumbered(
    values: NDArray[np.float64], own: Sequence[str], words: Sequence[str]
) -> NDArray[np.float64]:
    """Return a column of words with other numbers: NaN for a word that has none, ``[rows]``."""
    if tuple(own) == tuple(words):
        return values
    number_of = {word: float(number) for number, word in enumerate(words)}
    numbers = np.array([number_of.get(word, np.nan) for word in own], np.float64)
    renumbered = np.full(len(values), np.nan)
    read = np.isfinite(values)
    renumbered[read] = numbers[values[read].astype(np.int64)]
    return renumbered


def _unknown_words(
    name: str, before: NDArray[np.float64], after: NDArray[np.float64]
) -> Iterable[str]:
    unknown = np.isfinite(before) & np.isnan(after)
    if unknown.any():
        kinds = len(np.unique(before[unknown]))
        yield (
            f"{kinds} of the words of {name} are none of the plan's: in {int(unknown.sum())} of "
            f"{len(before)} rows it holds none of them"
        )


def _numbers_for_words(table: HomeTable, target: InputSpec) -> Iterable[str]:
    values = table.columns[target.name]
    if target.words and target.name not in table.labels and by_number(values, target.words) is None:
        yield f"{target.name} holds numbers: they are taken for places in task.classes, from 0"


def _units(spec: InputSpec, unit: str) -> Iterable[str]:
    if spec.unit and not unit:
        yield f"no unit of {spec.name} is known here: it is taken to be in {spec.unit}"
    elif unit and not spec.unit and spec.kind == "number":
        if unit_of_name(spec.name) != unit:
            yield f"{spec.name} is in {unit} here, and the plan names no unit of it"
    elif spec.unit and unit != spec.unit:
        yield f"{spec.name} was converted from {unit} to {spec.unit}"


def _unused(table: HomeTable, specs: Sequence[InputSpec]) -> Iterable[str]:
    used = {spec.name for spec in specs}
    if left := [name for name in table.columns if name not in used]:
        yield f"not used, as not in all homes or not in the plan: {', '.join(left)}"
