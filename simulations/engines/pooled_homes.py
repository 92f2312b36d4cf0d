"""Homes of a pool that are asked together: those that are held, and others, made when asked.

What is not held is made some homes at a time and let go, so that memory does not grow with the
fleet, nor with how many are asked. Answers are those that a fleet in memory would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.personalise import Personaliser
from fedhome.questions.contributions import simulated_noise_keys
from fedhome.questions.empty_handed import empty_words
from fedhome.questions.question_table import TRAIN
from fedhome.questions.responses import Response
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.chunk_sums import RequestedForm, Words
from fedhome.simulations.engines.joined_responses import joined
from fedhome.simulations.engines.shard import Homes, Mean, Shard
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.vector_cohort import VectorCohort
from fedhome.simulations.pools.pooled_fleet import PooledFleet

_AT_ONCE = 500
"""Homes that are made at a time."""


class _Part(NamedTuple):
    """Some of the homes that were asked: where in the question they stand, and who answers."""

    places: NDArray[np.int64]
    shard: Shard
    within: NDArray[np.int64]


class PooledHomes(Homes):
    """The homes of a pool.

    Args:
        fleet: The pool, as the plan uses it.
        held: The homes that are held, in the order of ``fleet.positions``.
        how: The personaliser; None where the plan has none.
        notice: Called with a sentence when a home cannot take part.
    """

    def __init__(
        self,
        fleet: PooledFleet,
        held: VectorCohort,
        *,
        how: Personaliser | None,
        notice: Callable[[str], None],
    ) -> None:
        self._fleet, self._cohort, self._how, self._notice = fleet, held, how, notice
        self._held = Shard(held, fleet.plan, how=how)
        self._place = {int(home): place for place, home in enumerate(fleet.positions)}
        self._told: set[str] = set()

    def train_mean(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> Mean:
        """Train; a home that cannot take part is lost."""
        means, lost = [], set(range(len(homes)))
        for part in self._parts(homes):
            mean = part.shard.train_mean(part.within, start, config)
            gone = part.places[list(mean.lost)].tolist()
            lost -= set(part.places.tolist()) - set(gone)
            means.append(mean._replace(lost=()))
        if not means:
            return Mean(start.astype(np.float64), 0, 0.0, 0, tuple(sorted(lost)))
        return Mean.of(means)._replace(lost=tuple(sorted(lost)))

    def train_sum(
        self,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: TrainConfig,
        request: RequestedForm,
    ) -> Words:
        """Train; sums are exact, so it does not matter who is made with whom."""
        form, answered = request.form, set[int]()
        total = np.zeros(form.words, form.packing.dtype)
        for part in self._parts(homes):
            total += part.shard.train_sum(part.within, start, config, request).total
            answered.update(homes[part.places].tolist())
        names = [self._fleet.names[home] for home in homes.tolist() if home not in answered]
        keys = simulated_noise_keys(self._fleet.plan.seed, TRAIN, request.round, names)
        for key in keys:  # a home that cannot take part adds what one adds that has nothing
            total += empty_words(form, key)
        return Words(total)

    def respond(
        self,
        kind: str,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: Mapping[str, Any],
    ) -> Response:
        """Respond home by home; of one that cannot take part come numbers that are not finite."""
        found = (
            (part.places, part.shard.respond(kind, part.within, start, config))
            for part in self._parts(homes)
        )
        return joined(found, len(homes))

    def _parts(self, homes: NDArray[np.int64]) -> Iterator[_Part]:
        """Yield the homes that are held, then others, as they are made."""
        place = [self._place.get(int(home), -1) for home in homes]
        within = np.array(place, np.int64)
        if (held := np.flatnonzero(within >= 0)).size:
            yield _Part(held, self._held, within[held])
        others = np.flatnonzero(within < 0)
        for first in range(0, len(others), _AT_ONCE):
            places = others[first : first + _AT_ONCE]
            made, unfit = self._fleet.examples(homes[places])
            for home in unfit.keys() - self._told:
                self._notice(f"{home} cannot take part, and answers nothing: {unfit[home]}")
            self._told.update(unfit)
            if not made:
                continue
            at = {self._fleet.names[int(homes[one])]: int(one) for one in places}
            cohort = self._cohort.beside(StackedHomes.of(made))
            shard = Shard(cohort, self._fleet.plan, how=self._how)
            there = np.array([at[home.home] for home in made], np.int64)
            yield _Part(there, shard, np.arange(len(made)))
