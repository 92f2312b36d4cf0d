"""Homes that learn together, as examples: all with the same inputs, whatever each of them lacks.

A simulation, `fedhome up` and what `--like` writes all cut homes here, so that which inputs have a
column of their own for "was missing" is one decision for all; a real home finds it in its plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedhome.data.classes import in_blocks
from fedhome.data.homes_folder import Exclusion
from fedhome.data.input_schema import InputSchema
from fedhome.data.inputs import matched
from fedhome.data.series.examples import HomeExamples, Targets
from fedhome.data.series.local_time import CALENDAR
from fedhome.data.series.scaling import FAR
from fedhome.data.series.windows import examples, is_own, with_indicators
from fedhome.data.table import HomeTable
from fedhome.data.told_once import SHOWN, some
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings

LEAST_FILLED = 0.01
"""Share of all homes' rows in which an input is missing, from which a column says where.

A column that is 0 in nearly all rows of nearly all homes is learnt from next to nothing, and does
harm where it is 1: the default scenario, with 0.3 % missing, lost 0.05 of skill by five of them.
"""

BEYOND = 0.1
"""Inputs that lie beyond training in this share of a home's later rows, or more, are told."""

SPARSE = 0.5
"""Columns that are missing in more than this share of all rows are named as sparse."""


@dataclass(frozen=True, kw_only=True)
class FleetExamples:
    """Homes as examples, and what became of the others.

    Args:
        homes: Each home's examples; all with the same inputs.
        tables: The same homes' readings, in the same order, brought to the schema.
        schema: What the columns are taken for, and which inputs may be missing.
        excluded: The homes that cannot be used.
        told: Name of a home, or nothing, and what was noticed.
    """

    homes: tuple[HomeExamples, ...]
    tables: tuple[HomeTable, ...]
    schema: InputSchema
    excluded: tuple[Exclusion, ...]
    told: tuple[tuple[str, str], ...]


def fleet_examples(
    tables: Iterable[HomeTable], schema: InputSchema, data: DataSettings, targets: Targets
) -> FleetExamples:
    """Cut homes into examples of the same inputs.

    Args:
        tables: The homes' readings.
        schema: What the columns are taken for.
        data: The plan's settings for data; ``indicators`` as they stand there, else those that
            follow from the homes.
        targets: How the task's targets are encoded.
    """
    homes: list[HomeExamples] = []
    usable: list[HomeTable] = []
    excluded: list[Exclusion] = []
    told: list[tuple[str, str]] = [("", note) for note in schema.notes]
    for table in tables:
        try:
            own = matched(table, schema, targets)
            home = examples(own.table, data, schema.columns, targets)
            home.check_classes(len(schema.target.words))
        except DataError as error:
            excluded.append(Exclusion(table.home, error.message, error.hint))
            continue
        homes.append(home)
        usable.append(own.table)
        told += [(table.home, note) for note in (*own.notes, *home.notes)]
    if targets != "continuous" and not data.series and data.split_by == "time":
        told += [("", note) for note in _sorted_by_class(usable, data.target)]
    indicators = data.indicators
    if indicators is None:
        indicators = tuple(_indicators(homes))
    told += [("", note) for note in _beyond_training(homes, data)]
    told += [("", note) for note in filled_in(homes, data, indicators)]
    return FleetExamples(
        homes=tuple(with_indicators(home, indicators) for home in homes),
        tables=tuple(usable),
        schema=replace(schema, indicators=indicators),
        excluded=tuple(excluded),
        told=tuple(told),
    )


def _sorted_by_class(tables: Sequence[HomeTable], target: str) -> Iterator[str]:
    """Yield that rows seem to be sorted by class, where they are in most homes of several."""
    blocks = {table.home: in_blocks(table.columns[target]) for table in tables}
    several = [home for home, one in blocks.items() if one is not None]
    found = [home for home in several if blocks[home]]
    if 2 * len(found) > len(several):
        yield (
            f"rows seem to be sorted by class: in {some(found)} all rows of a class of {target} "
            "stand together, so that test rows are of other classes than training rows; where they "
            'are recordings of one class each, data.split_by = "class" cuts each class by itself'
        )


