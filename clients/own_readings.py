"""A home's readings, from its own files: read without torch, so that a prediction needs none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.data.fleet_examples import filled_in
from fedhome.data.home_files import HomeFilesRead, check_rules, read_home
from fedhome.data.input_schema import schema_of
from fedhome.data.inputs import MatchedHome, matched
from fedhome.data.series.examples import HomeExamples
from fedhome.data.series.windows import examples, with_indicators
from fedhome.errors import DataError, InputsError, NoReadingsError
from fedhome.learning.tasks import kind_of
from fedhome.plan.own_reading import NOTHING_OWN, reading_of
from fedhome.plan.reading_settings import HomeReading
from fedhome.plan.settings import Plan


@dataclass(frozen=True, kw_only=True)
class OwnReadings:
    """A home's readings as its files hold them, and as its plan takes them.

    Args:
        read: What was read.
        matched: The plan's inputs in it.
    """

    read: HomeFilesRead
    matched: MatchedHome


ReadingsSource = Path | ReadingStore
"""Where a home's readings are: in files of its people's, or in its store."""


def source_of(home_folder: HomeFolder) -> ReadingsSource:
    """Return where a home's readings are: its store, if it has one; else the files that it names.

    Args:
        home_folder: The home's folder, with its key.

    Raises:
        RunError: There is no home in it.
        StateError: The key cannot be read.
        NoReadingsError: It has neither.
    """
    settings = home_folder.settings
    if ReadingStore.there(home_folder.path):
        return ReadingStore.of(home_folder.path, settings.home)
    if not settings.data:
        raise _none_yet(settings.home)
    return Path(settings.data)


def read_files(
    plan: Plan,
    source: ReadingsSource,
    *,
    name: str | None = None,
    reading: Mapping[str, Any] = NOTHING_OWN,
    whole: bool = False,
) -> HomeFilesRead:
    """Read a home's readings as its plan, and the home itself, say.

    Args:
        plan: The plan that it takes part in.
        source: File or folder of its readings, or its store.
        name: Its name in the fleet; None: that of the file.
        reading: How its files are to be read, where that differs from the plan.
        whole: Whether what the plan does not use is read as well, where it need not be.

    Raises:
        DataError: The readings cannot be used.
        PlanError: The plan names no inputs.
    """
    targets = kind_of(plan.task.kind).targets
    schema = schema_of(plan, targets)
    numbers = (plan.data.target,) if targets == "continuous" else ()
    wanted = {*schema.columns, schema.target.name, *plan.data.rules}
    settings = reading_of(plan.data, reading)
    if isinstance(source, ReadingStore):
        read = _of_store(source, settings)
        if read.table.rows:  # else no column is known yet
            check_rules(read, settings)
        return read
    read = read_home(
        source,
        home=name,
        settings=settings,
        numbers=numbers,
        wanted=wanted,
        step=plan.data.step,
        whole=whole,
    )
    check_rules(read, settings)
    return read


def read_own(
    plan: Plan,
    source: ReadingsSource,
    *,
    name: str | None = None,
    reading: Mapping[str, Any] = NOTHING_OWN,
    whole: bool = False,
) -> OwnReadings:
    """Read a home's readings, and find the plan's inputs in them; arguments as of `read_files`.

    Raises:
        NoReadingsError: The home's store is empty, or nothing in it counts.
        DataError: The readings cannot be used.
        PlanError: The plan names no inputs.
    """
    targets = kind_of(plan.task.kind).targets
    schema = schema_of(plan, targets)  # a plan without inputs is refused before anything is read
    read = read_files(plan, source, name=name, reading=reading, whole=whole)
    if isinstance(source, ReadingStore) and not read.table.rows:
        raise _none_yet(read.table.home)
    if (
        read.table.labels.get(plan.data.target)
        and targets != "continuous"
        and not plan.task.classes
    ):
        raise DataError(
            f"the target {plan.data.target!r} is text, and this home knows only the words in its "
            "own readings",
            hint="name all classes of the fleet in the plan: task.classes",
        )
    try:
        return OwnReadings(read=read, matched=matched(read.table, schema, targets))
    except InputsError as error:
        if silent := [name for name in (*schema.columns, plan.data.target) if name in read.empty]:
            error.hint = (
                f"there is nothing in its {', '.join(silent)}: check the sensor, or give readings "
                f"that go back to when something was read there; else {error.hint}"
            )
        raise


def examples_of(plan: Plan, own: OwnReadings) -> HomeExamples:
    """Return what a home learns from: its readings, cut as the plan says.

    Args:
        plan: The plan that it takes part in.
        own: Its readings.

    Raises:
        DataError: Nothing can be learnt from them.
    """
    targets = kind_of(plan.task.kind).targets
    columns = [spec.name for spec in plan.data.inputs or ()]
    found = examples(own.matched.table, plan.data, columns, targets)
    indicators = plan.data.indicators or ()
    notes = (*found.notes, *filled_in([found], plan.data, indicators))
    return with_indicators(replace(found, notes=notes), indicators)


def _none_yet(home: str) -> NoReadingsError:
    return NoReadingsError(
        f"{home} has no readings yet",
        hint="`fedhome client record` adds some; `fedhome client exclude --list` shows what does "
        "not count",
    )


def _of_store(store: ReadingStore, settings: HomeReading) -> HomeFilesRead:
    """Return what a store holds; its rows were understood when they were recorded."""
    stored = store.read()
    table = stored.table
    empty = [name for name, values in table.columns.items() if bool(np.isnan(values).all())]
    held = {name: values for name, values in table.columns.items() if name not in empty}
    rules = {name: rule for name, rule in settings.rules.items() if name in held}
    zone = settings.time_zone or table.time_zone
    table = replace(table, columns=held, time_zone=zone, rules=rules)
    return HomeFilesRead(table=table, notes=stored.notes, empty=tuple(empty))
