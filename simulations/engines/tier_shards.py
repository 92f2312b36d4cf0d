"""Homes of several tiers in one process, each tier a cohort of its own.

On the small shapes of its slice what a small device does costs a simulation little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.own_state import HomeStates
from fedhome.learning.personalise import Personaliser
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.models.slicing import integrate
from fedhome.plan.settings import Plan
from fedhome.questions.responses import Response
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.chunk_sums import RequestedForm, Words
from fedhome.simulations.engines.joined_responses import joined
from fedhome.simulations.engines.once import once
from fedhome.simulations.engines.shard import Mean, Shard
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.threaded_cohort import cohort_of
from fedhome.simulations.engines.vector_cohort import VectorCohort


class TierMean(NamedTuple):
    """What homes of one tier learnt: the mean of what they carry."""

    tier: int
    mean: Mean


def integrated(start: NDArray[np.float32], parts: Sequence[tuple[SlicePlaces, Mean]]) -> Mean:
    """Return the mean of the whole model, place by place over the homes that carry it.

    Args:
        start: The whole before, float32 ``[size]``.
        parts: For each tier, from the smallest, where its devices' numbers lie in this round, and
            the mean of them.
    """
    means = [mean for _, mean in parts]
    weight = sum(mean.weight for mean in means)
    changes = [(*places.changed(start, mean.params), float(mean.weight)) for places, mean in parts]
    return Mean(
        params=integrate(start, changes),
        weight=weight,
        loss=sum(mean.loss * mean.weight for mean in means) / max(weight, 1),
        clipped=sum(mean.clipped for mean in means),
        lost=tuple(sorted(home for mean in means for home in mean.lost)),
    )


def fleets_of(homes: Sequence[HomeExamples], tiers: NDArray[np.int64]) -> dict[int, StackedHomes]:
    """Return the examples of each tier's homes, by the tier's number; of none there is no entry.

    Args:
        homes: The homes.
        tiers: The tier of each, int64 ``[homes]``.
    """
    return {
        number: StackedHomes.of([homes[home] for home in np.flatnonzero(tiers == number).tolist()])
        for number in np.unique(tiers).tolist()
    }


class TierShards:
    """Some homes of each tier.

    Args:
        plan: The plan, with tiers.
        slices: What each tier's devices carry, from the smallest.
        shells: Where each shell's numbers lie in the whole, from the smallest tier's.
        tiers: The tier of each home, int64 ``[homes]``.
        fleets: The examples of each tier's homes, in the order that they have in ``tiers``; a tier
            of which there are none here is missing.
        open_: Closes the tiers' worker threads in the end.
        threads: How many chunks are trained at a time.
        notice: Called with a sentence when something is not as the plan asked.
        states: What the plan's method keeps in each home.
        how: The personaliser; None where the plan has none.
        of: As of :class:`fedhome.simulations.engines.shard.Shard`.

    Attributes:
        cohorts: One for each tier, from the smallest.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        slices: Sequence[CarriedSlice],
        shells: Sequence[NDArray[np.int64]],
        tiers: NDArray[np.int64],
        fleets: Mapping[int, StackedHomes],
        open_: ExitStack,
        threads: int,
        notice: Callable[[str], None],
        states: HomeStates,
        how: Personaliser | None,
        of: int = 1,
    ) -> None:
        self._shells, self._tiers = shells, tiers
        self._places = np.empty(len(tiers), np.int64)  # of each home, within its tier
        self.cohorts: list[VectorCohort] = []
        self._shards: dict[int, tuple[Shard, Shard, SlicePlaces]] = {}
        notice = once(notice)  # tiers notice the same
        for number, fleet in sorted(fleets.items()):
            self._places[tiers == number] = np.arange(len(fleet.homes))
            common: dict[str, Any] = {
                "fleet": fleet,
                "plan": plan,
                "threads": threads,
                "notice": notice,
                "states": states,
            }
            own, trained = slices[number].own, slices[number].rounds
            rounds = open_.enter_context(
                cohort_of(trained.learning, carries=trained.places, **common)
            )
            cohort = open_.enter_context(
                cohort_of(own.learning, carries=own.places, rounds=rounds, **common)
            )
            self.cohorts.append(cohort)
            self._shards[number] = (
                Shard(cohort, plan, how=how, of=of),
                Shard(rounds, plan, how=how, of=of),
                trained.places,
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the homes, tier by tier."""
        return tuple(name for cohort in self.cohorts for name in cohort.homes)

    def train_tiers(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> list[TierMean]:
        """Train homes ``[homes]`` from the whole ``[size]``; return each tier's mean."""
        found = []
        for number, some, at in self._by_tier(homes):
            _, rounds, carried = self._shards[number]
            places = carried.in_round(config.round)
            mean = rounds.train_mean(at, places.of_whole(start), config)
            mean = mean._replace(lost=tuple(some[list(mean.lost)].tolist()))
            found.append(TierMean(number, mean))
        return found

    def train_sum(
        self,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: TrainConfig,
        request: RequestedForm,
    ) -> Words:
        """Train homes ``[homes]`` and add up their words of the shell that is asked for.

        Raises:
            EngineError: A home does not carry it.
        """
        shell = self._shells[config.shell]
        total: NDArray[Any] | None = None
        for number, _, at in self._by_tier(homes):
            _, rounds, places = self._shards[number]
            order = np.argsort(places.places)
            found = np.searchsorted(places.places, shell, sorter=order)
            part = order[np.minimum(found, len(order) - 1)]
            if not np.array_equal(places.places[part], shell):
                raise EngineError(
                    f"a home was asked for shell {config.shell} of the model, which it does not "
                    "carry"
                )
            words = rounds.train_sum(at, places.of_whole(start), config, request, part).total
            total = words if total is None else total + words
        assert total is not None, "somebody is asked"
        return Words(total)

    def respond(
        self,
        kind: str,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: Mapping[str, Any],
    ) -> Response:
        """Respond home by home, each with its own slice."""
        found = (
            (some, self._shards[number][0].respond(kind, at, start, config))
            for number, some, at in self._by_tier(homes)
        )
        return joined(found, len(homes))

    def _by_tier(
        self, homes: NDArray[np.int64]
    ) -> Sequence[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Return for each tier with homes which of these they are, and where in it they are."""
        return [
            (int(number), some, self._places[homes[some]])
            for number in np.unique(self._tiers[homes])
            for some in (np.flatnonzero(self._tiers[homes] == number),)
        ]
