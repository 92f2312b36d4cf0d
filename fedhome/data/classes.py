"""The classes of a target: words, or numbers of any values, in the same order in all homes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.data.table import HomeTable
from fedhome.errors import DataError

MOST_NUMBERS = 100
"""Different numbers of a target, at most, that are taken for classes where a plan says so."""

_FLAGS = {0.0, 1.0}


def classes_of(tables: Iterable[HomeTable], target: str, targets: Targets) -> tuple[str, ...]:
    """Return the classes that homes have together: their words, or their numbers as text.

    Args:
        tables: The homes.
        target: The column to predict.
        targets: How it is encoded.

    Returns:
        The classes, sorted; none where the target is a number, or 0 and 1 already.

    Raises:
        DataError: More different numbers than are plausible.
    """
    if targets == "continuous":
        return ()
    tables = list(tables)
    if words := {word for table in tables for word in table.labels.get(target, ())}:
        return tuple(sorted(words))
    values = numbers_in(tables, target)
    if targets == "binary" and _FLAGS.issuperset(values):
        return ()
    most = 2 if targets == "binary" else MOST_NUMBERS
    if len(values) > most:
        raise DataError(
            f"the target {target!r} holds {len(values)} different numbers: a {targets} task takes "
            f"{most} at most",
            hint='set task.kind = "regression"'
            + (', or "multi-class"' if len(values) <= MOST_NUMBERS else ""),
        )
    return tuple(map(number_text, values))


def numbers_in(tables: Iterable[HomeTable], target: str) -> list[float]:
    """Return the different numbers of a target, sorted."""
    found: set[float] = set()
    for table in tables:
        values = table.columns.get(target, np.empty(0))
        found.update(np.unique(values[np.isfinite(values)]).tolist())
    return sorted(found)


def number_text(value: float) -> str:
    """Return a number as a class is called by it.

    >>> number_text(3.0), number_text(0.5)
    ('3', '0.5')
    """
    return str(int(value)) if value == int(value) else repr(value)


def in_blocks(values: NDArray[np.float64]) -> bool | None:
    """Tell whether rows are sorted by class: each class stands in one block of rows.

    Args:
        values: The target's classes in the order of the rows, NaN where there is none, ``[rows]``.

    Returns:
        Whether they are; None of fewer than two classes.
    """
    read = values[np.isfinite(values)]
    classes = len(np.unique(read))
    blocks = 1 + int(np.count_nonzero(read[1:] != read[:-1]))
    return blocks == classes if classes > 1 else None


def by_number(values: NDArray[np.float64], classes: Sequence[str]) -> NDArray[np.float64] | None:
    """Return numbers as places among classes that are called by numbers.

    Args:
        values: The numbers, ``[rows]``.
        classes: The classes.

    Returns:
        The places, NaN for a number that is no class, ``[rows]``; None where the classes are words.
    """
    try:
        named = np.array([float(name) for name in classes])
    except ValueError:
        return None
    if not np.isfinite(named).all():
        return None
    places = np.full(len(values), np.nan)
    for place, number in enumerate(named):
        places[values == number] = place
    return places
