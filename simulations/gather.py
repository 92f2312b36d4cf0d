"""The homes of a simulation: synthetic, of a named data set, of a user's folder or function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from fedhome.data.examples import HomeExamples
from fedhome.data.home_objects import read_tables
from fedhome.data.homes_folder import read_folder
from fedhome.data.inputs import InputSchema, matched, schema_of
from fedhome.data.table import HomeTable
from fedhome.data.windows import examples
from fedhome.errors import DataError, EmptyFleetError, FedHomeError, SourceError
from fedhome.learning.tasks import kind_of, task_of
from fedhome.own_code import fault_of
from fedhome.plan.data_settings import SYNTHETIC_HOMES
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
    """

    homes: list[HomeExamples]
    excluded: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    classes: tuple[str, ...]


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
    tables, excluded, notes = _tables(plan)
    targets = kind_of(plan.task.kind).targets
    schema = schema_of(plan, targets, tables)
    data = plan.data.simulated()
    classes = schema.target.words
    if targets == "multi-class":
        task_of(plan, classes)  # without names of classes no home can be checked
    homes: list[HomeExamples] = []
    usable: list[HomeTable] = []
    told: dict[str, list[str]] = {}
    for table in tables:
        try:
            own = matched(table, schema, targets)
            home = examples(own.table, data, schema.columns, targets)
            home.check_classes(len(classes))
        except DataError as error:
            excluded.append((table.home, error.message))
            continue
        homes.append(home)
        usable.append(own.table)
        for note in own.notes:
            told.setdefault(note, []).append(table.home)
    if not homes:
        reasons = "".join(f"\n  - {home}: {reason}" for home, reason in excluded[:5])
        raise EmptyFleetError(
            f"no home of {plan.data.source!r} can take part:{reasons}",
            hint="docs/data.md describes what a home's data must look like",
        )
    gathered = GatheredHomes(
        homes=homes,
        excluded=tuple(excluded),
        notes=(*notes, *(f"{_some(names)}: {note}" for note, names in told.items())),
        classes=classes if targets == "multi-class" else (),
    )
    return FoundHomes(gathered=gathered, tables=tuple(usable), schema=schema)


def _some(homes: Sequence[str]) -> str:
    """Return the names of a few homes, and how many more there are."""
    more = f" and {len(homes) - _SHOWN} more" if len(homes) > _SHOWN else ""
    return f"{', '.join(homes[:_SHOWN])}{more}"


def _tables(plan: Plan) -> tuple[Sequence[HomeTable], list[tuple[str, str]], list[str]]:
    data = plan.data
    if data.source == "synthetic":
        count = data.homes or SYNTHETIC_HOMES
        return list(generate(homes=count, days=data.days, seed=plan.seed)), [], []
    if data.source in datasets.CATALOGUE:
        return datasets.load(data.source)[: data.homes], [], []
    folder = Path(data.source)
    if not folder.exists():
        offered = installed("source")
        if ":" in data.source or data.source in offered:
            return _own(plan)
        known = ["synthetic", *sorted(datasets.CATALOGUE), *sorted(offered)]
        raise SourceError(
            f"{data.source!r} is neither a data set nor a folder{did_you_mean(data.source, known)}",
            hint=f"known data sets: {', '.join(known)}; or name a callable of yours as "
            '"module:attribute"',
        )
    read = read_folder(folder, time_zone=data.time_zone or None, target=data.target)
    excluded = [(home.home, home.reason) for home in read.excluded]
    return read.homes[: data.homes], excluded, list(read.notes)


def _own(plan: Plan) -> tuple[Sequence[HomeTable], list[tuple[str, str]], list[str]]:
    """Return the homes of a user's own source: tables, or a callable that yields them."""
    data = plan.data
    found = load(data.source, "source")
    if callable(found):
        return _tables_of_callable(plan, found), [], []
    if not isinstance(found, Mapping | Sequence) or isinstance(found, str | bytes):
        raise SourceError(
            f"data source {data.source!r} is not callable, and holds no tables",
            hint="name a function of the plan that yields a HomeTable a home, a class whose "
            "objects are iterated over, or a dictionary of tables by the names of their homes",
        )
    read = read_tables(found, time_zone=data.time_zone or None, target=data.target)
    excluded = [(home.home, home.reason) for home in read.excluded]
    return read.homes[: data.homes], excluded, list(read.notes)


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


def partition(plan: Plan, number: int) -> tuple[HomeExamples, tuple[str, ...]]:
    """Return the examples of one home of a plan, by its number from 0, and the class names.

    Raises:
        DataError: There is no such home.
    """
    gathered = _gather_cached(plan.model_dump_json())
    if not 0 <= number < len(gathered.homes):
        raise DataError(
            f"there is no home {number}: the plan has {len(gathered.homes)}",
            hint="start as many nodes as the plan has homes",
        )
    return gathered.homes[number], gathered.classes
