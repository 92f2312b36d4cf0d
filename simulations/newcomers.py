"""Homes that join after the rounds: set apart before anything is made of their readings.

What they hold decides nothing: neither the task, nor inputs, words and classes, nor the model, nor
how homes adapt and mix.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.homes_folder import FolderRead
from fedhome.data.inputs import matched
from fedhome.data.series.examples import HomeExamples
from fedhome.data.series.splits import AsNew
from fedhome.data.series.windows import ROWS_A_DAY, examples, with_indicators
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.learning.tasks import kind_of
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S
from fedhome.simulations.gather import FoundHomes

_NEARLY = 0.9  # of the days asked for: a gap, or the first day's first hours, may be lacking


@dataclass(frozen=True, kw_only=True)
class Newcomers:
    """Homes that join after the rounds, and how their readings become examples.

    Args:
        tables: Their readings, as they were read.
        found: The homes that take part: what all homes' examples are made by.
    """

    tables: tuple[HomeTable, ...]
    found: FoundHomes

    @property
    def all_new(self) -> bool:
        """Whether no home takes part."""
        return self.found.gathered.plan.evaluation.unseen == 1

    @property
    def timeless(self) -> bool:
        """Whether a day is a number of rows, as these have no times."""
        return bool(self.tables) and all(table.timeless for table in self.tables)


class FewDays(NamedTuple):
    """Homes with some days of readings, and why others have none.

    Args:
        homes: Those that have as many.
        lacking: Why others are left out, and how many.
    """

    homes: list[HomeExamples]
    lacking: Counter[str]


def set_apart(read: FolderRead, plan: Plan) -> tuple[FolderRead, tuple[HomeTable, ...]]:
    """Return the homes that take part in the rounds, and those that join after them.

    Which, the plan's seed draws. At least one joins where the plan wants any; all do where it
    wants all: then those that were read are both.

    Args:
        read: All homes.
        plan: The plan.
    """
    share, count = plan.evaluation.unseen, len(read.homes)
    if not share or not count:
        return read, ()
    if share == 1:
        return read, tuple(read.homes)
    apart = min(max(round(share * count), 1), count - 1)
    if not apart:
        raise DataError(
            "the only home cannot both take part in the rounds and join after them",
            hint="set evaluation.unseen = 0, or take more homes",
        )
    drawn = rng.generator(plan.seed, "unseen homes").permutation(count)[:apart]
    unseen = set(drawn.tolist())
    seen = [table for place, table in enumerate(read.homes) if place not in unseen]
    return replace(read, homes=seen), tuple(read.homes[place] for place in sorted(unseen))


def with_days(newcomers: Newcomers, days: float) -> FewDays:
    """Return the newcomers as examples of the last days before their test rows.

    Args:
        newcomers: The homes.
        days: How many days.
    """
    plan, schema = newcomers.found.gathered.plan, newcomers.found.schema
    targets = kind_of(plan.task.kind).targets
    data = plan.data.model_copy(update={"history_days": days})

    def cut(table: HomeTable) -> HomeExamples:
        own = matched(table, schema, targets).table
        home = examples(own, data, schema.columns, targets)
        home.check_classes(len(schema.target.words))
        whole = examples(own, _all_of(data), schema.columns, targets)
        if _short(_before(home), _before(whole), days, timeless=table.timeless):
            raise DataError("fewer days before the test rows")
        return home

    return _cut_all(newcomers.tables, cut, schema.indicators)


def rehearsing(newcomers: Newcomers, places: Sequence[int], as_new: AsNew) -> FewDays:
    """Return homes that took part as if they were new, their validation rows in place of test rows.

    Args:
        newcomers: What says how homes are cut.
        places: Which of the homes that took part.
        as_new: Which of the rows before their validation rows they have.
    """
    found = newcomers.found
    plan, schema = found.gathered.plan, found.schema
    targets = kind_of(plan.task.kind).targets
    data = plan.data.simulated()

    def cut(table: HomeTable) -> HomeExamples:
        home = examples(table, data, schema.columns, targets, as_new=as_new)
        if as_new.days == math.inf:
            return home
        whole = examples(table, data, schema.columns, targets)
        train = whole.times()[whole.rows("train")]
        if _short(_before(home), train, as_new.days, timeless=table.timeless):
            raise DataError("fewer days before the validation rows")
        return home

    return _cut_all([found.tables[place] for place in places], cut, schema.indicators)


def _all_of(data: DataSettings) -> DataSettings:
    return data.model_copy(update={"history_days": None})


def _cut_all(
    tables: Sequence[HomeTable],
    cut: Callable[[HomeTable], HomeExamples],
    indicators: Sequence[str] | None,
) -> FewDays:
    homes, lacking = [], Counter[str]()
    for table in tables:
        try:
            home = cut(table)
        except DataError as error:
            lacking[error.message.replace(f"home {table.home!r} ", "").split(":")[0]] += 1
            continue
        homes.append(with_indicators(home, indicators or ()))
    return FewDays(homes, lacking)


def _before(home: HomeExamples) -> NDArray[np.int64]:
    """Return the times of the rows before the test rows."""
    return home.times()[home.rows("train+validation")]


def _short(
    own: NDArray[np.int64], whole: NDArray[np.int64], days: float, *, timeless: bool
) -> bool:
    """Tell whether a home has fewer days than asked for: its first row is too late, or too few.

    Args:
        own: Times of the rows that it is given.
        whole: Times of all that it could be given.
        days: How many days were asked for.
        timeless: Whether its rows have none.
    """
    if timeless:  # their times are places among the rows that are left
        return len(own) < _NEARLY * days * ROWS_A_DAY
    if own.min() > whole.min():
        return False
    return float(np.ptp(own)) < _NEARLY * days * DAY_S
