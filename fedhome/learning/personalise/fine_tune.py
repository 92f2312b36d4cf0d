"""Fine-tuning of the whole model in each home.

Source: Wang et al., "Federated evaluation of on-device personalization", 2019; Yu, Bagdasaryan,
Shmatikov, "Salvaging federated learning by local adaptation", 2020.

Every home reports its validation loss after each pass of fine-tuning at each rate; the fleet takes
the pair that is best on average, and every home trains so: on its training rows, and once more on
training and validation rows together. What a home has after some passes is the mean of the path
that it took (:mod:`fedhome.learning.path_mean`), in a trial too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.cohort import Cohort, Training
from fedhome.learning.methods import Method
from fedhome.learning.path_mean import path_mean
from fedhome.plan.settings import PersonaliseSettings

_STREAM, _REFIT = 2 << 40, 3 << 40  # streams of batches, apart from the rounds'
_WORST = 2.0


def trial(
    cohort: Cohort,
    start: NDArray[np.float32],
    settings: PersonaliseSettings,
    *,
    method: Method | None = None,
) -> NDArray[np.float64]:
    """Return how each pass changes the home's validation loss: a factor, at most 2.

    Args:
        cohort: The homes.
        start: The global parameters ``[size]``, or those that homes have ``[homes, size]``.
        settings: The plan's settings of personalisation.
        method: How a step goes; None: as the plan's method has it.

    Returns:
        float64 ``[homes, rates, 1 + epochs]``; pass 0 is the global model itself, factor 1.
    """
    before = cohort.evaluate(start, "validation").losses
    losses = np.empty((len(cohort.homes), len(settings.rates), 1 + settings.epochs))
    losses[:, :, 0] = before[:, None]
    for index, rate in enumerate(settings.rates):
        params = mean = start
        for epoch in range(settings.epochs):
            stream = _STREAM + epoch
            trained = cohort.train(
                params, Training(stream=stream, epochs=1, rate=rate, method=method)
            )
            params = trained.params
            mean = path_mean(mean, params, epoch + 1)
            losses[:, index, epoch + 1] = cohort.evaluate(mean, "validation").losses
    # Against the home's own loss before, and bounded: one home whose loss explodes must not
    # decide for all, and a bounded number can be summed in secret.
    exploded = np.where(np.isnan(losses), np.inf, losses)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = exploded / before[:, None, None]
    return np.clip(np.nan_to_num(change, nan=1.0, posinf=_WORST), 0.0, _WORST)


def adapt(
    cohort: Cohort,
    start: NDArray[np.float32],
    *,
    rate: float,
    epochs: int,
    part: Part,
    method: Method | None = None,
) -> NDArray[np.float32]:
    """Return the global model fine-tuned to each home, float32 ``[homes, size]``.

    Args:
        cohort: The homes.
        start: The global parameters ``[size]``, or those that homes have ``[homes, size]``.
        rate: Learning rate that the fleet chose, as a multiple of the plan's.
        epochs: Passes that the fleet chose; after none it is the global model.
        part: The rows to learn from.
        method: As of `trial`.
    """
    begin = _STREAM if part == "train" else _REFIT
    params = mean = np.broadcast_to(start, (len(cohort.homes), start.shape[-1]))
    for epoch in range(epochs):
        stream = begin + epoch
        trained = cohort.train(
            params, Training(stream=stream, epochs=1, rate=rate, part=part, method=method)
        )
        params = trained.params
        mean = path_mean(mean, params, epoch + 1)
    return mean
