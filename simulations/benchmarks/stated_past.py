"""What models fitted at home state of a home's past, as if it had been asked some days earlier.

A home with one stretch of validation rows has a few days of training rows as well: of each of them
but the first, it is stated what models say that are fitted to the days before (forward chaining).
Networks have learnt from these rows, so nothing is stated of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import RunError
from fedhome.learning.blocks import stretches_of
from fedhome.learning.cohort import PartRows
from fedhome.learning.device import Device
from fedhome.learning.local import LocalLearning
from fedhome.learning.personalise import fine_tune
from fedhome.learning.personalise.experts import Adaptation, Experts
from fedhome.learning.tasks.segments import Floats

AT_HOME: Final = ("naive", "linear", "trees")
"""The experts that are fitted at home, and cheaply."""
_FEWEST = 8  # rows that are fitted to
_MOST = 4  # days that are stated, the last ones


@dataclass(frozen=True, kw_only=True)
class StatedPast:
    """What is stated of a home's past; no row: it has more than one stretch of validation rows.

    Args:
        stated: By :data:`AT_HOME`, ``[rows, outputs]``, weighed by rows that did not choose them.
        truth: What is true ``[rows, outputs]``.
        naive: What no learning states ``[rows, outputs]``.
        days: Each row's day, from 0, ``[rows]``.
    """

    stated: Mapping[str, Floats] = field(default_factory=dict)
    truth: Floats = field(default_factory=lambda: np.empty((0, 1)))
    naive: Floats = field(default_factory=lambda: np.empty((0, 1)))
    days: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def stated_past(experts: Experts) -> Iterator[StatedPast]:
    """Yield what is stated of each home's past.

    Args:
        experts: The homes and their models.

    Raises:
        RunError: The homes do not learn by torch.
    """
    cohort = experts.cohort
    learning = cohort.learning
    if not isinstance(learning, LocalLearning):
        raise RunError(
            "what homes' pasts say is asked of homes that learn by torch",
            hint="leave engine.name as it is",
        )
    parts = [list(cohort.rows(part).each()) for part in ("train", "validation")]
    for home, train, validation in zip(cohort.homes, *parts, strict=True):
        asked: list[Experts] = []
        if len(train.times) and int(stretches_of(validation.times).max()) == 0:
            asked = [_experts(experts, one) for one in _earlier(learning, home, train, validation)]
        if not asked:
            yield StatedPast()
            continue
        counts = [int(one.cohort.counts("validation")[0]) for one in asked]
        yield StatedPast(
            stated={name: np.concatenate([one.judged(name) for one in asked]) for name in AT_HOME},
            truth=np.concatenate([one.truth("validation") for one in asked]),
            naive=np.concatenate([one.naive().validation for one in asked]),
            days=np.repeat(np.arange(len(asked)), counts),
        )


def _earlier(
    learning: LocalLearning, home: str, train: PartRows, after: PartRows
) -> Iterator[Device]:
    """Yield the home as it was before each of its last days of training rows but the first.

    Its validation rows are that day, and its test rows stay what follows all of them.
    """
    days = stretches_of(train.times)
    for day in range(max(1, int(days.max()) + 1 - _MOST), int(days.max()) + 1):
        fitted, stated = np.flatnonzero(days < day), np.flatnonzero(days == day)
        if len(fitted) < _FEWEST:
            continue
        rows = np.concatenate([fitted, stated])
        x, y, naive, seasonal, time_s = (
            np.concatenate([own[rows], later])
            for own, later in zip(train[:5], after[:5], strict=True)
        )
        examples = HomeExamples(
            home=home,
            x=x,
            y=y,
            naive=naive,
            counts=(len(fitted), len(stated), len(after.times)),
            time_s=time_s,
            seasonal=seasonal,
        )
        yield Device(learning, examples, seed=0)


def _experts(experts: Experts, cohort: Device) -> Experts:
    """Return what is asked of an earlier home; of a network nothing is."""
    return Experts(
        cohort,
        experts.settings,
        start=experts.start,
        how=fine_tune,
        adaptation=Adaptation(experts.settings.rates[0], 0),
    )
