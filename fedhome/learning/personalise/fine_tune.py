"""Fine-tuning of the whole model in each home, kept where the home's own validation says so.

Source: Wang et al., "Federated evaluation of on-device personalization", 2019; Yu, Bagdasaryan,
Shmatikov, "Salvaging federated learning by local adaptation", 2020.

Two stages. *Trial*: every home reports its validation loss after each pass of fine-tuning at
each rate; the fleet takes the pair that is best on average. *Outcome*: each home fine-tunes so,
and its gate keeps the best of fine-tuned, global and local-only by the home's own validation
data; what is kept is trained once more on training and validation rows together, and only then
scored on the test rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.cohort import Cohort, Measured
from fedhome.plan.settings import PersonaliseSettings
from fedhome.run.compared_models import CHOICES

_LOCAL, _TUNE, _REFIT = 1 << 40, 2 << 40, 3 << 40  # streams of batches, apart from the rounds'
_WORST = 2.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What each home ended with.

    Args:
        models: Scores on the test rows of "baseline", "local", "global", "personalised".
        chosen: Index into :data:`CHOICES` of what the gate kept, int64 ``[homes]``.
    """

    models: Mapping[str, Measured]
    chosen: NDArray[np.int64]


def trial(
    cohort: Cohort, start: NDArray[np.float32], settings: PersonaliseSettings
) -> NDArray[np.float64]:
    """Return how each pass changes the home's validation loss: a factor, at most 2.

    Args:
        cohort: The homes.
        start: The global parameters ``[size]``.
        settings: The plan's settings of personalisation.

    Returns:
        float64 ``[homes, rates, 1 + epochs]``; pass 0 is the global model itself, factor 1.
    """
    before = cohort.evaluate(start, "validation").losses
    losses = np.empty((len(cohort.homes), len(settings.rates), 1 + settings.epochs))
    losses[:, :, 0] = before[:, None]
    for index, rate in enumerate(settings.rates):
        params = start
        for epoch in range(settings.epochs):
            params = cohort.train(params, stream=_TUNE + epoch, epochs=1, rate=rate).params
            losses[:, index, epoch + 1] = cohort.evaluate(params, "validation").losses
    # Against the home's own loss before, and bounded: one home whose loss explodes must not
    # decide for all, and a bounded number can be summed in secret.
    exploded = np.where(np.isnan(losses), np.inf, losses)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = exploded / before[:, None, None]
    return np.clip(np.nan_to_num(change, nan=1.0, posinf=_WORST), 0.0, _WORST)


def choose(changes: NDArray[np.float64], rates: tuple[float, ...]) -> tuple[float, int]:
    """Return the rate and the number of passes that are best for the fleet.

    Args:
        changes: Mean over homes of what :func:`trial` returns, float64 ``[rates, 1 + epochs]``.
        rates: The rates that were tried.
    """
    index, epochs = np.unravel_index(int(np.argmin(changes)), changes.shape)
    return rates[int(index)], int(epochs)


def outcome(
    cohort: Cohort,
    start: NDArray[np.float32],
    settings: PersonaliseSettings,
    *,
    rate: float,
    epochs: int,
) -> Outcome:
    """Fine-tune, gate, refit and score.

    Args:
        cohort: The homes.
        start: The global parameters ``[size]``.
        settings: The plan's settings of personalisation.
        rate: Learning rate that the fleet chose, as a multiple of the plan's.
        epochs: Passes that the fleet chose; 0 keeps the global model.
    """
    local = _local_only(cohort, settings)
    tuned = np.broadcast_to(start, (len(cohort.homes), len(start)))
    final = tuned
    for epoch in range(epochs):
        tuned = cohort.train(tuned, stream=_TUNE + epoch, epochs=1, rate=rate).params
        if settings.refit:
            final = cohort.train(
                final, stream=_REFIT + epoch, epochs=1, rate=rate, part="train+validation"
            ).params
    if not settings.refit:
        final = tuned
    chosen = np.full(len(cohort.homes), CHOICES.index("personalised"))
    if settings.gate:
        chosen = _gate(cohort, start, tuned, local.stopped)
    kept = np.where((chosen == 0)[:, None], local.final, final)
    kept = np.where((chosen == 1)[:, None], start, kept)
    return Outcome(
        models={
            "baseline": cohort.baseline("test"),
            "local": cohort.evaluate(local.final, "test"),
            "global": cohort.evaluate(start, "test"),
            "personalised": cohort.evaluate(kept, "test"),
        },
        chosen=chosen,
    )


