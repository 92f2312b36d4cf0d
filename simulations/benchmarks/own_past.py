"""A line whose penalty is chosen by a home's past and its validation rows together.

Validation rows are a home's newest, and often a single day. What lies before has been new as well:
the last stretches of training rows are each stated by lines that are fitted to what came before
them (forward chaining; Tashman, "Out-of-sample tests of forecasting accuracy", International
Journal of Forecasting 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.alone import FittedAlone, OwnRows, linear
from fedhome.learning.blocks import overlap_s, stretches_of
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.data_settings import Span

_TENTHS = 10
_ASKED = 4  # stretches, the last ones: what is long ago was another season
_FEWEST_FITTED, _FEWEST_ASKED = 8, 4  # rows
_MANY = 5000  # training rows: fits to so many cost more than the rest of a run


@dataclass(frozen=True, kw_only=True)
class OwnTimes:
    """When a home's rows are.

    Args:
        train: UTC seconds of training rows, or their numbers, ``[rows]``.
        validation: The same of validation rows.
        ahead: How far ahead targets of a series are, as the plan writes it.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    ahead: Span = 0


def lines_by_past(experts: Experts) -> Iterator[FittedAlone]:
    """Yield each home's line whose penalty its past and validation rows choose.

    Of a home without a past, or of more than 5000 training rows, it is the line as built. Of
    several horizons nothing is yielded.

    Args:
        experts: The homes.
    """
    cohort, task = experts.cohort, experts.cohort.learning.task
    if task.horizons:
        return
    names: tuple[Part, ...] = ("train", "validation", "test")
    parts = [list(cohort.rows(part).each()) for part in names]
    for train, validation, test in zip(*parts, strict=True):
        rows = OwnRows(
            targets=task.kind.targets,
            outputs=task.outputs,
            x=(train.x, validation.x, test.x),
            y=(train.y, validation.y, test.y),
        )
        yield line_by_past(
            rows, OwnTimes(train=train.times, validation=validation.times, ahead=task.ahead)
        )


def line_by_past(rows: OwnRows, times: OwnTimes) -> FittedAlone:
    """Return a home's line whose penalty its past and validation rows choose.

    Args:
        rows: The home's rows, of a single horizon.
        times: When they are.
    """
    if rows.only_one_target() or len(rows.y[0]) > _MANY:
        return linear.fit(rows)
    return linear.fit(rows, past_errors(pasts(rows, times), linear.tried))


def past_errors(
    earlier: Iterator[OwnRows], tried: Callable[[OwnRows], Sequence[Floats]]
) -> Floats | float:
    """Return how far each way to fit a model was off in a home's past, ``[ways]``; 0 without one.

    Args:
        earlier: The home as it was, of `pasts`.
        tried: Returns what each way states of validation rows, ``[rows, outputs]`` each.
    """
    errors: Floats | float = 0.0
    for rows in earlier:
        errors = errors + len(rows.y[1]) * np.array([rows.loss(stated) for stated in tried(rows)])
    return errors


def pasts(rows: OwnRows, times: OwnTimes) -> Iterator[OwnRows]:
    """Yield the home as it was before each of the last four stretches of its training rows.

    That stretch is in the place of validation rows; there are no test rows. What is fitted to was
    known when the first of them was foretold. A stretch is a day, of a longer past a tenth of it.
    Where each class was split by itself it is a tenth of each class. A stretch of fewer than four
    rows is not asked, nor one before which there are fewer than eight rows or a single target.

    Args:
        rows: The home's rows.
        times: When they are.
    """
    if not len(times.train):
        return
    groups = _groups(rows, times)
    stretches = np.zeros(len(times.train), np.int64)
    for own in groups:
        stretches[own] = _stretches(times.train[own], tenths=len(groups) > 1)
    reach, last = overlap_s(times.train, times.ahead), int(stretches.max())
    for stretch in range(max(1, last + 1 - _ASKED), last + 1):
        asked, before = np.flatnonzero(stretches == stretch), stretches < stretch
        if reach:
            before &= times.train < times.train[asked].min() - reach
        fitted = np.flatnonzero(before)
        if len(fitted) < _FEWEST_FITTED or len(asked) < _FEWEST_ASKED:
            continue
        x, y = rows.x[0], rows.y[0]
        earlier = replace(rows, x=(x[fitted], x[asked], x[:0]), y=(y[fitted], y[asked], y[:0]))
        if not earlier.only_one_target():
            yield earlier


def _groups(rows: OwnRows, times: OwnTimes) -> list[NDArray[np.int64]]:
    """Return which training rows were split together: all, or those of a class."""
    later = times.validation
    if not rows.classes or not len(later) or times.train.max() < later.min():
        return [np.arange(len(times.train))]
    own = rows.labels(rows.y[0])
    return [np.flatnonzero(own == kind) for kind in np.unique(own)]


def _stretches(times: NDArray[np.int64], *, tenths: bool) -> NDArray[np.int64]:
    if tenths:
        return np.arange(len(times)) * _TENTHS // len(times)
    own = stretches_of(times)
    count = int(own.max()) + 1
    return own * _TENTHS // count if count > _TENTHS else own
