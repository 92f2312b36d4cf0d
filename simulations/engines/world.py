"""What an engine works on: a plan, homes, what they learn with, how updates are added up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fedhome.errors import EngineError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.local import LocalLearning
from fedhome.learning.own_state import StatesInMemory
from fedhome.learning.personalise import Personaliser
from fedhome.plan.aggregation_settings import AggregationMode
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared
from fedhome.simulations.engines.grid import Silent
from fedhome.simulations.engines.kernels import FusedKernel
from fedhome.simulations.engines.shard import Homes
from fedhome.simulations.faults import faults_of
from fedhome.simulations.gather import GatheredHomes
from fedhome.simulations.pools.pooled_fleet import PooledFleet
from fedhome.simulations.secure.masked_adding import (
    IdealSumResponder,
    MaskedSumResponder,
    SumResponder,
)
from fedhome.simulations.secure.secure_fleet import SecureFleet


@dataclass(frozen=True, kw_only=True)
class World:
    """What an engine works on.

    Args:
        plan: The plan.
        gathered: The homes.
        learning: What they learn with.
        how: The personaliser; None where the plan has none.
        sums: Whether the strategy is content with means of groups of homes.
        notice: Called with a sentence when something is not as the plan asked.
        mode: How updates are added up.
        secure: The parties of secure sums; None where there are none.
        states: What the plan's method keeps in each home, or what of its updates it has not sent.
        pool: The fleet that the gathered homes are some of; None where these are all.
    """

    plan: Plan
    gathered: GatheredHomes
    learning: LocalLearning
    how: Personaliser | None
    sums: bool
    notice: Callable[[str], None]
    mode: AggregationMode = "plain"
    secure: SecureFleet | None = None
    states: StatesInMemory = field(default_factory=StatesInMemory)
    pool: PooledFleet | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all homes."""
        return self.held if self.pool is None else self.pool.names

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the homes that are in memory."""
        return tuple(home.home for home in self.gathered.homes)

    def adding(self, homes: Homes) -> SumResponder | None:
        """Return what answers for homes that are asked together; None in the clear.

        Raises:
            EngineError: The parties of secure sums are missing, or another mode is wanted.
        """
        if self.mode == "plain":
            return None
        layout, score = self.learning.layout, self.learning.task.score
        if self.mode == "ideal":
            return IdealSumResponder(
                self.plan, self.names, homes, layout, score, states=self.states
            )
        if self.mode != "secure" or self.secure is None:
            raise EngineError(f"updates cannot be added up here as aggregation.mode = {self.mode}")
        return MaskedSumResponder(
            self.plan,
            self.names,
            homes,
            layout,
            score,
            states=self.states,
            parties=self.secure.parties,
            quorum=self.secure.directory.threshold,
        )

    def close(self) -> None:
        """End the processes that belong to it."""
        if self.secure is not None:
            self.secure.close()

    def silent(self) -> Silent | None:
        """Which homes give no answer, by the plan's faults."""
        examples = np.array([home.counts[0] for home in self.gathered.homes])
        if self.pool is not None:  # without stragglers it does not matter how many they have
            examples = np.full(len(self.names), int(np.median(examples)))
        return faults_of(self.plan, self.names, examples)


def against_vectors(world: World) -> str:
    """Return why a world's homes cannot be trained many at once; empty when they can."""
    learning, features = world.learning, world.gathered.homes[0].x.shape[1]
    if is_declared(world.plan):
        # Slices are modules of their own, and may do what the whole does not.
        slices = carried_slices(world.plan, learning, features, world.gathered.classes)
        found = (one.rounds.learning.vectorises(features) for one in slices)
        return next((reason for reason in found if reason), "")
    # What is compiled is known to go through; to ask torch costs seconds of imports.
    return learning.vectorises(features) if FusedKernel.fits(learning, features) else ""
