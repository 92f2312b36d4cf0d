"""What a target is, and how often it comes: as its values and times tell, over all homes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedhome.data.classes import number_text, numbers_in
from fedhome.data.series.clocks import find_clock
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.time_steps import DAY_S, step_seconds

FEW = 20
"""Whole numbers of rows that are no series are classes, if there are no more different ones."""

_SHOWN = 12
_LEAST_ROWS = 3


@dataclass(frozen=True, kw_only=True)
class TargetKind:
    """What a column holds, as far as a task goes.

    Args:
        kind: Name of the kind of task that its values make.
        why: What was seen, in plain words.
    """

    kind: str
    why: str


def kind_in(tables: Sequence[HomeTable], data: DataSettings) -> TargetKind | None:
    """Return which kind of task a target makes; None where no home has the column.

    Words are classes, yes and no are two, and numbers are numbers: but for a few whole ones in rows
    that do not follow each other in time.

    Args:
        tables: The homes.
        data: The plan's settings for data.
    """
    target = data.target
    having = [table for table in tables if target in table.columns]
    if not having:
        return None
    if words := sorted({word for table in having for word in table.labels.get(target, ())}):
        return _classes(target, words)
    values = numbers_in(having, target)
    if {0.0, 1.0}.issuperset(values):
        return TargetKind(kind="binary", why=f"{target} is yes or no")
    whole = len(values) <= FEW and all(value == int(value) for value in values)
    names = [number_text(value) for value in values] if whole else []
    if names and (data.horizon == 0 or all(table.timeless for table in having)):
        return _classes(target, names)
    why = f"{target} holds numbers"
    if names:
        why += (
            f", if only {', '.join(names)}: they are taken for amounts, with task.kind = "
            '"multi-class" for classes'
        )
    return TargetKind(kind="regression", why=why)


def _classes(target: str, names: Sequence[str]) -> TargetKind:
    more = f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    kind = "binary" if len(names) == 2 else "multi-class"  # noqa: PLR2004 - yes and no
    plural = "class" if len(names) == 1 else "classes"
    why = f"{len(names)} {plural} of column {target}: {', '.join(names[:_SHOWN])}{more}"
    return TargetKind(kind=kind, why=why)


def steps_of(tables: Sequence[HomeTable], data: DataSettings) -> Counter[int]:
    """Return how many homes have which step of their series, in seconds; the plan's is all homes'.

    Homes that keep none are left out.

    Args:
        tables: The homes.
        data: The plan's settings for data.
    """
    if data.step:
        return Counter({step_seconds(data.step): len(tables)})
    found: Counter[int] = Counter()
    for table in tables:
        read = np.isfinite(table.columns.get(data.target, np.empty(0)))
        if table.timeless or np.count_nonzero(read) < _LEAST_ROWS:
            continue
        try:
            clock = find_clock(table.time_s[read], table.time_zone)
        except DataError:  # no such zone: the home is left out for it later
            continue
        if clock is not None:
            found[clock.step_s] += 1
    return found


def usual_days(
    tables: Sequence[HomeTable], split: tuple[float, float, float], kept: float | None
) -> float:
    """Return how many days of readings before the test a home has to learn from, in the middle.

    Args:
        tables: The homes.
        split: Shares in time for training, validation and test.
        kept: Days that homes keep at most; None: all.
    """
    spans = [
        (int(table.time_s[-1]) - int(table.time_s[0])) / DAY_S
        for table in tables
        if table.rows and not table.timeless
    ]
    days = float(np.median(spans)) * (split[0] + split[1]) if spans else 0.0
    return days if kept is None else min(days, kept)
