"""Homes that fail on purpose: dropouts and stragglers, the same in every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.plan.settings import Plan

ANSWERS, ABSENT, LATE = 0, 1, 2


def faults_of(
    plan: Plan, homes: Sequence[str], examples: NDArray[np.int64]
) -> Callable[[int, NDArray[np.int64]], NDArray[np.int64]] | None:
    """Return who answers in a round; None where the plan has no faults.

    A straggler is slower by ``faults.slowdown`` in every round. Time is simulated: a home needs
    ``faults.step_s`` for each training step, times its slowness, and answers late when that is
    more than ``rounds.deadline_s``.

    Args:
        plan: The plan.
        homes: Names of the homes.
        examples: Training rows of each home, int64 ``[homes]``.

    Returns:
        A function of the round's number and the positions of the homes that the server asks.
    """
    faults, train = plan.faults, plan.train
    if faults.dropout == 0 and faults.stragglers == 0:
        return None
    drawn = rng.generator(plan.seed, "stragglers").random(len(homes))
    slowness = np.where(drawn < faults.stragglers, faults.slowdown, 1.0)
    steps = np.ceil(examples / train.batch_rows) * train.epochs
    if train.steps:
        steps = np.full(len(homes), float(train.steps))
    late = steps * faults.step_s * slowness > plan.rounds.deadline_s

    def silent(round_number: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        absent = (
            rng.generator(plan.seed, "dropout", round_number).random(len(homes)) < faults.dropout
        )
        return np.where(absent, ABSENT, np.where(late, LATE, ANSWERS))[positions]

    return silent
