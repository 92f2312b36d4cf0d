"""Inputs by name: what the columns of a plan's homes are, and each home's own brought to that.

A simulation, `fedhome up` and a home of a fleet all go through :func:`matched`. So the order of a
home's columns, which words it knows itself and what else its files hold change nothing; and a home
that lacks an input, or has it in another kind or unit, is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedhome.data.classes import by_number, classes_of
from fedhome.data.columns.units import conversion, converted, is_power_for_energy, unit_of_name
from fedhome.data.late_inputs import late_columns, told_late
from fedhome.data.series.examples import Targets
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, InputsError, PlanError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.input_settings import MOST_WORDS, InputKind, InputSpec
from fedhome.plan.settings import Plan
from fedhome.spelling import did_you_mean, nearest

NOT_NAMED = (
    "data.inputs is not set: which columns homes learn from, and what they are, would be left to "
    "each home's own files"
)
"""What is wrong with a plan of real homes that does not name its inputs."""

HOW_NAMED = (
    "`fedhome fleet invite HOME --like FILE` writes them, from a file such as homes have; "
    "`fedhome plan show PLAN --like FILE` prints the plan with them"
)
"""What to do about that."""

_RENAME = (
    "a home whose files call a column otherwise says so: `fedhome client join INVITE --data "
    'SOURCE --set \'rename={"COLUMN"="INPUT"}\'`'
)
_ENERGY = "energy is the mean power of a step times its hours: 500 W over an hour are 0.5 kWh; "
_NOTHING = (
    "name columns in data.features; or set data.calendar = true, for hour and weekday, or "
    "data.horizon = 1, for earlier values"
)
_OTHER = "correct what the files hold, or ask the fleet's owner what the plan means by it"


@dataclass(frozen=True, kw_only=True)
class InputSchema:
    """What all homes of a plan take the same columns for.

    Args:
        inputs: The inputs, in the order in which a model gets them.
        target: The column to predict: numbers, or words that are the classes.
        timed: Whether hour and weekday go in too, so that rows need times.
        indicators: Names of what goes into a model and may be missing: a column each says where.
        notes: Which columns were left out, and why, in plain sentences.
    """

    inputs: tuple[InputSpec, ...]
    target: InputSpec
    timed: bool
    indicators: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(spec.name for spec in self.inputs)

    def named_in(self, plan: Plan) -> Plan:
        """Return a plan that names this schema, so that a home alone knows it."""
        return plan.change(
            data={
                "inputs": [spec.model_dump() for spec in self.inputs],
                "target_unit": self.target.unit,
                "calendar": self.timed,
                "indicators": list(self.indicators),
            },
            task={"classes": list(self.target.words)},
        )


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


def schema_of(plan: Plan, targets: Targets, tables: Sequence[HomeTable] = ()) -> InputSchema:
    """Return the inputs that a plan names; else those that homes share, as they have them.

    Args:
        plan: The plan.
        targets: How its task's targets are encoded.
        tables: Homes from which follows what the plan leaves open.

    Raises:
        PlanError: It names no inputs, and there are no homes to look at.
        DataError: The target is not in every home, a feature in none, or there is nothing to
            predict from.
    """
    data = plan.data
    inputs = data.inputs
    notes: tuple[str, ...] = ()
    if inputs is None and not tables:
        raise PlanError([NOT_NAMED], hint=HOW_NAMED)
    if inputs is None:
        names = columns_of(tables, data)
        late = late_columns(names, tables, data)
        found = [_spec(name, tables) for name in names if name not in late]
        inputs, notes = _without_names(found, data)
        notes += told_late(late)
    words = () if targets == "continuous" else plan.task.classes
    words = words or classes_of(tables, data.target, targets)
    unit = data.target_unit or ("" if words else _unit(data.target, tables))
    timed = data.calendar and not (tables and all(table.timeless for table in tables))
    if not inputs and not timed and data.lags == ():
        what = f"there is nothing to predict {data.target!r} from"
        raise DataError("; ".join([what, *notes]), hint=_NOTHING)
    return InputSchema(
        inputs=inputs,
        target=InputSpec(
            name=data.target, kind="words" if words else "number", unit=unit, words=words
        ),
        timed=timed,
        indicators=data.indicators or (),
        notes=notes,
    )


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


def columns_of(tables: Sequence[HomeTable], data: DataSettings) -> tuple[str, ...]:
    """Return the input columns of a fleet: those that the plan names, or all that homes share.

    Raises:
        DataError: The target is not in every home, or a feature in none.
    """
    shared = set(tables[0].columns).intersection(*(table.columns for table in tables[1:]))
    known = f"shared columns are: {', '.join(sorted(shared)) or 'none'}"
    if data.target not in shared:
        meant = did_you_mean(data.target, sorted(shared))
        raise DataError(
            f"the target {data.target!r} is not a column of every home{meant} ({known})",
            hint="set data.target to one of them: --set data.target=NAME",
        )
    anywhere = shared.union(*(table.columns for table in tables))
    if unknown := [name for name in data.features if name not in anywhere]:
        faults = [f"no home has {name!r}{did_you_mean(name, sorted(anywhere))}" for name in unknown]
        raise DataError(
            f"data.features: {'; '.join(faults)} ({known})",
            hint="name columns in data.features that homes have; without it, all shared ones count",
        )
    if data.features:
        return data.features
    return tuple(name for name in tables[0].columns if name in shared and name != data.target)


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


def _without_names(
    specs: Sequence[InputSpec], data: DataSettings
) -> tuple[tuple[InputSpec, ...], tuple[str, ...]]:
    """Leave out columns of more words than can become inputs, and say so.

    Raises:
        DataError: A plan names one.
    """
    many = [spec for spec in specs if len(spec.words) > MOST_WORDS]
    told = [
        f"{spec.name} holds {len(spec.words)} different words, and each would become an input: at "
        f"most {MOST_WORDS} can"
        for spec in many
    ]
    if told and data.features:
        raise DataError(
            f"data.features: {'; '.join(told)}",
            hint="leave the column out of data.features, or join its words to fewer in the files",
        )
    kept = tuple(spec for spec in specs if spec not in many)
    return kept, tuple(f"left out: {what}" for what in told)


def _spec(name: str, tables: Sequence[HomeTable]) -> InputSpec:
    having = [table for table in tables if name in table.columns]
    kind: InputKind = "number"
    if 2 * sum(name in table.labels for table in having) >= len(having):
        kind = "words"
    elif all(name in table.flags for table in having):
        kind = "flag"
    return InputSpec(
        name=name,
        kind=kind,
        unit=_unit(name, having) if kind == "number" else "",
        words=_words(name, having) if kind == "words" else (),
    )


def _words(name: str, tables: Iterable[HomeTable]) -> tuple[str, ...]:
    return tuple(sorted({word for table in tables for word in table.labels.get(name, ())}))


def _unit(name: str, tables: Iterable[HomeTable]) -> str:
    """Return the unit that most homes have that say one; of as many, the first."""
    said = Counter(unit for table in tables if (unit := table.units.get(name, "")))
    return said.most_common(1)[0][0] if said else ""


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
