"""How sure each home's predictions are, and whether rightly: bands, calibrated probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.learning import bands
from fedhome.learning.personalise.expert_statements import Statements
from fedhome.learning.personalise.experts import Experts
from fedhome.learning.tasks import at_horizon
from fedhome.learning.tasks.segments import Floats


class HomePart(NamedTuple):
    """One home's rows of a part: what was stated, what is true, and when."""

    stated: Floats
    truth: Floats
    times: NDArray[np.int64]


class SureHome(NamedTuple):
    """What one home's mixture states of its test rows, calibrated, and how sure it is.

    ``stated`` is ``[rows, outputs]``; ``low`` and ``high`` are the ends of the band of 80 % around
    a number, ``[rows]`` (of several horizons ``[rows, horizons]``, of classes empty); ``told`` is
    how rightly, by name; ``by`` is the band's reach, or the temperature of probabilities.
    """

    stated: Floats
    low: Floats
    high: Floats
    told: dict[str, float]
    by: bands.Reach | float


def at_nearest(sure: SureHome) -> SureHome:
    """Return how sure a home is of the nearest of several horizons alone."""
    low, high = sure.low[:, 0], sure.high[:, 0]
    return sure._replace(stated=sure.stated[:, :1], low=low, high=high)


Sure = Callable[[HomePart, HomePart, float, Sequence[str]], SureHome]


class Sureness(NamedTuple):
    """Calibrated statements on test rows ``[test rows, outputs]``.

    ``told`` is how sure they are, by name ``[homes]``; ``by`` what each home's are calibrated by.
    """

    stated: Floats
    told: dict[str, Floats]
    by: list[bands.Reach | float]


def how_sure(experts: Experts, mixed: Statements) -> Sureness:
    """Return the mixture's statements on test rows, calibrated, and how sure they are.

    Args:
        experts: The homes.
        mixed: What the mixtures state: of validation rows with weights that were not fitted to
            them.

    Returns:
        Statements ``[test rows, outputs]``, and by name ``[homes]``: of numbers ``coverage`` of
        the band of 80 % and its mean ``width`` in the target's unit, of several horizons their
        means and those of each; of classes ``nll`` and ``ece``, the negative log-likelihood and
        the expected calibration error.
    """
    found = sure_homes(experts, mixed)
    return Sureness(
        np.concatenate([home.stated for home in found]),
        {name: np.array([home.told[name] for home in found]) for name in found[0].told},
        [home.by for home in found],
    )


def sure_homes(experts: Experts, mixed: Statements) -> list[SureHome]:
    """Return how sure each home's mixture is; arguments as of `how_sure`."""
    validation, test = _parts(experts, mixed, 0), _parts(experts, mixed, 1)
    units = experts.cohort.rows("test").units
    task = experts.cohort.learning.task
    sure = _SURE[task.kind.targets]
    return [
        sure(before, after, float(unit), task.horizons)
        for before, after, unit in zip(validation, test, units, strict=True)
    ]


def _parts(experts: Experts, mixed: Statements, place: int) -> list[HomePart]:
    part = ("validation", "test")[place]
    rows = experts.cohort.rows(part)  # type: ignore[arg-type]
    ends = np.cumsum(rows.counts)[:-1]
    columns = (mixed[place], experts.truth(part), rows.times)  # type: ignore[arg-type]
    return [HomePart(*home) for home in zip(*(np.split(c, ends) for c in columns), strict=True)]


def _numbers(
    validation: HomePart, test: HomePart, unit: float, horizons: Sequence[str]
) -> SureHome:
    column = slice(None) if horizons else 0  # what is told twice by an output is one number
    residuals = (validation.truth - validation.stated)[:, column]
    reach = bands.reach(residuals, validation.times)
    low, high = reach.at(test.times)
    error = (test.truth - test.stated)[:, column]
    inside, width = (low <= error) & (error <= high), high - low
    told = {"coverage": float(inside.mean()), "width": float(width.mean()) * unit}
    for at, horizon in enumerate(horizons):
        told[at_horizon("coverage", horizon)] = float(inside[:, at].mean())
        told[at_horizon("width", horizon)] = float(width[:, at].mean()) * unit
    stated = test.stated[:, column]
    return SureHome(test.stated, stated + low, stated + high, told, reach)


def _classes(
    validation: HomePart, test: HomePart, unit: float, horizons: Sequence[str]
) -> SureHome:
    del unit, horizons
    heat = bands.temperature(validation.stated, validation.truth)
    stated = bands.cooled(test.stated, heat)
    told = {
        "nll": bands.nll(stated, test.truth),
        "ece": bands.calibration_error(stated, test.truth),
    }
    return SureHome(stated, np.empty(0), np.empty(0), told, heat)


_SURE: Mapping[Targets, Sure] = {
    "continuous": _numbers,
    "binary": _classes,
    "multi-class": _classes,
}
