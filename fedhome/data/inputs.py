"""Which columns of homes' readings go into a model, and which numbers their words have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.spelling import did_you_mean


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
    """Number the classes of a text target as the plan does.

    A home numbers the words of its own readings; other homes may know other words.

    Args:
        table: The home's readings.
        target: The column to predict.
        classes: The plan's classes; empty: the home's own numbers stay.

    Raises:
        DataError: The home has a class that the plan does not name.
    """
    own, values = table.labels.get(target, ()), table.columns.get(target)
    if not own or not classes or values is None:
        return table
    read = np.isfinite(values)
    used = [own[int(number)] for number in np.unique(values[read])]
    if unknown := [name for name in used if name not in classes]:
        raise DataError(
            f"home {table.home!r}: task.classes lacks {', '.join(map(repr, unknown))} "
            f"of its target {target!r}",
            hint="name all classes in task.classes",
        )
    class_numbers = np.array(
        [classes.index(name) if name in classes else -1 for name in own], np.float64
    )
    renumbered = np.full(len(values), np.nan)
    renumbered[read] = class_numbers[values[read].astype(np.int64)]
    return replace(
        table,
        columns={**table.columns, target: renumbered},
        labels={**table.labels, target: tuple(classes)},
    )