def _beyond_training(homes: Sequence[HomeExamples], data: DataSettings) -> Iterator[str]:
    """Yield which inputs are cut off in many rows after training, and in which homes.

    Of a series that is learnt as its change the level is none of them: statements follow it. Nor
    is the time of day or week, which lies beyond what a home of a few days was trained on: it is
    no reading that somebody could look into.
    """
    cut: Counter[str] = Counter()
    clock = CALENDAR if data.calendar else ()
    where = []
    for home in homes:
        scaling, later = home.scaling, home.x[home.counts[0] :]
        if scaling is None or not scaling.bounded or not len(later):
            continue
        often = (np.abs(later) >= FAR).mean(axis=0) >= BEYOND
        if len(home.anchors):
            newest = [is_own(name, data.target) for name in scaling.features] & ~scaling.relative
            often[: len(newest)] &= ~newest
        often &= [name not in clock for name in scaling.features]
        if often.any():
            where.append(home.home)
            cut.update(name for name, one in zip(scaling.features, often, strict=True) if one)
    if where:
        yield (
            f"in {some(where)}, in a tenth or more of the rows after training, inputs lie more "
            f"than {FAR:g} spreads from the mean of training and count as {FAR:g} "
            f"({some([name for name, _ in cut.most_common()])}): a model can say little of such "
            "rows"
        )


def _indicators(homes: Sequence[HomeExamples]) -> list[str]:
    """Return the inputs that homes lack often enough, in a fixed order."""
    used = sum(len(home.x) for home in homes)
    counts = _counts(homes)
    return sorted(name for name, count in counts.items() if count >= LEAST_FILLED * used)


def _counts(homes: Sequence[HomeExamples]) -> dict[str, int]:
    """Return in how many rows of all homes inputs were filled in, the most first."""
    counts: Counter[str] = Counter()
    for home in homes:
        for name, rows in home.filled.items():
            counts[name] += int(np.count_nonzero(rows))
    return dict(counts.most_common())


def filled_in(
    homes: Sequence[HomeExamples], data: DataSettings, indicators: Sequence[str]
) -> Iterator[str]:
    """Yield what was missing in homes' rows, and what was made of it, in plain sentences.

    Args:
        homes: The homes, before columns say what was missing.
        data: The plan's settings for data.
        indicators: The inputs of which a column says so.
    """
    rows = sum(home.tally.rows for home in homes)
    target, past = (
        sum(getattr(home.tally, name) for home in homes)
        for name in ("without_target", "without_past")
    )
    if target:
        at = ", at one of the horizons or more" if data.several else ""
        yield f"{target:,} of {rows:,} rows hold no {data.target}{at}: they do not count"
    if past:
        why = (
            "lack an input" if data.missing == "drop" else "come before enough is known to predict"
        )
        yield f"{past:,} of {rows:,} rows {why}: they do not count"
    counts = _counts(homes)
    if not counts:
        return
    used = sum(len(home.x) for home in homes)
    touched = sum(int(np.count_nonzero(_any(home))) for home in homes)
    lacking = some([home.home for home in homes if home.filled])
    most = ", ".join(f"{name} ({counts[name] / used:.1%})" for name in list(counts)[:SHOWN])
    more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    yield (
        f"{touched:,} of {used:,} rows, of {lacking}, lack one input or more, and count all the "
        "same: where one is missing, the last reading of the day before is taken, else the median "
        f"of the home's training rows; missing are {most}{more}"
    )
    said = [name for name in indicators if name in counts]
    yield (
        f"a column of its own marks the rows that lack {', '.join(said)}"
        if said
        else "no column marks those rows: they are too few, or the plan names none"
    )
    if sparse := [name for name in counts if counts[name] > SPARSE * used]:
        yield f"sparse, missing in more than half of all rows: {', '.join(sparse)}"


def _any(home: HomeExamples) -> NDArray[np.bool_]:
    lacking = np.zeros(len(home.x), np.bool_)
    for rows in home.filled.values():
        lacking |= rows
    return lacking
