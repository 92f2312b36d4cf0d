"""The homes of a simulation: synthetic, of a named data set, of a user's folder or function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from fedhome.data.fleet_examples import fleet_examples
from fedhome.data.home_objects import read_tables
from fedhome.data.homes_folder import (
    FolderRead,
    hint_for_all,
    most_homes_in,
    read_folder,
    reasons_of,
)
from fedhome.data.input_schema import InputSchema, schema_of
from fedhome.data.read_report import HomeReport
from fedhome.data.series.examples import HomeExamples
from fedhome.data.table import HomeTable
from fedhome.data.told_once import told_once
from fedhome.denied import paths_told
from fedhome.errors import DataError, EmptyFleetError, FedHomeError, SourceError
from fedhome.learning.settled_plan import settled, with_batches
from fedhome.learning.tasks import kind_of, task_of
from fedhome.own_code import fault_of
from fedhome.plan.data_settings import SYNTHETIC_HOMES, DataSettings
from fedhome.plan.settings import Plan
from fedhome.plugins import installed, load
from fedhome.simulations import datasets
from fedhome.simulations.homes import generate
from fedhome.spelling import did_you_mean

_SHOWN = 5  # names in a note


@dataclass(frozen=True, kw_only=True)
class GatheredHomes:
    """The homes that can take part, and what became of the others.

    Args:
        homes: Each home's examples; all with the same features.
        excluded: Name and reason of every home that was left out.
        notes: What was noticed while reading, in plain sentences.
        classes: Names of the target's classes, where the data name them.
        reports: How each home's files were read, where there are files.
        plan: The plan, with all that it left to the data.
        own: As of :class:`.FolderRead`.
    """

    homes: list[HomeExamples]
    excluded: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    reports: tuple[HomeReport, ...] = ()
    plan: Plan = field(default_factory=Plan)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FoundHomes:
    """What a plan finds in its source: homes as examples, and as they were read.

    Args:
        gathered: The homes as examples.
        tables: The same homes' readings, in the same order, brought to the schema.
        schema: What the columns are taken for.
    """

    gathered: GatheredHomes
    tables: tuple[HomeTable, ...]
    schema: InputSchema


def gather(plan: Plan) -> GatheredHomes:
    """Read or make the homes of a plan, and cut them into examples.

    ``data.source`` is "synthetic", a named set, a folder, or a class or function of yours that
    is called with the plan and gives a :class:`fedhome.HomeTable` a home (of which
    ``data.homes`` are taken, where it is set).

    Raises:
        SourceError: The source cannot be read, or yields something else.
        PluginError: The source names a callable that is not found.
        DataError: The target or a feature is in no home.
        EmptyFleetError: No home is left.
    """
    return find(plan).gathered


def find(plan: Plan) -> FoundHomes:
    """Return the homes of a plan as `gather` does, with what was read of them.

    Raises:
        FedHomeError: As `gather`.
    """
    return find_in(read_source(plan), plan)


def find_in(read: FolderRead, plan: Plan) -> FoundHomes:
    """Return the homes of a plan among those that were read.

    Args:
        read: What `read_source` gave for this plan.
        plan: The plan.

    Raises:
        PlanError: The plan does not fit them.
        DataError: The target or a feature is in no home.
        EmptyFleetError: No home is left.
    """
    tables = read.homes
    found = settled(plan, tables, days=plan.data.simulated().history_days)
    plan, targets = found.plan, found.targets
    schema = schema_of(plan, targets, tables)
    classes = schema.target.words
    if targets == "multi-class":
        task_of(plan, classes)  # without names of classes no home can be checked
    fleet = fleet_examples(tables, schema, plan.data.simulated(), targets)
    excluded = [*read.excluded, *fleet.excluded]
    if not fleet.homes:
        raise EmptyFleetError(
            f"no home of {plan.data.source!r} can take part:{reasons_of(excluded, most=_SHOWN)}",
            hint=hint_for_all(excluded, "docs/data.md describes what a home's data must look like"),
        )
    used = {home.home for home in fleet.homes}
    plan, steps = with_batches(plan, fleet.homes)
    gathered = GatheredHomes(
        homes=list(fleet.homes),
        excluded=tuple((item.home, item.told) for item in excluded),
        notes=(*found.notes, *read.notes, *told_once(fleet.told), *steps),
        classes=classes if targets == "multi-class" else (),
        reports=tuple(report for report in read.reports if report.home in used),
        plan=plan,
        own=read.own,
    )
    return FoundHomes(gathered=gathered, tables=fleet.tables, schema=fleet.schema)


def read_source(plan: Plan) -> FolderRead:
    """Return the homes of a plan's source as they are read, at most as many as it asks for.

    Raises:
        FedHomeError: The source cannot be read, or no home of it.
    """
    # Words in the target of a regression are a slip, or numbers in a form that nobody knows.
    continuous = bool(plan.task.kind) and kind_of(plan.task.kind).targets == "continuous"
    read = _read_all(plan, (plan.data.target,) if continuous else ())
    if plan.data.homes is None or len(read.homes) <= plan.data.homes:
        return read
    homes = read.homes[: plan.data.homes]
    return replace(read, homes=homes)


def most_homes(plan: Plan) -> int | None:
    """Return how many homes a plan's source has at most, before it is read; None: nobody knows.

    Raises:
        SourceError: It cannot be looked at.
    """
    data, folder = plan.data, Path(plan.data.source)
    if data.source == "synthetic":
        return data.homes or SYNTHETIC_HOMES
    if data.source in datasets.CATALOGUE:
        most: int | None = datasets.CATALOGUE[data.source].homes
    else:
        with paths_told(SourceError, folder):
            most = most_homes_in(folder, data) if folder.exists() else None
    return most if most is None or data.homes is None else min(most, data.homes)


def _read_all(plan: Plan, numbers: Sequence[str]) -> FolderRead:
    data = plan.data
    if data.source == "synthetic":
        count = data.homes or SYNTHETIC_HOMES
        return _made(generate(homes=count, days=data.days, seed=plan.seed))
    if data.source in datasets.CATALOGUE:
        return _made(datasets.load(data.source))
    folder = folder_of(data.source)
    if folder is None:
        return _own(plan, numbers)
    return read_folder(
        folder,
        data,
        target=data.target,
        numbers=numbers,
        wanted=_wanted(data),
        step=data.step,
    )


def folder_of(source: str) -> Path | None:
    """Return the file or folder that a plan's source is; None where it is a name of homes.

    Args:
        source: ``data.source``.

    Raises:
        SourceError: It is neither, or cannot be looked at.
    """
    known = ["synthetic", *sorted(datasets.CATALOGUE)]
    if source in known:
        return None
    folder = Path(source)
    with paths_told(SourceError, folder):
        if folder.exists():
            return folder
    offered = installed("source")
    if ":" in source or source in offered:
        return None
    known += sorted(offered)
    raise SourceError(
        f"{source!r} is neither a data set nor a folder{did_you_mean(source, known)}",
        hint=f"known data sets: {', '.join(known)}; or name a callable of yours as "
        '"module:attribute"',
    )


def _wanted(data: DataSettings) -> set[str] | None:
    """Return the columns that a plan uses; None where it is left to the homes."""
    named = [*data.features, *(spec.name for spec in data.inputs or ())]
    return {*named, data.target, *data.rules} if named else None


def _made(tables: Iterable[HomeTable]) -> FolderRead:
    return FolderRead(homes=list(tables), excluded=[], notes=())


def _own(plan: Plan, numbers: Sequence[str]) -> FolderRead:
    """Return the homes of a user's own source: tables, or a callable that yields them."""
    data = plan.data
    found = load(data.source, "source")
    if callable(found):
        return _made(_tables_of_callable(plan, found))
    if not isinstance(found, Mapping | Sequence) or isinstance(found, str | bytes):
        raise SourceError(
            f"data source {data.source!r} is not callable, and holds no tables",
            hint="name a function of the plan that yields a HomeTable a home, a class whose "
            "objects are iterated over, or a dictionary of tables by the names of their homes",
        )
    return read_tables(found, data, target=data.target, numbers=numbers, wanted=_wanted(plan.data))


