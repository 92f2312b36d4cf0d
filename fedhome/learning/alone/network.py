"""The plan's network alone: tuned by the home's own rows, or trained as the whole fleet would.

Both start from the model that a run begins with, as a home without a fleet would have to, and end
with the mean of the path that their training took (:mod:`fedhome.learning.path_mean`), as
fine-tuned models do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.alone.pass_counts import passes_of, ways_of
from fedhome.learning.cohort import Cohort, Training
from fedhome.learning.path_mean import path_mean
from fedhome.plan.settings import PersonaliseSettings

_STREAM, _AGAIN = 1 << 40, 4 << 40  # streams of batches, apart from the rounds' and each other
_WORST = 2.0


class AloneSchedule(NamedTuple):
    """How each home trains alone, ``[homes]`` each.

    Multiples of the plan's rate, passes, and examples in a step (0: the plan's).
    """

    rates: NDArray[np.float64]
    epochs: NDArray[np.int64]
    batches: NDArray[np.int64]


class TrainedAlone(NamedTuple):
    """Models ``[homes, size]``: of training rows, and of training and validation rows."""

    stopped: NDArray[np.float32]
    refitted: NDArray[np.float32]


def trial(cohort: Cohort, settings: PersonaliseSettings) -> NDArray[np.float64]:
    """Return by which factor training alone changes the validation loss, at most 2.

    Args:
        cohort: The homes.
        settings: The plan's settings of personalisation.

    Returns:
        float64 ``[homes, ways, passes]``, as `ways_of` and `passes_of` have them.
    """
    losses = _validation_losses(cohort, settings)
    after = losses[:, :, np.array(passes_of(settings))]
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.where(np.isnan(after), np.inf, after) / losses[:, :1, :1]
    return np.clip(np.nan_to_num(change, nan=1.0, posinf=_WORST), 0.0, _WORST)


def own_schedule(cohort: Cohort, settings: PersonaliseSettings) -> AloneSchedule:
    """Return what suits each home by its own validation rows.

    It stops after ``personalise.patience`` passes without improvement, in every way to step, and
    takes the best that it saw; where nothing is better than no training, no pass.
    """
    losses = _validation_losses(cohort, settings)
    homes = len(losses)
    best = np.where(np.isfinite(losses[:, 0, 0]), losses[:, 0, 0], np.inf)
    ways = ways_of(settings)
    chosen, epochs = np.zeros(homes, np.int64), np.zeros(homes, np.int64)
    for place in range(len(ways)):
        lowest, since = np.full(homes, np.inf), np.zeros(homes, np.int64)
        for epoch in range(1, settings.local_epochs + 1):
            going, now = since < settings.patience, losses[:, place, epoch]
            better = going & (now < best)
            best = np.where(better, now, best)
            chosen, epochs = np.where(better, place, chosen), np.where(better, epoch, epochs)
            since = np.where(now < lowest, 0, since + 1)
            lowest = np.fmin(lowest, now)
    batches, rates = (np.array(column)[chosen] for column in zip(*ways, strict=True))
    return AloneSchedule(rates, epochs, batches)


def fleets_schedule(homes: int, rate: float, epochs: int, batch: int = 0) -> AloneSchedule:
    """Return the same rate, passes and size of batches for every home."""
    return AloneSchedule(
        np.full(homes, rate), np.full(homes, epochs, np.int64), np.full(homes, batch, np.int64)
    )


def train(cohort: Cohort, schedule: AloneSchedule, *, refit: bool) -> TrainedAlone:
    """Train homes alone as their schedules say.

    Args:
        cohort: The homes.
        schedule: How each trains.
        refit: Whether to train once more, on training and validation rows.
    """
    stopped = _trained(cohort, schedule, "train", _STREAM)
    return TrainedAlone(
        stopped, _trained(cohort, schedule, "train+validation", _STREAM) if refit else stopped
    )


def train_again(cohort: Cohort, schedule: AloneSchedule, *, refit: bool) -> NDArray[np.float32]:
    """Train the same once more, with nothing changed but the order of batches.

    What differs between the two is noise: no model can be told from another by less.
    """
    return _trained(cohort, schedule, "train+validation" if refit else "train", _AGAIN)


def _validation_losses(cohort: Cohort, settings: PersonaliseSettings) -> NDArray[np.float64]:
    """Return the loss before training and after each pass, ``[homes, ways, 1 + passes]``."""
    return np.stack(cohort.recall("losses-alone", lambda some: list(_losses(some, settings))))


def _losses(cohort: Cohort, settings: PersonaliseSettings) -> NDArray[np.float64]:
    initial, ways = cohort.learning.initial, ways_of(settings)
    losses = np.empty((len(cohort.homes), len(ways), 1 + settings.local_epochs))
    losses[:, :, 0] = cohort.evaluate(initial, "validation").losses[:, None]
    for place, way in enumerate(ways):
        params = mean = initial
        for epoch in range(settings.local_epochs):
            params = cohort.train(
                params, Training(stream=_STREAM + epoch, epochs=1, rate=way.rate, batch=way.batch)
            ).params
            mean = path_mean(mean, params, epoch + 1)
            losses[:, place, epoch + 1] = cohort.evaluate(mean, "validation").losses
    return losses


def _trained(
    cohort: Cohort, schedule: AloneSchedule, part: Part, stream: int
) -> NDArray[np.float32]:
    initial, (rates, epochs, batches) = cohort.learning.initial, schedule
    params = np.broadcast_to(initial, (len(epochs), len(initial))).copy()
    mean = params.copy()
    steps = list(zip(batches.tolist(), rates.tolist(), strict=True))
    trained = {way for way, passes in zip(steps, epochs.tolist(), strict=True) if passes}
    for way in sorted(trained):
        batch, rate = way
        same = (batches == batch) & (rates == rate)
        for epoch in range(int(epochs[same].max())):
            going = np.flatnonzero(same & (epochs > epoch))
            some = cohort.pick(going)
            params[going] = some.train(
                params[going],
                Training(stream=stream + epoch, epochs=1, rate=rate, batch=batch, part=part),
            ).params
            mean[going] = path_mean(mean[going], params[going], epoch + 1)
    return mean
