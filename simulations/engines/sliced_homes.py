"""Homes of several tiers that are asked together, each with its own slice of the model.

Homes of one tier are a cohort of their own, on the small shapes of its slice: what a small device
does costs a simulation little. What they learnt is integrated place by place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.compiled_slice import compiled_slice
from fedhome.learning.one_home import OneHome
from fedhome.learning.slice_places import SlicePlaces
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.learning.sliced_device import device_carrying
from fedhome.models.slicing import integrate
from fedhome.plan.sliced_plan import tiers_of
from fedhome.questions.responses import Response
from fedhome.questions.shells import shells_of
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.chunk_sums import RequestedForm, Words
from fedhome.simulations.engines.joined_responses import joined
from fedhome.simulations.engines.once import once
from fedhome.simulations.engines.shard import Homes, Mean, Shard
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.threaded_cohort import cohort_of, threads_of
from fedhome.simulations.engines.vector_cohort import VectorCohort
from fedhome.simulations.engines.world import World


def slices_in(world: World) -> tuple[CarriedSlice, ...]:
    """Return what a world's devices learn with, from the smallest tier to the largest."""
    gathered = world.gathered
    features = gathered.homes[0].x.shape[1]
    return carried_slices(world.plan, world.learning, features, gathered.classes)


def device_with(
    carried: CarriedSlice, data: HomeExamples, world: World, told: Callable[[str], None]
) -> OneHome:
    """Return one home's device with its slice, as a real home has it.

    It learns by the compiled kernel, or by torch where that does not know its rule or network.

    Args:
        carried: What it carries.
        data: The home's examples.
        world: The homes.
        told: Called with why it learns by torch, where it does.
    """

    def by_torch() -> OneHome:
        return device_carrying(carried, data, world.plan.seed, states=world.states)

    try:
        return compiled_slice(
            world.plan,
            data,
            world.gathered.classes,
            tier=carried.tier,
            by_torch=by_torch,
            states=world.states,
            told=told,
        )
    except EngineError as error:
        told(error.message)
        return by_torch()


class SlicedHomes(Homes):
    """The homes of all tiers.

    Args:
        world: The homes, and what the fleet learns.
        open_: Closes the tiers' worker threads in the end.

    Attributes:
        cohorts: One for each tier, from the smallest.
    """

    def __init__(self, world: World, open_: ExitStack) -> None:
        self._shells = shells_of(world.plan, world.learning.layout)
        self._tiers = tiers_of(world.plan, world.names)
        self._places = np.empty(len(self._tiers), np.int64)  # of each home, within its tier
        self.cohorts: list[VectorCohort] = []
        self._shards: list[tuple[Shard, Shard, SlicePlaces]] = []
        notice = once(world.notice)  # tiers notice the same
        for number, carried in enumerate(slices_in(world)):
            homes = np.flatnonzero(self._tiers == number)
            self._places[homes] = np.arange(len(homes))
            fleet = StackedHomes.of([world.gathered.homes[home] for home in homes])
            common: dict[str, Any] = {
                "fleet": fleet,
                "plan": world.plan,
                "threads": threads_of(world.plan),
                "notice": notice,
                "states": world.states,
            }
            trained, places = carried.rounds, carried.rounds.places
            rounds = open_.enter_context(cohort_of(trained.learning, carries=places, **common))
            own = open_.enter_context(
                cohort_of(carried.own.learning, carries=carried.own.places, rounds=rounds, **common)
            )
            self.cohorts.append(own)
            self._shards.append(
                (
                    Shard(own, world.plan, how=world.how),
                    Shard(rounds, world.plan, how=world.how),
                    places,
                )
            )

    def train_mean(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> Mean:
        """Train homes ``[homes]`` and return the fleet's parameters after it."""
        changes, means, lost = [], [], list[int]()
        for some, at, (_, rounds, carried) in self._by_tier(homes):
            places = carried.in_round(config.round)
            mean = rounds.train_mean(at, places.of_whole(start), config)
            changes.append((*places.changed(start, mean.params), float(mean.weight)))
            means.append(mean)
            lost += some[list(mean.lost)].tolist()
        weight = sum(mean.weight for mean in means)
        return Mean(
            params=integrate(start, changes),
            weight=weight,
            loss=sum(mean.loss * mean.weight for mean in means) / max(weight, 1),
            clipped=sum(mean.clipped for mean in means),
            lost=tuple(sorted(lost)),
        )

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
        for _, at, (_, rounds, places) in self._by_tier(homes):
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
            (some, own.respond(kind, at, start, config))
            for some, at, (own, _, _) in self._by_tier(homes)
        )
        return joined(found, len(homes))

    def _by_tier(
        self, homes: NDArray[np.int64]
    ) -> Sequence[tuple[NDArray[np.int64], NDArray[np.int64], tuple[Shard, Shard, SlicePlaces]]]:
        """Return for each tier with homes which of these they are, where in it, and its shards."""
        found = []
        for number, shards in enumerate(self._shards):
            some = np.flatnonzero(self._tiers[homes] == number)
            if len(some):
                found.append((some, self._places[homes[some]], shards))
        return found