def _tables_of_callable(plan: Plan, function: Callable[..., Iterable[Any]]) -> list[HomeTable]:
    """Return the homes that a user's callable yields."""
    source = plan.data.source
    try:
        tables = list(islice(function(plan), plan.data.homes))
    except FedHomeError:
        raise
    except (Exception, SystemExit) as error:
        raise fault_of(f"source {source!r} fails when it is called", function, error) from error
    odd = [type(table).__name__ for table in tables if not isinstance(table, HomeTable)]
    if odd or not tables:
        raise SourceError(
            f"data source {source!r} yields {odd[0] if odd else 'no home'}",
            hint="it must yield a fedhome.HomeTable a home",
        )
    return tables


@lru_cache(maxsize=1)
def _gather_cached(plan_json: str) -> GatheredHomes:
    return gather(Plan.model_validate_json(plan_json))


def partition(plan: Plan, number: int) -> tuple[Plan, HomeExamples, tuple[str, ...]]:
    """Return the examples of one home of a plan, by its number from 0, and the class names.

    The plan that comes with them leaves nothing to the data.

    Raises:
        DataError: There is no such home.
    """
    gathered = _gather_cached(plan.model_dump_json())
    if not 0 <= number < len(gathered.homes):
        raise DataError(
            f"there is no home {number}: the plan has {len(gathered.homes)}",
            hint="start as many nodes as the plan has homes",
        )
    return gathered.plan, gathered.homes[number], gathered.classes
