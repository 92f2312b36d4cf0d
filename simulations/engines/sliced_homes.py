"""Homes of several tiers that are asked together, each with its own slice of the model.

What they learnt is integrated place by place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.compiled_slice import compiled_slice
from fedhome.learning.one_home import OneHome
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.learning.sliced_device import device_carrying
from fedhome.plan.sliced_plan import tiers_of
from fedhome.questions.responses import Response
from fedhome.questions.shells import shells_of
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.chunk_sums import RequestedForm, Words
from fedhome.simulations.engines.shard import Homes, Mean
from fedhome.simulations.engines.threaded_cohort import threads_of
from fedhome.simulations.engines.tier_shards import TierShards, fleets_of, integrated
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
    """The homes of all tiers, in this process.

    Args:
        world: The homes, and what the fleet learns.
        open_: Closes the tiers' worker threads in the end.

    Attributes:
        cohorts: One for each tier, from the smallest.
    """

    def __init__(self, world: World, open_: ExitStack) -> None:
        slices, tiers = slices_in(world), tiers_of(world.plan, world.names)
        self._carried = [carried.rounds.places for carried in slices]
        self._here = TierShards(
            world.plan,
            slices=slices,
            shells=shells_of(world.plan, world.learning.layout),
            tiers=tiers,
            fleets=fleets_of(world.gathered.homes, tiers),
            open_=open_,
            threads=threads_of(world.plan),
            notice=world.notice,
            states=world.states,
            how=world.how,
        )
        self.cohorts = self._here.cohorts

    def train_mean(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> Mean:
        """Train homes ``[homes]`` and return the fleet's parameters after it."""
        found = self._here.train_tiers(homes, start, config)
        return integrated(
            start, [(self._carried[tier].in_round(config.round), mean) for tier, mean in found]
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
        return self._here.train_sum(homes, start, config, request)

    def respond(
        self,
        kind: str,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: Mapping[str, Any],
    ) -> Response:
        """Respond home by home, each with its own slice."""
        return self._here.respond(kind, homes, start, config)