def _gate(
    cohort: Cohort,
    start: NDArray[np.float32],
    tuned: NDArray[np.float32],
    local: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Return what each home keeps, by its own validation rows, as places in :data:`CHOICES`.

    A few rows say little, so a home departs from the global model only for a difference of more
    than one standard error (Breiman et al., "Classification and regression trees", 1984,
    section 3.4), and to local-only for one of more than two: its pass and its rate were picked
    on these very rows, which flatters it.
    """
    gain, error = cohort.compare(start, tuned, "validation")
    is_tuned = gain > error
    federated = np.where(is_tuned[:, None], tuned, start)
    behind, error = cohort.compare(federated, local, "validation")
    chosen = np.where(is_tuned, CHOICES.index("personalised"), CHOICES.index("global"))
    # A federated model whose loss is not finite in this home is behind any that is.
    diverged = ~np.isfinite(behind) & np.isfinite(cohort.evaluate(local, "validation").losses)
    return np.where((behind > 2 * error) | diverged, CHOICES.index("local"), chosen)


class _Local(NamedTuple):
    """Local-only models ``[homes, size]``: as stopped early, and after the refit."""

    stopped: NDArray[np.float32]
    final: NDArray[np.float32]


def _local_only(cohort: Cohort, settings: PersonaliseSettings) -> _Local:
    """Train each home alone, stopped early and at its best rate by its own validation data."""
    initial = cohort.learning.initial
    count = len(cohort.homes)
    best = np.broadcast_to(initial, (count, len(initial))).copy()
    loss = cohort.evaluate(initial, "validation").losses.copy()
    rates, epochs = np.zeros(count), np.zeros(count, np.int64)
    for rate in settings.rates:
        params = np.broadcast_to(initial, best.shape).copy()
        lowest, since = np.full(count, np.inf), np.zeros(count, np.int64)
        for epoch in range(settings.local_epochs):
            going = np.flatnonzero(since < settings.patience)
            if len(going) == 0:
                break
            some = cohort.pick(going)
            params[going] = some.train(
                params[going], stream=_LOCAL + epoch, epochs=1, rate=rate
            ).params
            now = some.evaluate(params[going], "validation").losses
            since[going] = np.where(now < lowest[going], 0, since[going] + 1)
            lowest[going] = np.fmin(lowest[going], now)
            better = going[now < loss[going]]
            best[better], loss[better] = params[better], now[now < loss[going]]
            rates[better], epochs[better] = rate, epoch + 1
    return _Local(best, _retrain(cohort, initial, rates, epochs) if settings.refit else best)


def _retrain(
    cohort: Cohort,
    initial: NDArray[np.float32],
    rates: NDArray[np.float64],
    epochs: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Train each home on training and validation rows for its own number of passes."""
    params = np.broadcast_to(initial, (len(epochs), len(initial))).copy()
    for rate in np.unique(rates[epochs > 0]):
        for epoch in range(int(epochs[rates == rate].max())):
            going = np.flatnonzero((rates == rate) & (epochs > epoch))
            params[going] = (
                cohort.pick(going)
                .train(
                    params[going],
                    stream=_LOCAL + epoch,
                    epochs=1,
                    rate=float(rate),
                    part="train+validation",
                )
                .params
            )
    return params
