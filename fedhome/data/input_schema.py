"""What the columns of a plan's homes are: as the plan names them, or as the homes share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fedhome.data.classes import classes_of
from fedhome.data.late_inputs import late_columns, told_late
from fedhome.data.series.examples import Targets
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, PlanError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.input_settings import MOST_WORDS, InputKind, InputSpec
from fedhome.plan.settings import Plan
from fedhome.spelling import did_you_mean

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

_NOTHING = (
    "name columns in data.features; or set data.calendar = true, for hour and weekday, or "
    "data.horizon = 1, for earlier values"
)


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
